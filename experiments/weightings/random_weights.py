"""Random loss weighting (RLW): a softmax of standard normal numbers, drawn anew at every step.

Lin, Ye, Zhang and Tsang, "Reasonable effectiveness of random weighting: a litmus test for multi-task learning" (TMLR
2022, arXiv 2111.10603), in the variant with a normal distribution. A method that does not beat it gains nothing from
the losses.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from experiments.runs.room import Context, Strict
from experiments.weightings._random_stream import RandomStream


class RandomWeights(nn.Module):
    """``sum_k w_k f_k`` with w = softmax(z), z ~ N(0, I) at every call.

    Args:
        names: of the loss components.
    """

    weights: Tensor

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        self.stream = RandomStream(names)
        self.register_buffer("weights", torch.full((len(names),), 1 / len(names)))

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum () of the named scalar losses."""
        draws = torch.randn(len(self.names), generator=self.stream.generator)
        weights = torch.softmax(draws, dim=0).to(self.weights)
        self.weights.copy_(weights)
        return torch.dot(weights, torch.stack([losses[name] for name in self.names]))


class Settings(Strict):
    """Options of the rule ``random_weights``: none."""

    rule: Literal["random_weights"]

    def build(self, context: Context) -> RandomWeights:
        """Return the module for these components."""
        return RandomWeights(context.names)
