"""What a user may cause or cure: one clear line, no traceback."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

EXIT_USER_ERROR = 2
EXIT_TERMINATED = 75
"""After SIGTERM: EX_TEMPFAIL of sysexits.h, a failure that running the same command again cures."""
EXIT_INTERRUPTED = 130
"""After Ctrl-C, by convention 128 + SIGINT."""
EXIT_BROKEN_PIPE = 141
"""By convention 128 + SIGPIPE."""


class UserError(Exception):
    """A mistake in the user's input, stated in one line that names the file, key or option and the remedy."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))  # names and values that it quotes may hold line ends


class Interrupted(BaseException):
    """SIGTERM or Ctrl-C; no `Exception`, so that nothing takes it for a failure that it can handle."""

    def __init__(self, number: int, what: str = "nothing was left half-written") -> None:
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        super().__init__(f"stopped by {name}: {what}; run the same command again to go on")
        self.exit_code = EXIT_INTERRUPTED if number == signal.SIGINT else EXIT_TERMINATED


@contextlib.contextmanager
def on_signals(handler: Callable[[int], None]) -> Iterator[None]:
    """Call `handler` with the number of the signal on SIGTERM and Ctrl-C; in any thread but the main one, do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        handler(number)

    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, handle) for number in numbers]
    try:
        yield
    finally:
        for number, previous in zip(numbers, before, strict=True):
            signal.signal(number, previous)


def _stop(number: int) -> NoReturn:
    raise Interrupted(number)


def run_main(main: Callable[[], None]) -> NoReturn:
    """Run a command-line entry point; a `UserError` becomes one line on stderr and exit code 2.

    So does an error of the file system, such as a folder that may not be written or a full disk. Ctrl-C exits with 130 and
    SIGTERM with 75, each with one line; temporary files are removed first.
    """
    try:
        with on_signals(_stop):
            main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)
    except BrokenPipeError:  # who read the output has read enough, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_BROKEN_PIPE)
    except OSError as error:
        name = f"{error.filename}: " if error.filename is not None else ""
        reason = error.strerror or " ".join(str(error).split())
        print(f"error: {name}{reason}; name another place, or make this one readable and writable", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        sys.exit(stop.exit_code)
    sys.exit(0)
