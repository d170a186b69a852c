"""The face images that IntroVAE is trained on: one interface for every face data set."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from experiments.errors import UserError


@dataclass(frozen=True)
class Faces:
    """Face images, uint8 (N, C, S, S).

    Attributes:
        train: images to train on.
        held_out: images never trained on; of other people where identities are known.
        checksums: SHA-256 by file, for provenance.
    """

    train: np.ndarray
    held_out: np.ndarray
    checksums: dict[str, str]


def load_faces(dataset: Literal["orl-faces", "celeba"], data_dir: Path | str, image_size: int, held_out: int) -> Faces:
    """Load, crop and resize a face data set.

    Args:
        dataset: ``"orl-faces"`` (grey) or ``"celeba"`` (colour).
        data_dir: folder of the data sets.
        image_size: side S in pixels.
        held_out: for ``orl-faces`` the number of people held out, the last ones; for ``celeba`` the number of images
            held out, the last ones, where the official partition is absent (else its test part is held out).

    Raises:
        UserError: if the data are missing or damaged, or `held_out` leaves nothing to train on.
    """
    if dataset == "orl-faces":
        return _orl_faces(data_dir, image_size, held_out)
    return _celeba(data_dir, image_size, held_out)


def _orl_faces(data_dir: Path | str, image_size: int, held_out: int) -> Faces:
    from PIL import Image

    from experiments.data import orl_faces

    images, people = orl_faces.load(data_dir)
    if held_out >= orl_faces.PEOPLE:
        raise UserError(f"introvae.held_out: {held_out} people leave none of {orl_faces.PEOPLE} to train on")
    top = (orl_faces.HEIGHT - orl_faces.WIDTH) // 2 + 2  # two rows below the centre keeps chins and drops hair
    square = (0, top, orl_faces.WIDTH, top + orl_faces.WIDTH)
    resized = [
        np.asarray(Image.fromarray(image).resize((image_size, image_size), Image.Resampling.LANCZOS, box=square))
        for image in images
    ]
    small = np.stack(resized)[:, None]
    trained = people < orl_faces.PEOPLE - held_out
    return Faces(small[trained], small[~trained], orl_faces.checksums(data_dir))


def _celeba(data_dir: Path | str, image_size: int, held_out: int) -> Faces:
    from experiments.data import celeba

    images, partition, checksum = celeba.load(data_dir, image_size)
    if partition is not None:
        parts = images[np.flatnonzero(partition == 0)], images[np.flatnonzero(partition == 2)]
    else:
        parts = images[: max(0, len(images) - held_out)], images[-held_out:]
    if not all(len(part) for part in parts):
        raise UserError(f"introvae.held_out: {held_out} of {len(images)} images leave nothing to train on or to test")
    return Faces(*parts, {f"celeba/images-{image_size}.npy": checksum})
