"""What NeuralPDE.jl calls SoftAdapt: the softmax of relative changes.

    w_k = K exp(alpha c_k) / sum_j exp(alpha c_j),    c_k = (L_k(t) - L_k(t - 1)) / L_k(t - 1)

Public code of SciML. Odd about it: since c_k is PhysicsNeMo's ratio less 1, and a softmax does not see a constant, it is
the rule ``physicsnemo`` with an inverse temperature; the two agree exactly at alpha 1 and in their order at any positive
alpha. The publication's differences are not divided by the loss. A component that was zero at the last call has no
relative change, and the weights stay.
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
        """K softmax(alpha (L_t - L_(t-1)) / L_(t-1)), (K,)."""
        return len(values) * torch.softmax(self.alpha * (values - previous) / previous, dim=0)


class Settings(Strict):
    """Options of the rule ``neuralpde``; the default is a choice of this repository, beta of the other rules."""

    rule: Literal["neuralpde"]
    alpha: Annotated[float, Field(allow_inf_nan=False)] = 0.1

    def build(self, context: Context) -> NeuralPDE:
        """Return the module for these components."""
        return NeuralPDE(context, self.alpha)
