"""What NeuralPDE.jl calls SoftAdapt: the softmax of relative changes.

    w_k = K exp(alpha c_k) / sum_j exp(alpha c_j),    c_k = (L_k(t) - L_k(t - 1)) / L_k(t - 1)

Public code of SciML. The paper's differences are not divided by the loss. c_k is the ratio of the rule
``physicsnemo`` less 1, and a softmax ignores a constant. This is therefore that rule with an inverse temperature: the
two agree exactly at alpha 1, and in their order at any positive alpha. A component that was zero at the previous call
has no relative change; the weights then stay as they were.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from experiments.runs.room import Context, Strict
from experiments.weightings._previous_losses import FromPreviousLosses


class NeuralPDE(FromPreviousLosses):
    """The rule above; its weights sum to K.

    Args:
        context: of the loss.
        alpha: sharpness.
    """

    def __init__(self, context: Context, alpha: float) -> None:
        super().__init__(context.names, float(len(context.names)))
        self.alpha = alpha

    def rule(self, values: Tensor, previous: Tensor) -> Tensor:
        """Return K softmax(alpha (L_t - L_(t-1)) / L_(t-1)), (K,)."""
        return len(values) * torch.softmax(self.alpha * (values - previous) / previous, dim=0)


class Settings(Strict):
    """Options of the rule ``neuralpde``. The default alpha is this repository's choice: the beta of the other rules."""

    rule: Literal["neuralpde"]
    alpha: Annotated[float, Field(allow_inf_nan=False)] = 0.1

    def build(self, context: Context) -> NeuralPDE:
        """Return the module for these components."""
        return NeuralPDE(context, self.alpha)
