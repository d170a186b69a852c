"""The time that SoftAdapt adds to a training step, from the paired times of the audit."""

from functools import cache
from typing import Any, Literal

import numpy as np
import pandas as pd

from experiments.evidence.reading import FinishedRun, Runs, packed, published, unpacked
from experiments.evidence.statistics import Estimate, median_over_pairs
from experiments.evidence.summaries import columns_of
from experiments.step_cost.settings import TIMED, StepCostSettings

By = Literal["steps", "calls", "calls_in_a_row"]

_TIMED_BY: dict[By, str] = {"steps": "step", "calls": "call", "calls_in_a_row": "call_in_a_row"}


def rows(run: FinishedRun, section: StepCostSettings) -> list[dict[str, Any]]:
    """One row per experiment and kind of time; ``fixed`` and ``softadapt`` hold the seconds of all pairs."""
    return [
        {
            "experiment": experiment,
            "timed": timed,
            "fixed": packed(pairs["fixed"]),
            "softadapt": packed(pairs["softadapt"]),
        }
        for (experiment, timed), pairs in run.history.groupby(["experiment", "timed"], sort=False)
    ]


class Findings:
    """Tables and measurements of the audit.

    Args:
        runs: the room's runs.
    """

    def __init__(self, runs: Runs) -> None:
        self._rows = runs.rows
        self.times = cache(self._times)

    def _times(self, experiment: str, timed: str) -> dict[str, np.ndarray]:
        """Seconds (pairs,) by method, of one experiment and kind of time: ``step``, ``call`` or ``call_in_a_row``."""
        row = self._rows[(self._rows["experiment"] == experiment) & (self._rows["timed"] == timed)].iloc[0]
        return {method: unpacked(row[method]) for method in ("fixed", "softadapt")}

    def shares(self, experiment: str, by: By) -> np.ndarray:
        """Per pair (n,), the time that SoftAdapt adds as a share of a step with fixed weights.

        By ``steps``, a step of SoftAdapt over the fixed one of its pair, minus 1. By ``calls``, SoftAdapt's call less
        the fixed one of its pair, over the median fixed step: the scatter of the steps then stays outside the
        difference, and in the median of hundreds it is small against that of the calls.
        """
        pairs = self.times(experiment, _TIMED_BY[by])
        if by == "steps":
            return pairs["softadapt"] / pairs["fixed"] - 1
        return (pairs["softadapt"] - pairs["fixed"]) / np.median(self.times(experiment, "step")["fixed"])

    def overhead(self, *, experiment: str, by: By) -> Estimate:
        """Median over pairs of `shares`."""
        return median_over_pairs(self.shares(experiment, by))

    def tables(self) -> dict[str, pd.DataFrame]:
        """One row per experiment: median times of both methods, and what SoftAdapt adds in percent of a step."""
        table = []
        for experiment in TIMED:
            steps = self.times(experiment, "step")["fixed"]
            row: dict[str, object] = {"experiment": experiment, "pairs": len(steps)}
            row["step_ms_fixed"] = 1e3 * np.median(steps)
            for by, timed in _TIMED_BY.items():
                if by != "steps":
                    for method, seconds in self.times(experiment, timed).items():
                        row[f"{timed}_us_{method}"] = 1e6 * np.median(seconds)
                percent = {
                    name: 100 * value
                    for name, value in columns_of(
                        f"added_percent_by_{by}", self.overhead(experiment=experiment, by=by)
                    ).items()
                }
                row |= percent
            table.append(row | {"published_percent": 100 * published_overhead(experiment)})
        return {"step_cost": pd.DataFrame(table)}


def published_overhead(experiment: str) -> float:
    """The paper's minutes, SoftAdapt over fixed, minus 1; NaN where it gives none."""
    minutes = published().get(experiment, {}).get("minutes")
    return minutes["softadapt"] / minutes["fixed"] - 1 if minutes else float("nan")
