"""Uncertainty weighting: every component is divided by a learned variance.

Kendall, Gal and Cipolla, "Multi-task learning using uncertainty to weigh losses for scene geometry and semantics" (CVPR
2018, arXiv 1705.07115), equation 7 with s_k = log sigma_k^2:

    L = sum_k (exp(-s_k) f_k + s_k) / 2

The s_k start at 0, and the optimiser of the network trains them.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from experiments.runs.room import Context, Strict


class UncertaintyWeights(nn.Module):
    """The loss above; its `weights` are exp(-s_k) / 2.

    Args:
        names: of the loss components.
    """

    weights: Tensor

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        self.log_variances = nn.Parameter(torch.zeros(len(names)))
        self.register_buffer("weights", torch.full((len(names),), 0.5))

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum () of the named scalar losses, plus half the sum of the log-variances."""
        weights = torch.exp(-self.log_variances) / 2
        self.weights.copy_(weights.detach())
        return torch.dot(weights, torch.stack([losses[name] for name in self.names])) + self.log_variances.sum() / 2


class Settings(Strict):
    """Options of the rule ``uncertainty``: none."""

    rule: Literal["uncertainty"]

    def build(self, context: Context) -> UncertaintyWeights:
        """Return the module for these components."""
        return UncertaintyWeights(context.names)
