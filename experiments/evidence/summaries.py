"""Summaries of training runs over their seeds, shared by the rooms that train methods.

A method with a run that diverged has failed: it has no mean, and loses every comparison unless the other method failed
too.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from experiments.evidence.reading import FinishedRun, Runs
from experiments.evidence.statistics import NO_ESTIMATE, Estimate, Failed, Side, mean_over_seeds

DIVERGED = "diverged"
"""The verdict, in ``metrics.json``, of a run that finished by diverging."""


def training_rows(run: FinishedRun, section: Any) -> list[dict[str, Any]]:
    """The rows of a run's history at the report epochs, and the last one.

    A run that diverged in its first epoch may have no history. It has one empty row then, so that it is not dropped.
    """
    history = run.history
    kept = history["epoch"].isin(section.report_epochs) | history.index.isin(history.index[-1:])
    return history[kept].to_dict("records") or [dict.fromkeys(history.columns, float("nan"))]


def methods_of(runs: Runs) -> pd.DataFrame:
    """Rows of a room whose runs are named by their method, with the column ``method``."""
    return runs.rows.rename(columns={"run": "method"})


def at_epochs(rows: pd.DataFrame, epochs: Sequence[int], losses: Sequence[str]) -> pd.DataFrame:
    """One row for every run and epoch, so that no run is dropped.

    A run that diverged has rows of NaN from there on: its history ends, or one of its `losses` is not finite. It has
    nothing at the last epoch in any case, since weights or gradients may diverge first.

    Args:
        rows: what `methods_of` returned.
        epochs: which epochs.
        losses: columns that every epoch has.
    """
    ended = ~np.isfinite(rows[list(losses)]).all(axis=1) | (rows["epoch"] == rows["epoch"].max())
    lost = (rows["verdict"] == DIVERGED) & ended
    runs = rows[["method", "seed", "train_seconds", "verdict"]].drop_duplicates()
    wanted = runs.merge(pd.DataFrame({"epoch": list(epochs)}), how="cross")
    measured = rows[~lost].drop(columns=["train_seconds", "verdict"])
    return wanted.merge(measured, on=["method", "seed", "epoch"], how="left")


def failed_runs(rows: pd.DataFrame, method: str) -> int:
    """Number of a method's runs that diverged."""
    return int(rows[(rows["method"] == method) & (rows["verdict"] == DIVERGED)]["seed"].nunique())


def failure(rows: pd.DataFrame, better: Side, ours: str, theirs: str = "") -> Estimate | None:
    """The estimate for a method, or a comparison of two, of which runs diverged; None if none did.

    Args:
        rows: what `methods_of` returned.
        better: the side of a bound on which `ours` is the better method.
        ours: the method that is measured.
        theirs: the method that it is compared with, if any.
    """
    one, other = (failed_runs(rows, method) for method in (ours, theirs))
    if not one and not other:
        return None
    runs = rows[rows["method"] == ours]["seed"].nunique()
    return replace(NO_ESTIMATE, failed=Failed(one, other, runs, better))


def mean_of_all(values: pd.Series) -> Estimate:
    """Mean over seeds. No estimate unless every run has a value: others must not speak for a run without one."""
    return mean_over_seeds(values.to_numpy()) if values.notna().all() else NO_ESTIMATE


def columns_of(name: str, estimate: Estimate) -> dict[str, float]:
    """A value and its interval as three columns."""
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def by_method_and_epoch(
    rows: pd.DataFrame, measures: list[str], baseline: str = "", compared: Sequence[str] = ()
) -> pd.DataFrame:
    """Mean of every measure over seeds; for those `compared` also the difference from the baseline, paired by seed.

    `rows` holds a row for every run and epoch. ``seeds`` counts a method's runs, ``failed`` those of them that
    diverged. A method with a failed run has no difference from the baseline, and no mean where the run has no value.
    """
    theirs = rows[rows["method"] == baseline].set_index(["epoch", "seed"])
    baseline_failed = bool((theirs["verdict"] == DIVERGED).any())
    table = []
    for (method, epoch), group in rows.groupby(["method", "epoch"], sort=False):
        failed = int((group["verdict"] == DIVERGED).sum())
        row: dict[str, object] = {"method": method, "epoch": epoch, "seeds": len(group), "failed": failed}
        for measure in measures:
            row |= columns_of(measure, mean_of_all(group[measure]))
        for measure in compared:
            difference = group.set_index(["epoch", "seed"])[measure] - theirs[measure].reindex(
                pd.MultiIndex.from_frame(group[["epoch", "seed"]])
            )
            if method == baseline or failed or baseline_failed:
                difference = difference[:0]
            row |= columns_of(f"{measure}_minus_fixed", mean_of_all(difference))
        table.append(row)
    return pd.DataFrame(table)
