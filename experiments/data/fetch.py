"""Fetch files from the first source that works, and check them."""

import contextlib
import gzip
import http.client
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import IO

from experiments.runs.errors import UserError
from experiments.runs.files import sha256
from experiments.runs.progress import progress_bar

TIMEOUT = 5.0
"""Seconds without an answer or without further data after which a source is given up."""

ABANDONED = 3600.0
"""Seconds without a change after which a scratch folder is taken for the leftover of a killed process. Every source
stalls or times out far sooner."""

_SCRATCH = ".partial"
_BLOCK = 1 << 16


class SourceFailed(Exception):
    """A source did not deliver. The message says why in a few words."""


Source = tuple[str, Callable[[Path], None]]
"""A source's name, and a function that puts the source's files into an empty folder or raises `SourceFailed`."""


def fetch_from_first(what: str, sources: Sequence[Source], folder: Path, install: Callable[[Path], None]) -> None:
    """Try the sources in order until one delivers data that `install` accepts.

    Each attempt has a scratch folder of its own inside `folder`, which is always removed. Several processes may
    therefore fetch into one folder at once.

    Args:
        what: name of the data set, for messages.
        sources: the sources, best first.
        folder: an existing folder, where `install` puts the data.
        install: checks the files in a scratch folder and moves them into place; raises `SourceFailed` if they are
            wrong.

    Raises:
        UserError: if no source delivers. The message lists the reasons and says what to do.
        OSError: naming `folder`, if files cannot be written there, for instance because the disk is full.
    """
    _remove_abandoned(folder)
    reasons = []
    for name, bring in sources:
        try:
            scratch = Path(tempfile.mkdtemp(prefix=f"{_SCRATCH}-", dir=folder))
            try:
                bring(scratch)
                install(scratch)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        except SourceFailed as error:
            reasons.append(f"{name}: {error}")
        except OSError as error:  # no fault of the source, so that another source would not help
            if error.errno is None:
                raise
            raise OSError(error.errno, error.strerror, str(folder)) from error
        else:
            return
    raise UserError(
        f"{what} could not be fetched ({'; '.join(reasons)}); connect to a network, or place the files in {folder} "
        "yourself, and run the command again"
    )


def _remove_abandoned(folder: Path) -> None:
    """Remove the scratch folders in which nothing has changed for `ABANDONED` seconds."""
    for scratch in folder.glob(f"{_SCRATCH}*"):
        try:
            newest = max(path.stat().st_mtime for path in (scratch, *scratch.rglob("*")))
        except OSError:  # another process has just removed it, or something in it
            continue
        if time.time() - newest > ABANDONED:
            shutil.rmtree(scratch, ignore_errors=True)


def download(url: str, path: Path, limit: int) -> None:
    """Download `url` to `path`.

    Args:
        url: of the file.
        path: of the copy.
        limit: largest size accepted, in bytes.

    Raises:
        SourceFailed: if the source does not answer, stalls for `TIMEOUT` seconds, refuses, does not speak HTTP, breaks
            off, or sends more than `limit` bytes.
        OSError: if the file cannot be written.
    """
    with path.open("wb") as file, contextlib.closing(_blocks(url, path.name, limit)) as blocks:
        for block in blocks:
            file.write(block)


def _blocks(url: str, name: str, limit: int) -> Generator[bytes, None, None]:
    """Yield the content of `url`. An error of the caller, who writes the blocks, is not taken for one of the source."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            size = int(response.headers.get("Content-Length") or 0)
            if size > limit:
                raise SourceFailed(f"{name} would have {size} bytes, at most {limit} are expected")
            received = 0
            with progress_bar(size, name, "B") as progress:
                while block := response.read(_BLOCK):
                    received += len(block)
                    if received > limit:
                        raise SourceFailed(f"{name} has more than the {limit} bytes expected")
                    yield block
                    progress.update(len(block))
            if size and received != size:
                raise SourceFailed(f"broke off after {received} of {size} bytes")
    except http.client.HTTPException as error:  # what the server wrote may be long
        raise SourceFailed(f"no proper answer ({type(error).__name__} {str(error)[:80]!r})") from error
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise SourceFailed(f"no answer ({getattr(error, 'reason', error)})") from error


def unpack(packed: IO[bytes] | gzip.GzipFile, path: Path, limit: int) -> None:
    """Write a decompressing stream to `path`.

    Args:
        packed: the stream, open for reading.
        path: of the unpacked file.
        limit: largest unpacked size accepted, in bytes. A small archive can unpack to any size.

    Raises:
        SourceFailed: if the stream holds more than `limit` bytes.
        OSError: if the file cannot be written, or as the stream raises.
    """
    unpacked = 0
    with path.open("wb") as file:
        while block := packed.read(_BLOCK):
            unpacked += len(block)
            if unpacked > limit:
                raise SourceFailed(f"{path.name} unpacks to more than the {limit} bytes expected")
            file.write(block)


def run_client(command: Sequence[str], folder: Path, timeout: float = 300.0) -> None:
    """Run a package client in `folder`.

    Args:
        command: program and arguments.
        folder: the working directory.
        timeout: seconds after which the client is stopped.

    Raises:
        SourceFailed: if the client is not installed, fails, or takes longer than `timeout`.
    """
    started = time.monotonic()
    try:
        subprocess.run(
            command, cwd=folder, check=True, capture_output=True, text=True, errors="replace", timeout=timeout
        )
    except FileNotFoundError as error:
        raise SourceFailed(f"{command[0]} is not installed") from error
    except OSError as error:
        raise SourceFailed(f"{command[0]} cannot be started ({error.strerror})") from error
    except subprocess.TimeoutExpired as error:
        raise SourceFailed(f"no result after {time.monotonic() - started:.0f} s") from error
    except subprocess.CalledProcessError as error:
        last = (error.stderr or error.stdout or "").strip().splitlines()
        raise SourceFailed(last[-1] if last else f"exit code {error.returncode}") from error


def require_checksum(path: Path, expected: str) -> None:
    """Raise `SourceFailed` unless the file `path` exists and has this SHA-256 (hexadecimal)."""
    if not path.exists():
        raise SourceFailed(f"{path.name} is missing")
    found = sha256(path)
    if found != expected:
        raise SourceFailed(f"{path.name} has SHA-256 {found[:12]}..., expected {expected[:12]}...")
