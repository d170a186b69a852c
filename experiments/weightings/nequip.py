"""What NequIP calls SoftAdapt: differences divided by their L2 norm, with the user's coefficients inside the rule.

    w_k = c_k exp(beta d_k) / sum_j c_j exp(beta d_j),    d_k = s_k / |s|_2,    s_k = L_k(t) - L_k(t - 1)

Public code of the mir-group. Two things differ from the paper. The norm is L2, where section 3.1.3 takes L1, so that
d_k is larger, by up to the square root of K. Prior coefficients c_k take the place of the f_k of equation 4.
Differences that are all zero have no direction; the weights then stay as they were.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from experiments.runs.errors import UserError
from experiments.runs.room import Context, Strict
from experiments.weightings._previous_losses import FromPreviousLosses


class NequIP(FromPreviousLosses):
    """The rule above. Its weights sum to 1 and start in proportion to the coefficients.

    Args:
        context: of the loss.
        beta: sharpness.
        coefficients: c_k by component; ``None`` is all equal.
    """

    coefficients: Tensor

    def __init__(self, context: Context, beta: float, coefficients: dict[str, float] | None) -> None:
        super().__init__(context.names, 1.0)
        self.beta = beta
        given = coefficients or dict.fromkeys(context.names, 1.0)
        self.register_buffer("coefficients", torch.tensor([given[name] for name in context.names]))
        self.weights.copy_(self.coefficients / self.coefficients.sum())

    def rule(self, values: Tensor, previous: Tensor) -> Tensor:
        """Return softmax(beta s / |s|) times the coefficients, renormalised, (K,)."""
        differences = values - previous
        weights = self.coefficients * torch.softmax(self.beta * differences / differences.norm(), dim=0)
        return weights / weights.sum()


class Settings(Strict):
    """Options of the rule ``nequip``. The default beta is that of the example in NequIP's documentation."""

    rule: Literal["nequip"]
    beta: Annotated[float, Field(allow_inf_nan=False)] = 1.1
    coefficients: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] | None = None

    def build(self, context: Context) -> NequIP:
        """Return the module for exactly these component names."""
        if self.coefficients is not None and set(self.coefficients) != set(context.names):
            raise UserError(
                f"{context.source}: coefficients must name {', '.join(context.names)}, got "
                f"{', '.join(self.coefficients)}"
            )
        return NequIP(context, self.beta, self.coefficients)
