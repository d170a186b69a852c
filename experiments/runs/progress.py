"""Show progress and the estimated time left, as a live bar on a terminal and as occasional lines in a log."""

import sys
from typing import Any

LOG_INTERVAL = 20.0
"""Seconds between two lines when standard error is not a terminal."""


def progress_bar(total: int, description: str, unit: str, initial: int = 0, *, shown: bool = True) -> Any:
    """Return a tqdm bar, to be used as a context manager.

    Args:
        total: number of units of work.
        description: text before the bar.
        unit: name of a unit.
        initial: number of units that are done already.
        shown: whether to print; a hidden bar only counts.
    """
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
