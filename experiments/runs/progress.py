"""Progress with an estimate of the time left: a live bar on a terminal, a line now and then in a log."""

import sys
from typing import Any

LOG_INTERVAL = 20.0
"""Seconds between two lines where standard error is not a terminal."""


def progress_bar(total: int, description: str, unit: str, initial: int = 0, *, shown: bool = True) -> Any:
    """Return a tqdm bar over `total` units, `initial` of them done already; one that is not `shown` only counts."""
    from tqdm import tqdm

    live = sys.stderr.isatty()
    return tqdm(
        total=total,
        initial=initial,
        desc=description,
        unit=unit,
        mininterval=0.2 if live else LOG_INTERVAL,
        maxinterval=0.2 if live else LOG_INTERVAL,
        dynamic_ncols=live,
        ncols=None if live else 100,
        disable=not shown,
    )
