"""What SoftAdapt adds to a training step, from the paired times of the audit ``step_cost``."""

from typing import Any, Literal

import numpy as np
import pandas as pd

from experiments.evidence.reading import FinishedRun
from experiments.evidence.statistics import Estimate, median_over_starts
from experiments.scale import Settings
from experiments.step_cost.settings import TIMED

By = Literal["steps", "calls", "calls_in_a_row"]

_TIMED_BY: dict[By, str] = {"steps": "step", "calls": "call", "calls_in_a_row": "call_in_a_row"}


def timings(settings: Settings) -> pd.DataFrame:
    """One row per experiment, kind of time and pair; columns ``fixed`` and ``softadapt`` in seconds."""
    return FinishedRun(settings, "step_cost", "default", settings.step_cost.seed).history


def times_of(history: pd.DataFrame, experiment: str, timed: str) -> pd.DataFrame:
    """The pairs of one experiment and one kind of time: ``step``, ``call`` or ``call_in_a_row``."""
    return history[(history["experiment"] == experiment) & (history["timed"] == timed)]


def shares(history: pd.DataFrame, experiment: str, by: By) -> np.ndarray:
    """Per pair (n,), the time that SoftAdapt adds as a share of a step with fixed weights.

    By ``steps``, a step of SoftAdapt over the fixed one of its pair, minus 1. By ``calls``, SoftAdapt's call less the
    fixed one of its pair, over the median fixed step: the scatter of the steps then stays outside the difference, and
    in the median of hundreds it is small against that of the calls.
    """
    pairs = times_of(history, experiment, _TIMED_BY[by])
    fixed, softadapt = (pairs[method].to_numpy() for method in ("fixed", "softadapt"))
    if by == "steps":
        return softadapt / fixed - 1
    return (softadapt - fixed) / times_of(history, experiment, "step")["fixed"].median()


def overhead(history: pd.DataFrame, experiment: str, by: By) -> Estimate:
    """Median over pairs of `shares`, with a bootstrap interval; pairs stand where starts do elsewhere."""
    return median_over_starts(shares(history, experiment, by))


def published_overhead(published: dict[str, Any], experiment: str) -> float:
    """What the paper's minutes say: SoftAdapt over fixed, minus 1; NaN where it gives none."""
    minutes = published.get(experiment, {}).get("minutes")
    return minutes["softadapt"] / minutes["fixed"] - 1 if minutes else float("nan")


def summary(settings: Settings, published: dict[str, Any]) -> pd.DataFrame:
    """One row per experiment: median times of both methods, and what SoftAdapt adds in percent of a step."""
    history = timings(settings)
    rows = []
    for experiment in TIMED:
        row: dict[str, object] = {"experiment": experiment}
        row["pairs"] = len(times_of(history, experiment, "step"))
        row["step_ms_fixed"] = 1e3 * times_of(history, experiment, "step")["fixed"].median()
        by: By
        for by in ("steps", "calls", "calls_in_a_row"):
            estimate = overhead(history, experiment, by)
            if by != "steps":
                for method in ("fixed", "softadapt"):
                    seconds = times_of(history, experiment, _TIMED_BY[by])[method].median()
                    row[f"{_TIMED_BY[by]}_us_{method}"] = 1e6 * seconds
            name = f"added_percent_by_{by}"
            row |= {name: 100 * estimate.value, f"{name}_low": 100 * estimate.low, f"{name}_high": 100 * estimate.high}
        rows.append(row | {"published_percent": 100 * published_overhead(published, experiment)})
    return pd.DataFrame(rows)
