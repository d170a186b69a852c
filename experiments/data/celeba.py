"""Read CelebA (Liu et al. 2015), aligned images, which the user lays out as torchvision does.

The licence of CelebA forbids redistribution. The layout is

    <data_dir>/celeba/img_align_celeba/000001.jpg ...     178x218 pixels, or half of that
    <data_dir>/celeba/list_eval_partition.txt             lines "000001.jpg 0": 0 train, 1 validation, 2 test

Without the partition file the folder is read as a plain set of images. The central square of each image, as wide as the
image, is resized and cached in a memory-mapped uint8 array. `fetch` with a size makes this cache, so that runs that
start together find it; otherwise the first run makes it.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from experiments.runs.errors import UserError
from experiments.runs.files import atomic_path, sha256_once, write_json
from experiments.runs.progress import progress_bar

LIST = "list_eval_partition.txt"

LAYOUT = (
    "download the aligned images from the authors' page and lay them out as <data_dir>/celeba/img_align_celeba/*.jpg "
    "with <data_dir>/celeba/list_eval_partition.txt beside it"
)


def fetch(data_dir: Path | str, image_size: int | None = None) -> None:
    """Check that the data set is complete, since it cannot be fetched; with a size, also make the cache for the runs.

    Args:
        data_dir: folder of the data sets.
        image_size: side of the cached images in pixels.

    Raises:
        UserError: if images are missing or unreadable.
    """
    if image_size is None:
        verify(data_dir)
    else:
        load(data_dir, image_size)


def verify(data_dir: Path | str) -> None:
    """Raise `UserError` unless there are images and every image that the partition lists exists."""
    image_files(data_dir)


def image_files(data_dir: Path | str) -> tuple[list[Path], np.ndarray | None]:
    """Find the image files and their partition.

    Returns:
        The N files, in the order of the partition file or else sorted by name; and the partition, integers (N,) of
        0 train, 1 validation, 2 test, or None without a partition file.

    Raises:
        UserError: if the folder holds no images, an image of the partition is missing, or the partition file is
            damaged.
    """
    root = Path(data_dir, "celeba")
    folder = root / "img_align_celeba"
    files = {path.name: path for path in sorted(folder.glob("*.jpg"))}
    if not files:
        raise UserError(f"{folder}: no images; {LAYOUT}")
    listing = root / LIST
    if not listing.exists():
        return list(files.values()), None
    partition: dict[str, int] = {}
    for number, line in enumerate(listing.read_bytes().splitlines(), start=1):
        words = line.decode("utf-8", errors="replace").split()
        if len(words) != 2 or words[1] not in ("0", "1", "2"):
            raise UserError(f"{listing}: line {number} is not 'name.jpg 0|1|2'; take the file as published")
        partition[words[0]] = int(words[1])
    if not partition:
        raise UserError(f"{listing}: lists no image; take the file as published")
    missing = [name for name in partition if name not in files]
    if missing:
        raise UserError(f"{folder}: {len(missing)} images of the partition are missing, such as {missing[0]}; {LAYOUT}")
    return [files[name] for name in partition], np.array(list(partition.values()))


def load(data_dir: Path | str, image_size: int) -> tuple[np.ndarray, np.ndarray | None, dict[str, str]]:
    """Load the resized images from their cache, which is made first if need be.

    The cache is made anew if it is damaged, if the partition file differs, or if the names, the total size or the
    newest change of the images differ.

    Args:
        data_dir: folder of the data sets.
        image_size: side S of the images in pixels.

    Returns:
        Images (N, 3, S, S), a uint8 memory map; the partition (N,) as in `image_files`, or None; and the SHA-256 of the
        cache and of the partition file by their names in `data_dir`.

    Raises:
        UserError: if images are missing or unreadable.
    """
    files, partition = image_files(data_dir)
    cache = Path(data_dir, "celeba", f"images-{image_size}.npy")
    note = cache.with_suffix(".json")
    listing = Path(data_dir, "celeba", LIST)
    checksums = {} if partition is None else {f"celeba/{LIST}": sha256_once(listing)}
    description = {"images": len(files), "first": files[0].name, "last": files[-1].name, "size": image_size} | checksums
    states = [path.stat() for path in files]
    description["bytes"] = sum(state.st_size for state in states)
    description["newest"] = max(state.st_mtime_ns for state in states)
    found = _read_note(note) if cache.exists() else {}
    if {key: found.get(key) for key in description} != description or sha256_once(cache) != found.get("sha256"):
        _build_cache(files, image_size, cache)
        found = description | {"sha256": sha256_once(cache)}
        write_json(note, found)
    checksums[f"celeba/{cache.name}"] = found["sha256"]
    # Copy on write: torch warns of arrays that are read-only, and a write would change memory only, never the cache.
    return np.load(cache, mmap_mode="c", allow_pickle=False), partition, checksums


def _read_note(path: Path) -> dict[str, Any]:
    """Return the note beside a cache; empty if the note is missing or damaged, so that the cache is made anew."""
    try:
        note = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return note if isinstance(note, dict) else {}


def _build_cache(files: list[Path], image_size: int, cache: Path) -> None:
    """Crop and resize the images and write them to `cache`, uint8 (N, 3, S, S)."""
    from PIL import Image

    with atomic_path(cache) as temporary, progress_bar(len(files), "celeba cache", "image") as progress:
        shape = (len(files), 3, image_size, image_size)
        images = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        for index, path in enumerate(files):
            try:
                with Image.open(path) as image:
                    width, height = image.size
                    top = (height - width) // 2
                    square = image.convert("RGB").resize(
                        (image_size, image_size), Image.Resampling.LANCZOS, box=(0, top, width, top + width)
                    )
            except (OSError, ValueError) as error:
                raise UserError(f"{path}: unreadable image ({error}); replace it by the published one") from error
            images[index] = np.asarray(square).transpose(2, 0, 1)
            progress.update()
        images.flush()
