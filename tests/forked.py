"""Real processes at a low price: a server imports torch and Snakemake once and forks every command that a test starts.

A child is a process of its own, with the exit code, the signals and the standard error that a command has; only the
seconds of the imports are saved.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.scale import ROOMS

LIMIT = 120.0
"""Seconds after which a process hangs."""

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    [
        "torch",
        "torch._dynamo",  # which the first optimiser imports
        "PIL.Image",
        "piq",
        "tqdm",
        "snakemake.cli",
        "experiments.weightings.gradnorm",
        *(f"experiments.{room}.run" for room in ROOMS),
    ]
)


def start(output: Path, errors: Path, function: Callable[..., None], *arguments: Any) -> Any:
    """Start a child that calls a function of an importable module, and writes what it prints to two files, or to one."""
    process = _SERVER.Process(target=_enter, args=(str(output), str(errors), function, *arguments))
    process.start()
    return process


def _enter(output: str, errors: str, function: Callable[..., None], *arguments: Any) -> None:
    descriptors = {path: os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644) for path in {output, errors}}
    os.dup2(descriptors[output], 1)
    os.dup2(descriptors[errors], 2)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    function(*arguments)


def ranks(function: Callable[..., None], arguments: tuple[Any, ...], count: int) -> None:
    """As `torch.multiprocessing.spawn`: call ``function(rank, *arguments)`` in so many processes, and wait for them."""
    from torch.multiprocessing import start_processes

    start_processes(function, arguments, count, start_method="forkserver")


def module(name: str, *words: str) -> subprocess.CompletedProcess:
    """The command ``python -m NAME``."""
    return _completed(_module, name, words)


def _module(name: str, words: tuple[str, ...]) -> None:
    sys.argv = [name, *words]
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def snakemake(*words: str, folder: Path | str = ".") -> subprocess.CompletedProcess:
    """The command ``snakemake``. In a copy of the sources, `folder`, it imports that copy, and so do its jobs."""
    return _completed(_snakemake, str(folder), words)


def _completed(function: Callable[..., None], *arguments: Any) -> subprocess.CompletedProcess:
    """Wait for a child to end."""
    with tempfile.TemporaryDirectory() as kept:
        output, errors = Path(kept, "output"), Path(kept, "errors")
        process = start(output, errors, function, *arguments)
        process.join(LIMIT)
        if process.is_alive():
            process.kill()
            raise AssertionError(f"hung for {LIMIT} s: {errors.read_text()}")
        said = output.read_text(encoding="utf-8"), errors.read_text(encoding="utf-8")
        return subprocess.CompletedProcess(arguments, process.exitcode, *said)


def _snakemake(folder: str, words: tuple[str, ...]) -> None:
    from snakemake import cli

    if folder != ".":
        os.chdir(folder)
        os.environ |= {"PYTHONPATH": ".", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        for name in [name for name in sys.modules if name.split(".")[0] in ("experiments", "models", "softadapt")]:
            del sys.modules[name]
    sys.argv = ["snakemake", *words]
    cli.main()
