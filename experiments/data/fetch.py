"""Fetching files from the first source that answers, and checking them."""

import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from experiments.runs.errors import UserError
from experiments.runs.files import sha256
from experiments.runs.progress import progress_bar

TIMEOUT = 5.0
"""Seconds after which a source that does not answer, or a transfer that stands still, is given up."""


class SourceFailed(Exception):
    """A source did not deliver; says why in a few words."""


Source = tuple[str, Callable[[Path], None]]
"""A source's name, and a function that brings what is wanted into an empty folder or raises `SourceFailed`."""


def fetch_from_first(what: str, sources: Sequence[Source], folder: Path, install: Callable[[Path], None]) -> None:
    """Try the sources in order until one delivers data that `install` accepts.

    Args:
        what: name of the data set, for messages.
        sources: tried in order.
        folder: an existing folder; a scratch folder inside it holds what the sources bring and is always removed.
        install: checks what a source brought and moves it into place; raises `SourceFailed` if it is not right.

    Raises:
        UserError: if no source delivers; lists the reasons and says what to do.
    """
    reasons = []
    for name, bring in sources:
        scratch = folder / ".partial"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        try:
            bring(scratch)
            install(scratch)
        except SourceFailed as error:
            reasons.append(f"{name}: {error}")
        else:
            return
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    raise UserError(
        f"{what} could not be fetched ({'; '.join(reasons)}); connect to a network, or place the files in {folder} "
        "yourself, and run the command again"
    )


def download(url: str, path: Path) -> None:
    """Download `url` to `path`.

    Raises:
        SourceFailed: if the source does not answer or stalls for `TIMEOUT` seconds, refuses, or breaks off.
    """
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response, path.open("wb") as file:
            size = int(response.headers.get("Content-Length") or 0)
            with progress_bar(size, path.name, "B") as progress:
                while block := response.read(1 << 16):
                    file.write(block)
                    progress.update(len(block))
            if size and path.stat().st_size != size:
                raise SourceFailed(f"broke off after {path.stat().st_size} of {size} bytes")
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise SourceFailed(f"no answer ({getattr(error, 'reason', error)})") from error


def run_client(command: Sequence[str], folder: Path, timeout: float = 300.0) -> None:
    """Run a package client in `folder`.

    Raises:
        SourceFailed: if it is not installed, fails, or takes longer than `timeout` seconds.
    """
    started = time.monotonic()
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=timeout)
    except FileNotFoundError as error:
        raise SourceFailed(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise SourceFailed(f"no result after {time.monotonic() - started:.0f} s") from error
    except subprocess.CalledProcessError as error:
        last = (error.stderr or error.stdout or "").strip().splitlines()
        raise SourceFailed(last[-1] if last else f"exit code {error.returncode}") from error


def require_checksum(path: Path, expected: str) -> None:
    """Raise `SourceFailed` unless `path` has this SHA-256."""
    if not path.exists():
        raise SourceFailed(f"{path.name} is missing")
    found = sha256(path)
    if found != expected:
        raise SourceFailed(f"{path.name} has SHA-256 {found[:12]}..., expected {expected[:12]}...")
