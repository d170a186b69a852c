"""Fixed weights, with which SoftAdapt is compared and which a grid search tunes."""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from experiments.runs.errors import UserError
from experiments.runs.room import Context, Strict


class FixedWeights(nn.Module):
    """``sum_k w_k f_k`` with constant w_k.

    Args:
        weights: the w_k by component name.
    """

    weights: Tensor

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__()
        self.names = tuple(weights)
        self.register_buffer("weights", torch.tensor(list(weights.values()), dtype=torch.float32))

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum () of the named scalar losses."""
        return torch.dot(self.weights, torch.stack([losses[name] for name in self.names]))


class Settings(Strict):
    """Options of the rule ``fixed``."""

    rule: Literal["fixed"]
    weights: dict[str, Annotated[float, Field(ge=0)]]

    def build(self, context: Context) -> FixedWeights:
        """Return the module for exactly these component names."""
        if set(self.weights) != set(context.names):
            raise UserError(
                f"{context.source}: weights must name {', '.join(context.names)}, got {', '.join(self.weights)}"
            )
        return FixedWeights({name: self.weights[name] for name in context.names})
