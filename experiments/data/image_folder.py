"""Read any folder of images: each image becomes a square, and all squares one memory-mapped array, which is made once.

Every file of the folder and of the folders in it is an image, but for hidden files. Its place is relative to the folder
of the data sets, or absolute. The images are either all grey or all in colour; transparency is dropped.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from experiments.runs.errors import UserError
from experiments.runs.files import atomic_path, sha256_once, write_json
from experiments.runs.progress import progress_bar

MODES = {"1": "L", "L": "L", "LA": "L", "RGB": "RGB", "RGBA": "RGB", "P": "RGB", "CMYK": "RGB", "YCbCr": "RGB"}
"""Kind of pixels that an image may have -> kind that it is converted to. Those of more than 8 bits are not among them."""

REMEDY = "name a folder of images in introvae.folder.path (--path)"


def fetch(
    data_dir: Path | str, path: str, parts: str | None = None, image_size: int | None = None, crop: int | None = None
) -> None:
    """Check that all images can be opened; with a size, also make the array for the runs. The arguments are those of `load`.

    Raises:
        UserError: as `load`.
    """
    if image_size is None:
        verify(data_dir, path, parts)
    else:
        load(data_dir, path, image_size, crop, parts)


def verify(data_dir: Path | str, path: str, parts: str | None = None) -> None:
    """Raise `UserError` unless there are images, every image that the list of parts names exists, and all can be opened."""
    for image in image_files(data_dir, path, parts)[0].values():
        with _opened(image):
            pass


def load(
    data_dir: Path | str, path: str, image_size: int, crop: int | None = None, parts: str | None = None
) -> tuple[np.ndarray, np.ndarray | None, dict[str, str]]:
    """Load the squares of a folder's images from their array, which is made first if need be.

    Args:
        data_dir: folder of the data sets, where the array is kept.
        path: the folder of images.
        image_size: side S of the squares in pixels.
        crop: see `squares`.
        parts: file that lists the images to use, see `read_parts`; ``None`` takes all of them.

    Returns:
        Images (N, C, S, S), a uint8 memory map, C = 1 for grey and 3 for colour, in the order of the list or else
        sorted by name; the part of each, integers (N,) of 0, 1 or 2, or None without a list; and the SHA-256 of the
        array and of the list by their names in `data_dir`.

    Raises:
        UserError: if the folder or the list is missing, empty or unreadable, or an image does not fit.
    """
    files, partition = image_files(data_dir, path, parts)
    key = hashlib.sha256(f"{path}\0{parts}".encode("utf-8", "surrogateescape")).hexdigest()[:8]
    cache = Path("folder", f"{Path(path).name}-{key}", cache_name(image_size, crop))
    images, checksum = squares(files, image_size, crop, Path(data_dir, cache))
    checksums = {} if parts is None else {parts: sha256_once(Path(data_dir, parts))}
    return images, partition, checksums | {cache.as_posix(): checksum}


def image_files(data_dir: Path | str, path: str, parts: str | None) -> tuple[dict[str, Path], np.ndarray | None]:
    """Find the images and their parts, as `load` returns them.

    Returns:
        The N files by name, in the order of the images; and the part of each (N,), or None without a list.

    Raises:
        UserError: if there are none, or the list is damaged or names an image that is missing.
    """
    folder = Path(data_dir, path)
    files = find(folder)
    if not files:
        raise UserError(f"{folder}: holds no images; {REMEDY}")
    if parts is None:
        return files, None
    remedy = "write a line 'name part' for each image, with its name in the folder and part 0 train, 1 validation, 2 held out"
    return read_parts(Path(data_dir, parts), files, folder, remedy)


def find(folder: Path) -> dict[str, Path]:
    """Return the files below a folder by their names there, sorted by name; hidden files and folders are left out.

    Raises:
        UserError: if a folder is missing or cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror}); {REMEDY}") from error

    found = {}
    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith("."):
                path = Path(place, name)
                found[path.relative_to(folder).as_posix()] = path
    return dict(sorted(found.items()))


def read_parts(listing: Path, files: dict[str, Path], folder: Path, remedy: str) -> tuple[dict[str, Path], np.ndarray]:
    """Read which part each image belongs to, from lines ``name part``: 0 train, 1 validation, 2 test or held out.

    Args:
        listing: the text file.
        files: the images by name.
        folder: where they are, for messages.
        remedy: what to do about a damaged list, for messages.

    Returns:
        The listed images in their order, and their parts (N,).

    Raises:
        UserError: if the list is missing, empty or damaged, or names an image twice or one that is missing.
    """
    try:
        lines = listing.read_bytes().splitlines()
    except OSError as error:
        raise UserError(f"{listing}: cannot be read ({error.strerror}); {remedy}") from error
    partition: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        name, _, part = line.decode("utf-8", errors="replace").strip().rpartition(" ")
        name = name.strip()
        if not name or part not in ("0", "1", "2"):
            raise UserError(f"{listing}: line {number} is not 'name 0|1|2'; {remedy}")
        if name in partition:
            raise UserError(f"{listing}: line {number} names an image a second time; {remedy}")
        partition[name] = int(part)
    if not partition:
        raise UserError(f"{listing}: lists no image; {remedy}")
    missing = [name for name in partition if name not in files]
    if missing:
        raise UserError(
            f"{folder}: {len(missing)} images that {listing.name} names are missing, such as {missing[0]:.100}; {remedy}"
        )
    return {name: files[name] for name in partition}, np.array(list(partition.values()))


def cache_name(image_size: int, crop: int | None) -> str:
    """Return the file name of the array of `squares`."""
    return f"images-{image_size}.npy" if crop is None else f"images-{image_size}-crop-{crop}.npy"


def squares(files: dict[str, Path], image_size: int, crop: int | None, cache: Path) -> tuple[np.ndarray, str]:
    """Load the central squares of images from their array, which is made if it is missing, damaged or out of date.

    The names, sizes and times of the files tell whether one has changed; their contents are read only to make
    the array. Its SHA-256 stands for them in a run's provenance.

    Args:
        files: the images by name.
        image_size: side S of the squares in pixels.
        crop: side in pixels of the square that is cut from the middle of each image, or ``None`` for the largest one. A
            square of another side than S is resized; one of side S keeps its pixels.
        cache: where the array is kept, with a note of what it was made from beside it.

    Returns:
        uint8 (N, C, S, S), a memory map, and the SHA-256 of the array's file.

    Raises:
        UserError: if a file is no image or damaged, is smaller than the crop, or is grey where others are not.
    """
    states = {name: path.stat() for name, path in files.items()}
    listed = [(name, state.st_size, state.st_mtime_ns) for name, state in states.items()]
    digest = hashlib.sha256(ascii(listed).encode()).hexdigest()
    note = cache.with_suffix(".json")
    found = _read_note(note) if cache.exists() else {}
    if found.get("files") != digest or sha256_once(cache) != found.get("sha256"):
        _build(list(files.values()), image_size, crop, cache)
        found = {"files": digest, "sha256": sha256_once(cache)}
        write_json(note, found)
    # Copy on write: torch warns of arrays that are read-only, and a write would change memory only, never the file.
    return np.load(cache, mmap_mode="c", allow_pickle=False), str(found["sha256"])


def _read_note(path: Path) -> dict[str, Any]:
    """Return the note beside an array; empty if the note is missing or damaged, so that the array is made anew."""
    try:
        note = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return note if isinstance(note, dict) else {}


def _build(files: list[Path], image_size: int, crop: int | None, cache: Path) -> None:
    """Write the squares of the images to `cache`, uint8 (N, C, S, S)."""
    channels = len(_square(files[0], image_size, crop))
    shape = (len(files), channels, image_size, image_size)
    kinds = {1: "grey", 3: "in colour"}
    with atomic_path(cache) as temporary, progress_bar(len(files), cache.name, "image") as progress:
        images = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        for index, path in enumerate(files):
            square = _square(path, image_size, crop)
            if len(square) != channels:
                raise UserError(
                    f"{path}: is {kinds[len(square)]}, but {files[0].name} is {kinds[channels]}; keep them in folders of "
                    "their own, or convert one kind"
                )
            images[index] = square
            progress.update()
        images.flush()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open an image, whose pixels are decoded when they are used.

    Raises:
        UserError: if the file is no image or damaged, also where that shows in its use, or has pixels of another kind.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as file:
            if file.mode not in MODES:
                raise UserError(f"{path}: has pixels of the kind {file.mode}; convert it to 8 bits, grey or colour")
            yield file
    except UserError:
        raise
    except Exception as error:  # decoders raise errors of many kinds
        reason = "of no known format" if isinstance(error, UnidentifiedImageError) else error
        raise UserError(f"{path}: unreadable image ({reason}); replace it, or remove it from the folder") from error


def _square(path: Path, image_size: int, crop: int | None) -> np.ndarray:
    """Return the central square of an image, uint8 (C, S, S)."""
    from PIL import Image, ImageOps

    with _opened(path) as file:
        image = ImageOps.exif_transpose(file).convert(MODES[file.mode])
    width, height = image.size
    side = min(width, height) if crop is None else crop
    if side > min(width, height):
        raise UserError(
            f"{path}: {width}x{height} px are smaller than the crop of {crop} px; lower introvae.crop (--crop), or remove "
            "the image"
        )
    left, top = (width - side) // 2, (height - side) // 2
    box = (left, top, left + side, top + side)
    if side == image_size:
        image = image.crop(box)
    else:
        image = image.resize((image_size, image_size), Image.Resampling.LANCZOS, box=box)
    return np.asarray(image).reshape(image_size, image_size, -1).transpose(2, 0, 1)
