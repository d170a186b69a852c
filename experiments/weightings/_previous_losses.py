"""Base class for rules that compare the current losses with the previous call's."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class FromPreviousLosses(nn.Module):
    """``sum_k w_k f_k`` with weights from the last two losses of every component, equal weights at the first call.

    A rule may be undefined, as for the ratio 0/0 of a component that has become zero. All weights then stay as they
    were: a softmax with one NaN is NaN throughout, and training would go on with it silently.

    Args:
        names: of the K loss components.
        total: what the weights sum to.
    """

    weights: Tensor
    previous: Tensor
    calls: Tensor

    def __init__(self, names: Sequence[str], total: float) -> None:
        super().__init__()
        self.names = tuple(names)
        self.register_buffer("weights", torch.full((len(names),), total / len(names)))
        self.register_buffer("previous", torch.zeros(len(names)))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def rule(self, values: Tensor, previous: Tensor) -> Tensor:
        """Return new weights (K,) from the losses (K,) of this call and those of the previous call."""
        raise NotImplementedError

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum () of the named scalar losses."""
        values = torch.stack([losses[name] for name in self.names])
        return torch.dot(self._refresh(values.detach()), values)

    @torch.no_grad()
    def _refresh(self, values: Tensor) -> Tensor:
        weights = self.rule(values, self.previous)
        weights = torch.where((self.calls > 0) & torch.isfinite(weights).all(), weights, self.weights)
        self.calls.add_(1)
        self.previous.copy_(values)
        self.weights.copy_(weights)
        return weights
