"""Findings on the rules called SoftAdapt: which component each of them puts first."""

from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from experiments.evidence.reading import FinishedRun, Runs
from experiments.evidence.statistics import Estimate, share
from experiments.evidence.summaries import columns_of
from experiments.namesakes.settings import REFERENCE, NamesakesSettings


def rows(run: FinishedRun, section: NamesakesSettings) -> list[dict[str, Any]]:
    """Rows in two kinds.

    ``pair`` holds the shares of the random histories and of the recorded steps that two rules order differently, and
    the number of each. ``named`` holds the weights of a rule at the end of a named history.
    """
    counts = {name: run.metrics[name] for name in ("histories", "recorded_steps")}
    kept: list[dict[str, Any]] = [
        {"kind": "pair", "rule": rule, "other": other, **counts}
        | {"random": run.metrics["random_disagreement"][rule][other]}
        | {"recorded": run.metrics["recorded_disagreement"][rule][other]}
        for rule in section.rules
        for other in section.rules
    ]
    named = run.history[run.history["set"] == "named"]
    last = named.groupby(["history", "rule"], sort=False).tail(1)[["history", "rule", "weight_first", "weight_second"]]
    return kept + last.assign(kind="named").to_dict("records")


class Findings:
    """Tables and measurements of the audit.

    Args:
        runs: the room's runs.
    """

    def __init__(self, runs: Runs) -> None:
        self._rows = runs.rows
        self.rules = list(runs.section.rules)

    @cached_property
    def _pairs(self) -> pd.DataFrame:
        return self._rows[self._rows["kind"] == "pair"]

    @property
    def counts(self) -> dict[str, int]:
        """Number of random ``histories`` and of ``recorded_steps``."""
        return {name: int(self._pairs[name].iloc[0]) for name in ("histories", "recorded_steps")}

    def disagreement(self, among: str) -> pd.DataFrame:
        """Share of the ``random`` histories or ``recorded`` steps that two rules order differently, rule by rule."""
        return self._pairs.pivot_table(index="rule", columns="other", values=among).loc[self.rules, self.rules]

    @cached_property
    def named(self) -> pd.DataFrame:
        """First component's share of the weights at the end of each named history: a row a rule."""
        last = self._rows[self._rows["kind"] == "named"]
        shares = last["weight_first"] / (last["weight_first"] + last["weight_second"])
        table = last.assign(share=shares).pivot_table(index="rule", columns="history", values="share")
        return table.loc[self.rules, last["history"].unique()]

    def order_disagreement(self, *, rule: str, reference: str = REFERENCE) -> Estimate:
        """Share of random histories whose two components `rule` orders otherwise than `reference`."""
        count = self.counts["histories"]
        differing = round(float(self.disagreement("random").loc[rule, reference]) * count)
        return share(np.arange(count) < differing)

    def tables(self) -> dict[str, pd.DataFrame]:
        """The rules' weights, and how often they order two components otherwise than equation 4 does."""
        recorded = self.disagreement("recorded")
        table = []
        for rule in self.rules:
            row = {"rule": rule, **{str(name): float(value) for name, value in self.named.loc[rule].items()}}
            row |= columns_of("random_share", self.order_disagreement(rule=rule))
            table.append(row | {"recorded_share": recorded.loc[REFERENCE, rule]})
        return {"namesakes": pd.DataFrame(table)}
