"""SoftAdapt with each weight on another component: an ablation that asks whether it matters which weight goes where.

In an IntroVAE training loop that the first author of SoftAdapt published later, the weights of the divergence and of
the reconstruction end up on each other's component. This rule reverses the order of the weights, so that the first
and the last component exchange theirs.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from experiments.weightings import Context, softadapt
from softadapt import SoftAdapt


class SwappedSoftAdapt(nn.Module):
    """``sum_k a_(K+1-k) f_k`` with SoftAdapt's weights a.

    Args:
        rule: computes the weights.
        names: of the components, in the order of their weights.
    """

    weights: Tensor

    def __init__(self, rule: SoftAdapt, names: Sequence[str]) -> None:
        super().__init__()
        self.rule = rule
        self.names = tuple(names)
        self.register_buffer("weights", rule.weights.flip(0))

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum () of the named scalar losses."""
        values = torch.stack([losses[name] for name in self.names])
        self.rule(values)
        weights = self.rule.weights.flip(0)
        self.weights.copy_(weights)
        return torch.dot(weights, values)


class Settings(softadapt.Settings):
    """Options of the rule ``softadapt_swapped``: those of ``softadapt``."""

    rule: Literal["softadapt_swapped"]  # type: ignore[assignment]

    def build(self, context: Context) -> SwappedSoftAdapt:  # type: ignore[override]
        """Return the module for these components."""
        return SwappedSoftAdapt(super().build(context), context.names)
