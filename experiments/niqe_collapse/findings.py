"""Collapsed NIQE of every set of images, by LIVE's model and by the paper's likely tool."""

from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from experiments.evidence.reading import FinishedRun, Runs, published
from experiments.evidence.statistics import Estimate
from experiments.niqe_collapse.settings import NiqeCollapseSettings

CONSTANTS = ("c", "m0", "s", "largest_error_of_closed_form", "lowest_score", "highest_score")


def rows(run: FinishedRun, section: NiqeCollapseSettings) -> list[dict[str, Any]]:
    """One row per image, with the pooled NIQE of its set, if that has one, and the constants of the closed form."""
    constants = {name: run.metrics[name] for name in CONSTANTS}
    pooled = run.history["set"].map(run.metrics["pooled"])
    return run.history.assign(pooled=pooled, **constants).to_dict("records")


class Findings:
    """Tables and measurements of the audit.

    Args:
        runs: the room's runs.
    """

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row per image; column ``published_tool`` is the closed form with that tool's constants."""
        images = self._runs.rows
        constants = published()["introvae"]["niqe_collapse"]
        excess = 2 * (images["mean"] - constants["m0"]) ** 2 / (images["variance"] + constants["s"])
        return images.assign(published_tool=np.sqrt(constants["c"] ** 2 + excess))

    def tables(self) -> dict[str, pd.DataFrame]:
        """Lowest, mean and highest score of each set, with LIVE's model and with the published tool's constants."""
        table = []
        for name, group in self.scores.groupby("set", sort=False):
            row: dict[str, object] = {"set": name, "images": len(group)}
            for column, label in (("score", "live_model"), ("published_tool", "published_tool")):
                values = group[column]
                row |= {label: values.mean(), f"{label}_low": values.min(), f"{label}_high": values.max()}
            table.append(row | {"pooled_niqe": group["pooled"].iloc[0]})
        return {"niqe_collapse": pd.DataFrame(table)}

    def published_spread(self) -> Estimate:
        """Highest minus lowest of all NIQE values in the paper, whatever the method, epoch or image set.

        It reads no run; the audit explains its verdict.
        """
        values = published_values()
        spread = max(values) - min(values)
        return Estimate(spread, spread, spread, len(values), kind="fact")

    def numbers(self) -> dict[str, Any]:
        """Numbers that the manuscript quotes."""
        images = self._runs.rows
        pooled = images.dropna(subset="pooled").groupby("set", sort=False)["pooled"].first()
        constants = {name: float(images[name].iloc[0]) for name in CONSTANTS}
        return {"niqe": constants | {"pooled": pooled.to_dict(), "images": len(images)}}


def published_values() -> list[float]:
    """All NIQE values in the paper: both tables, both methods, all epochs."""
    tables = published()["introvae"]
    return [v for table in ("table_1", "table_2") for m in ("softadapt", "fixed") for v in tables[table][m]["niqe"]]
