"""The rule of the package that SoftAdapt's authors published in 2023. It differs from the paper's.

Over the last five losses L_k(0), ..., L_k(4), oldest first,

    s_k = -25/12 L_k(0) + 4 L_k(1) - 3 L_k(2) + 4/3 L_k(3) - 1/4 L_k(4)
    w_k = m_k e_k / (sum_j m_j e_j + 1e-8),    e_k = exp(beta (s_k - max_j s_j))

with m_k the mean of the five losses ("loss_weighted") or 1 ("original"). To normalize, s_k / sum_j s_j replaces s_k.
Differences from the paper:

* The stencil is the *forward* difference of order 4. It gives the slope at the *oldest* loss, four steps ago.
* Normalisation divides by the *signed* sum. While losses fall, the sum is negative and reverses the order of the
  slopes; a sum of zero gives NaN.
* beta (s - max s) is positive for beta < 0. It overflows where slopes differ by more than about 89 / abs(beta) in
  float32.

Where the rule is NaN or infinite, this module keeps the last finite weights. Losses that are all zero get weights
that are all zero, as in the package. The package is called by hand, with as many losses as the user likes; this
module refreshes the weights at every call from the last five losses, and they are equal until there are five. The
package has no loss-weighted variant with normalized slopes.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from experiments.runs.room import Context, Strict

FORWARD_DIFFERENCE = (-25 / 12, 4.0, -3.0, 4 / 3, -1 / 4)
"""Accuracy order 4 of the first derivative at the first of five points, oldest first."""

EPSILON = 1e-8


class Authors2023(nn.Module):
    """``sum_k w_k f_k`` with the weights above; they sum to 1.

    Args:
        names: of the K loss components.
        loss_weighted: multiply by the mean losses.
        beta: sharpness.
        normalize: divide the slopes by their signed sum.
    """

    weights: Tensor
    history: Tensor
    calls: Tensor

    def __init__(self, names: Sequence[str], loss_weighted: bool, beta: float, normalize: bool) -> None:
        super().__init__()
        self.names = tuple(names)
        self.loss_weighted, self.beta, self.normalize = loss_weighted, beta, normalize
        self.register_buffer("weights", torch.full((len(names),), 1 / len(names)))
        self.register_buffer("history", torch.zeros(len(FORWARD_DIFFERENCE), len(names)))  # oldest first
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum () of the named scalar losses."""
        values = torch.stack([losses[name] for name in self.names])
        return torch.dot(self._refresh(values.detach()), values)

    @torch.no_grad()
    def _refresh(self, values: Tensor) -> Tensor:
        self.calls.add_(1)
        self.history.copy_(torch.cat((self.history[1:], values.unsqueeze(0))))
        weights = self._rule()
        known = (self.calls >= len(self.history)) & torch.isfinite(weights).all()
        weights = torch.where(known, weights, self.weights)
        self.weights.copy_(weights)
        return weights

    def _rule(self) -> Tensor:
        slopes = self.history.new_tensor(FORWARD_DIFFERENCE) @ self.history
        if self.normalize:
            slopes = slopes / slopes.sum()
        powers = torch.exp(self.beta * (slopes - slopes.max()))
        if self.loss_weighted:
            powers = self.history.mean(0) * powers
        return powers / (powers.sum() + EPSILON)


class Settings(Strict):
    """Options of the rule ``authors_2023``. Its default beta is the package's, its default variant this repository's."""

    rule: Literal["authors_2023"]
    variant: Literal["loss_weighted", "original"] = "loss_weighted"
    beta: Annotated[float, Field(allow_inf_nan=False)] = 0.1
    normalize: bool = False

    def build(self, context: Context) -> Authors2023:
        """Return the module for these components."""
        return Authors2023(context.names, self.variant == "loss_weighted", self.beta, self.normalize)
