"""Dynamic weight average (DWA): weights from the ratio of the last two epochs' mean losses.

Liu, Johns and Davison, "End-to-end multi-task learning with attention" (CVPR 2019, arXiv 1803.10704), equation 7:

    w_k = K exp(r_k / T) / sum_j exp(r_j / T),    r_k = L_k(t - 1) / L_k(t - 2)

with equal weights in the first two epochs. Like SoftAdapt, it favours the component that falls least; it uses ratios.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from experiments.runs.room import Context, Strict


class DynamicWeightAverage(nn.Module):
    """``sum_k w_k f_k`` with weights refreshed once an epoch; they sum to K.

    Args:
        names: of the loss components.
        temperature: T; larger is closer to equal weights.
        steps_per_epoch: number of calls whose mean is the loss of an epoch.
    """

    weights: Tensor
    sums: Tensor
    averages: Tensor
    calls: Tensor

    def __init__(self, names: Sequence[str], temperature: float, steps_per_epoch: int) -> None:
        super().__init__()
        self.names = tuple(names)
        self.temperature = temperature
        self.steps_per_epoch = steps_per_epoch
        self.register_buffer("weights", torch.ones(len(names)))
        self.register_buffer("sums", torch.zeros(len(names)))
        self.register_buffer("averages", torch.zeros(2, len(names)))  # of the last two epochs, the older one first
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum () of the named scalar losses."""
        values = torch.stack([losses[name] for name in self.names])
        weights = self._weights_of_the_epoch()
        self.weights.copy_(weights)
        self._record(values.detach())
        return torch.dot(weights, values)

    def _weights_of_the_epoch(self) -> Tensor:
        older, newer = self.averages
        # A component that stays zero, as a hinge may, has the ratio 0/0. It does not fall, so its ratio is 1.
        ratios = torch.nan_to_num(newer / older, nan=1.0)
        weights = len(self.names) * torch.softmax(ratios / self.temperature, dim=0)
        return torch.where(self.calls >= 2 * self.steps_per_epoch, weights, 1.0)

    @torch.no_grad()
    def _record(self, values: Tensor) -> None:
        self.calls.add_(1)
        sums = self.sums + values
        ends = self.calls % self.steps_per_epoch == 0
        averages = torch.stack((self.averages[1], sums / self.steps_per_epoch))
        self.averages.copy_(torch.where(ends, averages, self.averages))
        self.sums.copy_(torch.where(ends, 0.0, sums))


class Settings(Strict):
    """Options of the rule ``dynamic_weight_average``; the default is the publication's."""

    rule: Literal["dynamic_weight_average"]
    temperature: Annotated[float, Field(gt=0)] = 2.0

    def build(self, context: Context) -> DynamicWeightAverage:
        """Return the module for these components."""
        return DynamicWeightAverage(context.names, self.temperature, context.steps_per_epoch)
