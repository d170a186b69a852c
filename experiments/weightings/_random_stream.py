"""A random stream that belongs to one rule and is saved with its state."""

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class RandomStream(nn.Module):
    """A generator on the CPU that is part of ``state_dict``.

    Its seed is made from torch's initial seed, which is the run's, and from the names of the components, so that the
    rules of two networks draw different numbers. Draws from it do not change torch's global generator, which orders
    the data.

    Args:
        names: of the loss components.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(torch.initial_seed() ^ zlib.crc32(",".join(names).encode()))

    def get_extra_state(self) -> Tensor:
        """The generator's state, uint8."""
        return self.generator.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """Continue the stream from a saved state."""
        self.generator.set_state(state.cpu())
