"""Report mistakes that a user can cause or cure in one clear line without a traceback."""

import atexit
import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

EXIT_USER_ERROR = 2
EXIT_TERMINATED = 75
"""Exit code after SIGTERM. EX_TEMPFAIL of sysexits.h means that running the same command again cures the failure."""
EXIT_INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT by convention."""
EXIT_BROKEN_PIPE = 141
"""Exit code when the reader of the output has gone: 128 + SIGPIPE by convention."""

_PLACE = "; name another place, or make this one readable and writable"
_SPACE = "; free some space or name another place"
_REMEDIES = {
    errno.EACCES: _PLACE,
    errno.EPERM: _PLACE,
    errno.EROFS: _PLACE,
    errno.ENOENT: _PLACE,
    errno.EEXIST: _PLACE,
    errno.ENOTDIR: _PLACE,
    errno.EISDIR: _PLACE,
    errno.ENAMETOOLONG: _PLACE,
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
}
"""The remedy for an `OSError`, by its number. An error that is not listed gets none."""


class UserError(Exception):
    """A mistake in the user's input. The message is one line that names the file, key or option and the remedy."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))  # quoted names and values may hold line ends


class Interrupted(BaseException):
    """SIGTERM or Ctrl-C.

    This is a `BaseException`, so that no ``except Exception`` takes a signal for a failure that it can handle.

    Args:
        number: the signal.
        what: says in a few words what the signal left behind, for the message.
    """

    def __init__(self, number: int, what: str = "nothing was left half-written") -> None:
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        super().__init__(f"stopped by {name}: {what}; run the same command again to go on")
        self.exit_code = EXIT_INTERRUPTED if number == signal.SIGINT else EXIT_TERMINATED


@contextlib.contextmanager
def on_signals(handler: Callable[[int], None]) -> Iterator[None]:
    """Call `handler` with the signal's number on SIGTERM and Ctrl-C, and restore the previous handlers afterwards.

    Outside of the main thread this does nothing, since Python sets handlers in the main thread only.
    """
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


def _ignore_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def run_main(main: Callable[[], None]) -> NoReturn:
    """Run the entry point of a command and exit the process.

    A `UserError` or an error of the file system, such as a full disk, prints one line on stderr and exits with code 2.
    Ctrl-C exits with 130 and SIGTERM with 75, each with one line, after temporary files are removed. Output that nobody
    reads any longer, as in ``command | head``, exits with 141 in silence.
    """
    # At exit the work is done, and a signal would only garble the end of the interpreter.
    atexit.register(_ignore_signals)
    try:
        with on_signals(_stop):
            main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)
    except BrokenPipeError:
        # The interpreter flushes stdout once more at exit; without a reader that would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_BROKEN_PIPE)
    except OSError as error:
        name = f"{error.filename}: " if error.filename is not None else ""
        reason = error.strerror or " ".join(str(error).split()) or type(error).__name__
        print(f"error: {name}{reason}{_REMEDIES.get(error.errno or 0, '')}", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        sys.exit(stop.exit_code)
    sys.exit(0)
