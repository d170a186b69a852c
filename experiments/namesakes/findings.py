"""What the audit of the rules called SoftAdapt says: who puts which component first."""

from functools import cached_property

import numpy as np
import pandas as pd

from experiments.evidence.reading import FinishedRun
from experiments.scale import Settings

REFERENCE = "equation 4"
"""The rule that the paper uses in training, and the others are held against."""


class Audit:
    """The run of the audit, read once.

    Args:
        settings: of the scale.
    """

    def __init__(self, settings: Settings) -> None:
        self.run = FinishedRun(settings, "five_rules", "default", settings.five_rules.seed)
        self.rules = list(settings.five_rules.rules)

    @cached_property
    def random(self) -> pd.DataFrame:
        """Share of the random histories that two rules order differently: a row and a column for each rule."""
        return self._matrix("random_disagreement")

    @cached_property
    def recorded(self) -> pd.DataFrame:
        """Share of the recorded steps that two rules order differently."""
        return self._matrix("recorded_disagreement")

    def _matrix(self, key: str) -> pd.DataFrame:
        return pd.DataFrame(self.run.metrics[key]).loc[self.rules, self.rules]

    @cached_property
    def named(self) -> pd.DataFrame:
        """First component's share of the weights at the end of each named history: a row a rule."""
        rows = self.run.history[self.run.history["set"] == "named"]
        last = rows.groupby(["history", "rule"], sort=False).tail(1)
        shares = last["weight_first"] / (last["weight_first"] + last["weight_second"])
        table = last.assign(share=shares).pivot_table(index="rule", columns="history", values="share")
        return table.loc[self.rules, rows["history"].unique()]

    def named_weights(self, rule: str) -> dict[str, float]:
        """One rule's row of `named`."""
        return {str(history): float(value) for history, value in self.named.loc[rule].items()}

    @cached_property
    def _orders(self) -> dict[str, np.ndarray]:
        samples = self.run.samples
        ends = samples["weights"][:, :, -1]
        return dict(zip(samples["rules"].tolist(), np.sign(ends[..., 0] - ends[..., 1]), strict=True))

    def orders_otherwise(self, rule: str, reference: str = REFERENCE) -> np.ndarray:
        """For each random history, whether the two rules put different components first at its end: (n,) booleans."""
        return self._orders[rule] * self._orders[reference] < 0
