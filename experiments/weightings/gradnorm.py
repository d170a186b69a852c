"""GradNorm: weights that give all components gradients of similar norm, adjusted for how fast each component trains.

Chen, Badrinarayanan, Lee and Rabinovich, "GradNorm: gradient normalization for adaptive loss balancing in deep
multitask networks" (ICML 2018, arXiv 1711.02257), equations 1 and 2. With G_k = w_k |grad f_k| over the shared
parameters, the inverse rate of training r_k = (f_k / f_k(0)) / mean_j (f_j / f_j(0)) and the asymmetry a, the weights
are to minimise

    sum_k |G_k - mean_j(G_j) r_k^a|        (the second term held constant)

The optimiser of the network minimises this. w = K softmax(v) keeps the weights positive with sum K; the publication
divides by their sum after each step instead.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from experiments.runs.room import Context, Strict
from experiments.weightings._gradients import component_gradients


class GradNorm(nn.Module):
    """``sum_k w_k f_k``, plus a term whose value is zero and whose gradient trains the weights.

    Args:
        context: of the loss; `shared` are the parameters whose gradients are compared.
        asymmetry: a; 0 asks for equal norms, a larger value lets slow components have larger gradients.
    """

    weights: Tensor
    first: Tensor
    calls: Tensor

    def __init__(self, context: Context, asymmetry: float) -> None:
        super().__init__()
        self.names, self.shared, self.asymmetry = context.names, context.shared, asymmetry
        self.logits = nn.Parameter(torch.zeros(len(self.names)))
        self.register_buffer("weights", torch.ones(len(self.names)))
        self.register_buffer("first", torch.zeros(len(self.names)))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum () of the named scalar losses."""
        values = torch.stack([losses[name] for name in self.names])
        current = values.detach()
        self.calls.add_(1)
        self.first.copy_(torch.where(self.calls == 1, current, self.first))
        norms = component_gradients([losses[name] for name in self.names], self.shared).norm(dim=1)
        weights = len(self.names) * torch.softmax(self.logits, dim=0)
        scaled = weights * norms
        progress = torch.nan_to_num(current / self.first, nan=1.0)
        target = scaled.detach().mean() * torch.nan_to_num(progress / progress.mean(), nan=1.0) ** self.asymmetry
        imbalance = (scaled - target).abs().sum()
        self.weights.copy_(weights.detach())
        return torch.dot(weights.detach(), values) + (imbalance - imbalance.detach())


class Settings(Strict):
    """Options of the rule ``gradnorm``; the default is the publication's for most of its experiments."""

    rule: Literal["gradnorm"]
    asymmetry: Annotated[float, Field(ge=0)] = 1.5

    def build(self, context: Context) -> GradNorm:
        """Return the module for these components."""
        return GradNorm(context, self.asymmetry)
