"""Write files atomically, so that a file that exists is whole, and compute checksums."""

import contextlib
import functools
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

_PARTIAL = ".partial"

ROOT = Path(__file__).parent.parent.parent
"""Root of the repository."""


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; on success flush the file to disk and rename it to `path`.

    On any exception the temporary file is removed and `path` stays as it was. The temporary name keeps the
    suffix of `path`, since some writers choose their format by it. Missing parent folders are made.

    Raises:
        OSError: if the disk is full or may not be written. The error names `path`, even where the writer named the
            temporary file or no file at all.
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
    temporary = _new_file(path)
    try:
        yield temporary
        flush(temporary)
        temporary.replace(path)
        _flush_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _new_file(path: Path) -> Path:
    """Create an empty file beside `path` under a temporary name.

    The system applies the umask to the mode given here. `tempfile.mkstemp` would make the file private, and a process
    can read its umask only by changing it for a moment, which other threads would notice.
    """
    while True:
        temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{_PARTIAL}{path.suffix}")
        try:
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileExistsError:
            continue
        return temporary


def flush(path: Path) -> None:
    """Wait until the content of a file is on its disk.

    Raises:
        OSError: if the content does not fit on the disk; some file systems report that only at this point.
    """
    with path.open("rb") as written:
        os.fsync(written.fileno())


def _flush_folder(folder: Path) -> None:
    """Wait until the names in a folder are on its disk, so that a rename survives a loss of power.

    Errors are ignored: some systems cannot flush a folder, and the rename has already happened.
    """
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_bytes(path: Path | str, content: bytes | memoryview) -> None:
    """Write bytes atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text atomically, with Unix line ends on every system."""
    write_bytes(path, text.encode())


def json_text(value: Any) -> str:
    """Return a value as JSON with sorted keys, an indent of two spaces and a final line end.

    Raises:
        ValueError: if the value holds NaN or an infinity, which JSON does not have.
    """
    return json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n"


def write_json(path: Path | str, value: Any) -> None:
    """Write a value atomically as `json_text`, with the same errors."""
    write_text(path, json_text(value))


def leftovers(folder: Path | str) -> list[Path]:
    """Return the temporary files of `atomic_path` in a folder, sorted.

    A killed process leaves such files behind, and a running process has them while it writes.
    """
    return sorted(Path(folder).glob(f".*{_PARTIAL}*"))


def remove_leftovers(folder: Path | str) -> None:
    """Remove the `leftovers` of a folder.

    The caller must hold the folder's lock, since other processes may still be writing such files.
    """
    for path in leftovers(folder):
        path.unlink(missing_ok=True)


def fingerprint(paths: Iterable[Path]) -> str:
    """Return the first 16 digits of the SHA-256 over the places in the repository and the contents of files, in the given order."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(os.path.relpath(path, ROOT).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def sha256(path: Path | str) -> str:
    """Return the SHA-256 of a file as a hexadecimal string."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_once(path: Path | str) -> str:
    """Return `sha256` of a file; the file is read only once per process as long as its size and times stay the same.

    For large data files, which a run checks when it loads them and records when it ends.
    """
    path = Path(path).resolve()
    state = path.stat()
    return _sha256_of_state(path, (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns))


@functools.cache
def _sha256_of_state(path: Path, _state: tuple[int, ...]) -> str:
    return sha256(path)
