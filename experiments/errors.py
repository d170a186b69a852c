"""What a user may cause or cure: one clear line, no traceback."""

import sys
from collections.abc import Callable
from typing import NoReturn


class UserError(Exception):
    """A mistake in the user's input, stated in one line that names the file, key or option and the remedy."""


def run_main(main: Callable[[], None]) -> NoReturn:
    """Run a command-line entry point; a `UserError` becomes one line on stderr and exit code 2.

    So does an error of the file system, such as a folder that may not be written or a full disk. Ctrl-C exits with the
    conventional code 130 and no traceback.
    """
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        name = f"{error.filename}: " if error.filename is not None else ""
        reason = error.strerror or " ".join(str(error).split())
        print(f"error: {name}{reason}; name another place, or make this one readable and writable", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)
