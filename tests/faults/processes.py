"""Commands of rooms as processes that a test may signal, and what a refusal looks like."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import forked

from experiments import scale
from experiments.runs.command_line import main


class Process:
    """A running or ended command.

    Args:
        room: experiment whose command is called.
        arguments: words of the command line.
        log: file for what it prints.
        checksums: of the made data, MNIST's by file and the faces'.
        prepare: called in the child before anything else, to plant a fault; from an importable module.
    """

    def __init__(
        self,
        room: str,
        arguments: list[str],
        log: Path,
        checksums: tuple[dict[str, str], str],
        prepare: Callable[[], None] | None = None,
    ) -> None:
        self.log = log
        self._process = forked.start(log, log, _run, room, arguments, checksums, prepare)
        self.started = time.monotonic()
        self.seconds = 0.0

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    def send(self, number: signal.Signals) -> bool:
        """Send a signal; whether the process was still there to get it."""
        if not self.running:
            return False
        os.kill(self._process.pid, number)
        return True

    def wait(self) -> int:
        """Its exit code; a negative one is the signal that ended it."""
        self._process.join(forked.LIMIT)
        if self.running:
            self._process.kill()
            self._process.join()
            raise AssertionError(f"hung for {forked.LIMIT} s: {self.printed}")
        self.seconds = time.monotonic() - self.started
        return self._process.exitcode

    @property
    def printed(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    @property
    def lines(self) -> list[str]:
        """The printed lines besides the progress bars, which rewrite their own line or say how far they are."""
        return [line for line in self.printed.replace("\r", "\n").splitlines() if line.strip() and "it/s" not in line]


def _run(room, arguments, checksums, prepare) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from experiments.data import mnist, orl_faces

    mnist.CHECKSUMS, orl_faces.CHECKSUM = checksums
    if prepare is not None:
        prepare()
    sys.argv = [room, *arguments]
    main(scale, room, "")


def one_line(process: Process, *parts: str) -> None:
    """Assert that the process said one clear line, an error that holds these parts, and exited with 2."""
    code = process.wait()
    said = [line for line in process.lines if "%|" not in line]
    assert code == 2, (code, said)
    assert len(said) == 1, said
    assert said[0].startswith("error: "), said
    assert "Traceback" not in process.printed
    for part in parts:
        assert part in said[0], (part, said[0])
