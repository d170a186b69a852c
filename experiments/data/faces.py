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
    dataset: Literal["orl-faces", "celeba", "folder"],
    data_dir: Path | str,
    image_size: int,
    validation: float,
    held_out: float,
    crop: int | None = None,
    path: str = "",
    parts: str | None = None,
) -> Faces:
    """Load, crop and resize a face data set.

    Without an official partition or a list, the last images of a folder are held out, in the order of their names. The
    order is kept, since neighbours often show the same person or come from the same film: a random choice would put
    them on both sides. Nobody knows who is on the images, so that a person may still be in two parts, as in CelebA.

    Args:
        dataset: ``"orl-faces"`` (grey), ``"celeba"`` (colour), or ``"folder"`` for a folder of images.
        data_dir: folder of the data sets.
        image_size: side S in pixels.
        validation: size of the validation part, which comes before the part held out: a number of people for
            ``orl-faces``, otherwise of images, or below 1 the share of all of them. CelebA's official partition, if it
            exists, and a list of parts replace it.
        held_out: size of the part held out, which comes last; counted and replaced as `validation` is.
        crop: side in pixels of the square that is cut from the middle of each image, not for ``orl-faces``. If it is
            `image_size`, nothing is resized. ``None`` takes the largest square.
        path: the folder of images, in `data_dir` or absolute; for ``folder`` only.
        parts: list of the folder's images and their parts (`experiments.data.image_folder.read_parts`), in `data_dir`
            or absolute.

    Returns:
        The three parts and their checksums. Parts of ``celeba`` and ``folder`` stay on disk, memory-mapped, where the
        images of a part follow one another in the file.

    Raises:
        UserError: if the data are missing or damaged, or too few to leave images to train on.
    """
    from experiments.data import celeba, image_folder

    if dataset == "orl-faces":
        return _orl_faces(data_dir, image_size, validation, held_out)
    if dataset == "celeba":
        return _split(*celeba.load(data_dir, image_size, crop), validation, held_out)
    return _split(*image_folder.load(data_dir, path, image_size, crop, parts), validation, held_out)


def _count(size: float, total: int) -> int:
    """Return a number of `total`; a size below 1 is a share of them."""
    return round(size * total) if size < 1 else int(size)


def _orl_faces(data_dir: Path | str, image_size: int, validation: float, held_out: float) -> Faces:
    from PIL import Image

    from experiments.data import orl_faces

    images, people = orl_faces.load(data_dir)
    held_out, validation = (_count(size, orl_faces.PEOPLE) for size in (held_out, validation))
    trained = orl_faces.PEOPLE - held_out - validation
    if trained < 1 or not held_out:
        raise UserError(
            f"introvae.held_out and validation: of {orl_faces.PEOPLE} people {max(0, trained)} remain to train on and "
            f"{held_out} are held out; neither may be none"
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


def _split(
    images: np.ndarray, partition: np.ndarray | None, checksums: dict[str, str], validation: float, held_out: float
) -> Faces:
    """Divide images by their partition, or else hold the last ones out."""
    if partition is None:
        last, before = (_count(size, len(images)) for size in (held_out, validation))
        partition = np.digitize(np.arange(len(images)), [len(images) - last - before, len(images) - last])
    train, validated, tested = (_rows(images, np.flatnonzero(partition == part)) for part in range(3))
    if not (len(train) and len(tested)):
        raise UserError(
            f"introvae.held_out and validation, or the list of parts: of {len(images)} images {len(train)} remain to "
            f"train on and {len(tested)} are held out; neither may be empty"
        )
    return Faces(train, validated, tested, checksums)


def _rows(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the images with these ascending indices: a view if the indices have no gap, else a copy in memory.

    The official partition has no gaps, and its training images are too large to copy for no need.
    """
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1:
        return images[rows[0] : rows[-1] + 1]
    return images[rows]
