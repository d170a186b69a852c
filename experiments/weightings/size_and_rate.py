"""SoftAdapt with its two knobs apart: how much the size of a loss weighs, and how much its rate of change.

    a_k = f_k^size exp(rate s_k) / sum_j f_j^size exp(rate s_j),    s_k = f_k(t) - f_k(t - 1)

``size`` 1 is equation 4 of the paper, 0 is equation 3, each with beta = ``rate``. With ``rate`` 0, ``size`` 0 is the plain
sum, and -1 has the stationary points of uncertainty weighting, which minimises sum_k log f_k.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from experiments.runs.room import Context, Strict
from experiments.weightings._previous_losses import FromPreviousLosses


class SizeAndRate(FromPreviousLosses):
    """The rule above. Its weights sum to 1 and are equal at the first call.

    Args:
        names: of the K components.
        size: exponent of the losses.
        rate: sharpness, beta of the paper.
    """

    def __init__(self, names: Sequence[str], size: float, rate: float) -> None:
        super().__init__(names, 1.0)
        self.size, self.rate = size, rate

    def rule(self, values: Tensor, previous: Tensor) -> Tensor:
        """Return the weights (K,). They are undefined where a loss of 0 has a negative exponent, and stay as they were."""
        logits = self.rate * (values - previous)
        if self.size:
            logits = logits + self.size * values.log()
        return torch.softmax(logits, dim=0)


class Settings(Strict):
    """Options of the rule ``size_and_rate``."""

    rule: Literal["size_and_rate"]
    size: float = 1.0
    rate: float = 0.1

    def build(self, context: Context) -> SizeAndRate:
        """Return the module for these components."""
        return SizeAndRate(context.names, self.size, self.rate)
