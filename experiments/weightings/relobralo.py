"""ReLoBRaLo: relative loss balancing with random lookback.

Bischof and Kraus, "Multi-objective loss balancing for physics-informed deep learning" (arXiv 2110.09813), equation 11:

    b_k(t; t') = K exp(L_k(t) / (T L_k(t'))) / sum_j exp(L_j(t) / (T L_j(t')))
    w_k(t) = a (r w_k(t - 1) + (1 - r) b_k(t; 0)) + (1 - a) b_k(t; t - 1)

with r drawn from a Bernoulli distribution. With probability 1 - E[r] the weights look back to the first loss.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from experiments.runs.room import Context, Strict
from experiments.weightings._random_stream import RandomStream


class ReLoBRaLo(nn.Module):
    """``sum_k w_k f_k`` with the weights above, which sum to K and are equal at the first call.

    Args:
        names: of the loss components.
        temperature: T; larger is closer to equal weights.
        decay: a, the memory of the weights.
        lookback: E[r], the probability of looking back one step only, not to the first loss.
    """

    weights: Tensor
    first: Tensor
    previous: Tensor
    calls: Tensor

    def __init__(self, names: Sequence[str], temperature: float, decay: float, lookback: float) -> None:
        super().__init__()
        self.names = tuple(names)
        self.temperature, self.decay, self.lookback = temperature, decay, lookback
        self.stream = RandomStream(names)
        self.register_buffer("weights", torch.ones(len(names)))
        self.register_buffer("first", torch.zeros(len(names)))
        self.register_buffer("previous", torch.zeros(len(names)))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum () of the named scalar losses."""
        values = torch.stack([losses[name] for name in self.names])
        return torch.dot(self._refresh(values.detach()), values)

    @torch.no_grad()
    def _refresh(self, values: Tensor) -> Tensor:
        self.calls.add_(1)
        started = self.calls > 1
        self.first.copy_(torch.where(started, self.first, values))
        keep = (torch.rand((), generator=self.stream.generator) < self.lookback).to(self.weights)
        remembered = keep * self.weights + (1 - keep) * self._balanced(values, self.first)
        weights = self.decay * remembered + (1 - self.decay) * self._balanced(values, self.previous)
        weights = torch.where(started, weights, self.weights)
        self.weights.copy_(weights)
        self.previous.copy_(values)
        return weights

    def _balanced(self, values: Tensor, reference: Tensor) -> Tensor:
        ratios = torch.nan_to_num(values / reference, nan=1.0) / self.temperature
        return len(self.names) * torch.softmax(torch.nan_to_num(ratios), dim=0)


class Settings(Strict):
    """Options of the rule ``relobralo``; the defaults are the publication's."""

    rule: Literal["relobralo"]
    temperature: Annotated[float, Field(gt=0)] = 0.1
    decay: Annotated[float, Field(ge=0, le=1)] = 0.999
    lookback: Annotated[float, Field(ge=0, le=1)] = 0.999

    def build(self, context: Context) -> ReLoBRaLo:
        """Return the module for these components."""
        return ReLoBRaLo(context.names, self.temperature, self.decay, self.lookback)
