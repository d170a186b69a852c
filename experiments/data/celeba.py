"""Read CelebA (Liu et al. 2015), aligned images, from the folders in which torchvision lays them out.

The licence of CelebA forbids redistribution; `fetch` has torchvision bring it from its authors. The layout is

    <data_dir>/celeba/img_align_celeba/000001.jpg ...     178x218 pixels, or half of that
    <data_dir>/celeba/list_eval_partition.txt             lines "000001.jpg 0": 0 train, 1 validation, 2 test

Without the partition file the folder is read as a plain set of images. Each image becomes a square, and all squares one
array (`experiments.data.image_folder`). `fetch` with a size makes the array, so that runs that start together find it;
otherwise the first run makes it.
"""

import errno
from pathlib import Path

import numpy as np

from experiments.data.fetch import SourceFailed, fetch_from_first
from experiments.data.image_folder import cache_name, read_parts, squares
from experiments.runs.errors import UserError
from experiments.runs.files import sha256_once

IMAGES, LIST = "img_align_celeba", "list_eval_partition.txt"

LAYOUT = (
    f"download the aligned images from the authors' page and lay them out as <data_dir>/celeba/{IMAGES}/*.jpg "
    f"with <data_dir>/celeba/{LIST} beside it, or run: python -m experiments.data fetch celeba"
)


def fetch(data_dir: Path | str, image_size: int | None = None, crop: int | None = None) -> None:
    """Fetch the data set unless there are images, and check that it is complete.

    With a size nothing is fetched, and the array for the runs is made. The workflow does that: it does not load 1.4 GB
    that nobody asked for.

    Args:
        data_dir: folder of the data sets.
        image_size: as in `load`.
        crop: as in `load`.

    Raises:
        UserError: if the data set cannot be fetched, or images are missing or unreadable.
    """
    if image_size is not None:
        load(data_dir, image_size, crop)
        return
    root = Path(data_dir, "celeba")
    if not any((root / IMAGES).glob("*.jpg")):
        root.mkdir(parents=True, exist_ok=True)

        def install(scratch: Path) -> None:
            for name in (LIST, IMAGES):  # the images last: without the list they would be taken for a plain set
                (scratch / "celeba" / name).replace(root / name)

        fetch_from_first("CelebA", [("torchvision", _from_torchvision)], root, install)
    verify(data_dir)


def _from_torchvision(scratch: Path) -> None:
    from torchvision.datasets import CelebA

    try:
        CelebA(str(scratch), split="all", download=True)
    except Exception as error:  # torchvision and the clients that it calls raise errors of many kinds
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise SourceFailed(reason) from error


def verify(data_dir: Path | str) -> None:
    """Raise `UserError` unless there are images and every image that the partition lists exists."""
    image_files(data_dir)


def image_files(data_dir: Path | str) -> tuple[dict[str, Path], np.ndarray | None]:
    """Find the image files and their partition.

    Returns:
        The N files by name, in the order of the partition file or else sorted; and the partition, integers (N,) of 0
        train, 1 validation, 2 test, or None without a partition file.

    Raises:
        UserError: if the folder holds no images, an image of the partition is missing, or the partition file is
            damaged.
    """
    root = Path(data_dir, "celeba")
    files = {path.name: path for path in sorted((root / IMAGES).glob("*.jpg"))}
    if not files:
        raise UserError(f"{root / IMAGES}: no images; {LAYOUT}")
    if not (root / LIST).exists():
        return files, None
    return read_parts(root / LIST, files, root / IMAGES, "lay the data set out as published")


def load(
    data_dir: Path | str, image_size: int, crop: int | None = None
) -> tuple[np.ndarray, np.ndarray | None, dict[str, str]]:
    """Load the squares of the images from their array, which is made first if need be.

    Args:
        data_dir: folder of the data sets.
        image_size: side S of the squares in pixels.
        crop: see `experiments.data.image_folder.squares`; ``None`` takes squares as wide as the images.

    Returns:
        Images (N, 3, S, S), a uint8 memory map; the partition (N,) as in `image_files`, or None; and the SHA-256 of the
        array and of the partition file by their names in `data_dir`.

    Raises:
        UserError: if images are missing or unreadable.
    """
    files, partition = image_files(data_dir)
    checksums = {} if partition is None else {f"celeba/{LIST}": sha256_once(Path(data_dir, "celeba", LIST))}
    name = cache_name(image_size, crop)
    images, checksum = squares(files, image_size, crop, Path(data_dir, "celeba", name))
    return images, partition, checksums | {f"celeba/{name}": checksum}
