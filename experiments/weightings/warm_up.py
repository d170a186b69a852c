"""Fixed weights, one of which rises linearly from 0 over the first epochs: a schedule that looks at no loss."""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from experiments.runs.errors import UserError
from experiments.runs.room import Context
from experiments.weightings import fixed


class WarmUp(fixed.FixedWeights):
    """``sum_k w_k f_k``, where the weight of `warmed` is ``w min(1, t / steps)`` at step t = 1, 2, ...

    Args:
        weights: the w_k by component name.
        warmed: name of the component.
        steps: length of the rise.
    """

    final: Tensor
    warmed: Tensor
    calls: Tensor

    def __init__(self, weights: Mapping[str, float], warmed: str, steps: int) -> None:
        super().__init__(weights)
        self.steps = steps
        self.register_buffer("final", self.weights.clone())
        self.register_buffer("warmed", torch.tensor([name == warmed for name in weights]))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum () of the named scalar losses."""
        self.calls.add_(1)
        share = (self.calls / self.steps).clamp(max=1)
        weights = torch.where(self.warmed, self.final * share, self.final)
        self.weights.copy_(weights)
        return torch.dot(weights, torch.stack([losses[name] for name in self.names]))


class Settings(fixed.Settings):
    """Options of the rule ``warm_up``."""

    rule: Literal["warm_up"]  # type: ignore[assignment]
    warmed: str
    epochs: Annotated[int, Field(gt=0)]

    def build(self, context: Context) -> WarmUp:
        """Return the module for exactly these component names."""
        super().build(context)
        if self.warmed not in context.names:
            raise UserError(f"{context.source}: warmed must be one of {', '.join(context.names)}, got {self.warmed}")
        weights = {name: self.weights[name] for name in context.names}
        return WarmUp(weights, self.warmed, self.epochs * context.steps_per_epoch)
