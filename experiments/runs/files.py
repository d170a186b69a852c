"""Atomic file writing and checksums: a file that exists is whole."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

_PARTIAL = ".partial"

ROOT = Path(__file__).parent.parent.parent
"""Root of the repository."""


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it is flushed to disk and renamed to `path`.

    On any exception the temporary file is removed and `path` stays as it was. The temporary name keeps the
    suffix of `path`, since some writers choose their format by it.

    Raises:
        OSError: naming `path`, if the disk is full or may not be written, whichever name or none the writer reported.
    """
    path = Path(path)
    try:
        with _temporary_path(path) as temporary:
            yield temporary
    except OSError as error:
        ours = error.filename is None or Path(error.filename).parent == path.parent
        if error.errno is None or not ours:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextlib.contextmanager
def _temporary_path(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=f"{_PARTIAL}{path.suffix}", dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        flush(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Wait until what was written to a file is on its disk.

    Raises:
        OSError: if it does not fit there, as some file systems say only now.
    """
    with path.open("rb") as written:
        os.fsync(written.fileno())


def write_bytes(path: Path | str, content: bytes | memoryview) -> None:
    """Write bytes atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text atomically, with Unix line ends on every system."""
    write_bytes(path, text.encode())


def json_text(value: Any) -> str:
    """JSON with sorted keys and two-space indent; ValueError for NaN, which JSON does not know."""
    return json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n"


def write_json(path: Path | str, value: Any) -> None:
    """Write `json_text` atomically."""
    write_text(path, json_text(value))


def leftovers(folder: Path | str) -> list[Path]:
    """Temporary files of `atomic_path` in a folder, sorted: a killed process leaves them, or a running one writes them."""
    return sorted(Path(folder).glob(f".*{_PARTIAL}*"))


def remove_leftovers(folder: Path | str) -> None:
    """Remove the `leftovers` of a folder; only for who has it for himself."""
    for path in leftovers(folder):
        path.unlink(missing_ok=True)


def fingerprint(paths: Iterable[Path]) -> str:
    """First 16 digits of the SHA-256 over the places in the repository and the contents of files, in this order."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(os.path.relpath(path, ROOT).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def sha256(path: Path | str) -> str:
    """Return the SHA-256 of a file as a hexadecimal string."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
