"""CelebA (Liu et al. 2015), aligned images, laid out by the user as torchvision does; its licence forbids shipping it.

    <data_dir>/celeba/img_align_celeba/000001.jpg ...     178x218, or half of that
    <data_dir>/celeba/list_eval_partition.txt             lines "000001.jpg 0": 0 train, 1 validation, 2 test

Without the partition file the folder is taken as a plain set of images. The central square (of the width) is resized to
the size asked for and cached as a memory-mapped uint8 array: by ``fetch`` with a size, so that runs that start together
find it, else by the first run.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from experiments.runs.errors import UserError
from experiments.runs.files import atomic_path, sha256, write_json
from experiments.runs.progress import progress_bar

LIST = "list_eval_partition.txt"

LAYOUT = (
    "download the aligned images from the authors' page and lay them out as <data_dir>/celeba/img_align_celeba/*.jpg "
    "with <data_dir>/celeba/list_eval_partition.txt beside it"
)


def fetch(data_dir: Path | str, image_size: int | None = None) -> None:
    """Check the layout, since the data set cannot be fetched; with a size, crop and resize the images for the runs.

    Raises:
        UserError: if images are missing or unreadable.
    """
    if image_size is None:
        verify(data_dir)
    else:
        load(data_dir, image_size)


def verify(data_dir: Path | str) -> None:
    """Raise `UserError` unless every image that the partition lists is there."""
    image_files(data_dir)


def image_files(data_dir: Path | str) -> tuple[list[Path], np.ndarray | None]:
    """Return the image files by name and their partition (N,), 0 train, 1 validation, 2 test; None without a list.

    Raises:
        UserError: if the folder, or images that the partition lists, are missing.
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
    """Return images (N, 3, S, S) uint8 memory map, their partition or None, and SHA-256 of the cached array and the list.

    The cache is made anew if it is damaged, or if the list, or the names, the total size or the newest change of the images
    differ.

    Raises:
        UserError: if images are missing or unreadable.
    """
    files, partition = image_files(data_dir)
    cache = Path(data_dir, "celeba", f"images-{image_size}.npy")
    note = cache.with_suffix(".json")
    listing = Path(data_dir, "celeba", LIST)
    checksums = {} if partition is None else {f"celeba/{LIST}": sha256(listing)}
    description = {"images": len(files), "first": files[0].name, "last": files[-1].name, "size": image_size} | checksums
    states = [path.stat() for path in files]
    description["bytes"] = sum(state.st_size for state in states)
    description["newest"] = max(state.st_mtime_ns for state in states)
    found = _read_note(note) if cache.exists() else {}
    if {key: found.get(key) for key in description} != description or sha256(cache) != found.get("sha256"):
        _build_cache(files, image_size, cache)
        found = description | {"sha256": sha256(cache)}
        write_json(note, found)
    checksums[f"celeba/{cache.name}"] = found["sha256"]
    return np.load(cache, mmap_mode="r", allow_pickle=False), partition, checksums


def _read_note(path: Path) -> dict[str, Any]:
    """What is noted about a cache; nothing where that is missing or damaged, since the cache is then made anew."""
    try:
        note = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return note if isinstance(note, dict) else {}


def _build_cache(files: list[Path], image_size: int, cache: Path) -> None:
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
