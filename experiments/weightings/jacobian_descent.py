"""Weights from the inner products of the components' gradients, by TorchJD.

Quinton and Rey, "Jacobian descent for multi-objective optimization" (arXiv 2406.16232): UPGrad projects each gradient
onto the cone of directions that raise no component, and averages the projections. MGDA (Desideri 2012) takes the
shortest vector in the convex hull of the gradients. In both, the weights of the losses depend on the Gramian J J^T of
the gradients alone.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torchjd.aggregation import MGDAWeighting, UPGradWeighting

from experiments.runs.room import Context, Strict
from experiments.weightings._gradients import component_gradients

AGGREGATORS = {"upgrad": UPGradWeighting, "mgda": MGDAWeighting}


class JacobianDescent(nn.Module):
    """``sum_k w_k f_k`` with w a function of the Gramian of the gradients.

    Args:
        context: of the loss; `shared` are the parameters whose gradients are compared.
        aggregator: a key of `AGGREGATORS`.
    """

    weights: Tensor

    def __init__(self, context: Context, aggregator: str) -> None:
        super().__init__()
        self.names, self.shared = context.names, context.shared
        self.weigh = AGGREGATORS[aggregator]()
        self.register_buffer("weights", torch.full((len(self.names),), 1 / len(self.names)))

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum () of the named scalar losses."""
        values = [losses[name] for name in self.names]
        gradients = component_gradients(values, self.shared)
        weights = self.weigh(gradients @ gradients.T).to(self.weights)
        self.weights.copy_(weights)
        return torch.dot(weights, torch.stack(values))


class Settings(Strict):
    """Options of the rule ``jacobian_descent``."""

    rule: Literal["jacobian_descent"]
    aggregator: Literal["upgrad", "mgda"] = "upgrad"

    def build(self, context: Context) -> JacobianDescent:
        """Return the module for these components."""
        return JacobianDescent(context, self.aggregator)
