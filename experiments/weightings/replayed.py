"""The weights of every step of another run, replayed: the yoked control.

The rule has the schedule of an adaptive rule, but looks at no loss of its own run. What it gains is due to the schedule,
not to adaptivity. The schedule comes from the context, since a run is no option that a config could spell out.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from experiments.runs.room import Context, Strict


class Replayed(nn.Module):
    """``sum_k w_k(t) f_k`` with the weights of row t - 1 of a schedule at step t = 1, 2, ...; the last row stays.

    Args:
        names: of the K components.
        schedule: (steps, K).
    """

    weights: Tensor
    schedule: Tensor
    calls: Tensor

    def __init__(self, names: Sequence[str], schedule: Tensor) -> None:
        super().__init__()
        self.names = tuple(names)
        self.register_buffer("schedule", schedule.clone())
        self.register_buffer("weights", schedule[0].clone())
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum () of the named scalar losses."""
        weights = self.schedule[self.calls.clamp(max=len(self.schedule) - 1)]
        self.calls.add_(1)
        self.weights.copy_(weights)
        return torch.dot(weights, torch.stack([losses[name] for name in self.names]))


class Settings(Strict):
    """Options of the rule ``replayed``."""

    rule: Literal["replayed"]

    def build(self, context: Context) -> Replayed:
        """Return the module for these components. Where there is no schedule yet, all weights are equal."""
        count = len(context.names)
        schedule = torch.full((1, count), 1 / count) if context.schedule is None else context.schedule
        return Replayed(context.names, schedule)
