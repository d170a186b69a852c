"""Load the face images on which IntroVAE is trained, from any of the face data sets."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from experiments.runs.errors import UserError


@dataclass(frozen=True)
class Faces:
    """Face images in three parts, each uint8 (N, C, S, S).

    Where the data set names the people, no person is in two parts.

    Attributes:
        train: images to train on.
        validation: images to choose settings by, never trained on; may be empty.
        held_out: images to report on, neither trained on nor used to choose settings.
        checksums: SHA-256 by file, for provenance.
    """

    train: np.ndarray
    validation: np.ndarray
    held_out: np.ndarray
    checksums: dict[str, str]


def load_faces(
    dataset: Literal["orl-faces", "celeba"], data_dir: Path | str, image_size: int, validation: int, held_out: int
) -> Faces:
    """Load, crop and resize a face data set.

    Args:
        dataset: ``"orl-faces"`` (grey) or ``"celeba"`` (colour).
        data_dir: folder of the data sets.
        image_size: side S in pixels.
        validation: size of the validation part, which comes before the part held out. The size is a number of people
            for ``orl-faces`` and a number of images for ``celeba``. CelebA's official partition, if it exists, replaces
            it.
        held_out: size of the part held out, which comes last; counted and replaced as `validation` is.

    Returns:
        The three parts and their checksums. CelebA's parts stay on disk, memory-mapped, where the images of a part
        follow one another in the file.

    Raises:
        UserError: if the data are missing or damaged, or too few to leave images to train on.
    """
    if dataset == "orl-faces":
        return _orl_faces(data_dir, image_size, validation, held_out)
    return _celeba(data_dir, image_size, validation, held_out)


def _orl_faces(data_dir: Path | str, image_size: int, validation: int, held_out: int) -> Faces:
    from PIL import Image

    from experiments.data import orl_faces

    images, people = orl_faces.load(data_dir)
    trained = orl_faces.PEOPLE - held_out - validation
    if trained < 1:
        raise UserError(
            f"introvae.held_out and validation: {held_out} and {validation} people leave none of {orl_faces.PEOPLE} "
            "to train on"
        )
    top = (orl_faces.HEIGHT - orl_faces.WIDTH) // 2 + 2  # two rows below the centre keeps chins and drops hair
    square = (0, top, orl_faces.WIDTH, top + orl_faces.WIDTH)
    resized = [
        np.asarray(Image.fromarray(image).resize((image_size, image_size), Image.Resampling.LANCZOS, box=square))
        for image in images
    ]
    small = np.stack(resized)[:, None]
    part = np.digitize(people, [trained, trained + validation])
    return Faces(small[part == 0], small[part == 1], small[part == 2], orl_faces.checksums(data_dir))


def _celeba(data_dir: Path | str, image_size: int, validation: int, held_out: int) -> Faces:
    from experiments.data import celeba

    images, partition, checksums = celeba.load(data_dir, image_size)
    if partition is None:
        partition = np.digitize(np.arange(len(images)), [len(images) - held_out - validation, len(images) - held_out])
    train, validated, tested = (_rows(images, np.flatnonzero(partition == part)) for part in range(3))
    if not (len(train) and len(tested)):
        raise UserError(
            f"introvae.held_out and validation: of {len(images)} images {len(train)} remain to train on and "
            f"{len(tested)} are held out; neither may be empty"
        )
    return Faces(train, validated, tested, checksums)


def _rows(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the images with these ascending indices: a view if the indices have no gap, else a copy in memory.

    The official partition has no gaps, and its training images are too large to copy for no need.
    """
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1:
        return images[rows[0] : rows[-1] + 1]
    return images[rows]
