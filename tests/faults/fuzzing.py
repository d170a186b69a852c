"""What the fuzz tests share: how many inputs, and what may come of one."""

import contextlib

from hypothesis import HealthCheck, settings

from experiments.runs.errors import UserError

fuzzed = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""100 inputs; in the profile ``thorough`` 10,000."""

LONGEST = 100_000
"""Characters of a message: it may quote a long word of the user, but what that stands for must not grow without end."""


@contextlib.contextmanager
def success_or_one_line(trials, *names: str):
    """Let a `UserError` of one line that holds `names` pass, and count what came; all else is a failure."""
    try:
        yield
    except UserError as error:
        message = str(error)
        assert message.splitlines() == [message], message
        assert len(message) <= LONGEST, len(message)
        for name in names:
            assert name in message, (name, message)
        trials["refused in one line"] += 1
    else:
        trials["accepted"] += 1
