"""Data-parallel training: one process, a rank, per device, started by torchrun; without it there is one rank.

All ranks hold the same networks and the same random state, draw the same data for the global batch, and train on their
shares of it. Losses take the values of their means over the ranks before any weighting rule sees them, gradients are
averaged by torch's DistributedDataParallel, and so a run of several ranks is that of one, up to rounding.
"""

import atexit
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from experiments.runs.errors import UserError
from softadapt.ranks import mean_over_ranks


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together. One rank alone changes no number and costs nothing.

    Attributes:
        rank: of this process, from 0; rank 0 alone writes and prints.
        count: number of ranks.
        device: that this rank computes on.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def mine(self, batch: Tensor) -> Tensor:
        """This rank's share (N / count, ...) of a global batch (N, ...): contiguous, in the order of the ranks."""
        return batch if self.count == 1 else batch.chunk(self.count)[self.rank]

    def noise_like(self, codes: Tensor) -> Tensor:
        """Standard normal noise of the shape of `codes` (N, ...): this rank's share of a draw for the global batch."""
        shape = (self.count * len(codes), *codes.shape[1:])
        return self.mine(torch.randn(shape, dtype=codes.dtype, device=codes.device))

    def average(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give each scalar the value of its mean over the ranks, the same bits on all of them; its gradient stays local.

        So every rule that weighs losses by their values finds the weights of the global batch, and the gradient of the
        mean is left to be averaged with that of everything else.
        """
        if self.count == 1:
            return dict(losses)
        values = torch.stack(list(losses.values()))
        mean = mean_over_ranks(values)
        # Adding an exact zero, and not the difference to the mean, keeps the value free of a local rounding; of what is not
        # finite there is no such zero, nor a gradient worth keeping.
        averaged = torch.where(mean.isfinite(), mean + (values - values.detach()), mean)
        return dict(zip(losses, averaged.unbind(), strict=True))

    def replicate(self, network: nn.Module) -> nn.Module:
        """`network` in a wrapper that averages over the ranks what a backward pass accumulates in its parameters.

        The averaging hangs on each parameter's accumulated gradient, which comes once per backward however many passes
        through the wrapper it sums, so that ``backward(inputs=...)`` and a retained graph are served too; a backward that
        only goes through the network averages nothing. Buffers are not sent about: batch statistics are those of the global
        batch on every rank already.
        """
        if self.count == 1:
            return network
        return DistributedDataParallel(network, forward_sync_buffers=False, gradient_as_bucket_view=True)

    def check_same(self, number: int, what: str) -> None:
        """Raise `UserError` unless all ranks pass the same `number`; waits for the device, so not for every step."""
        if self.count > 1:
            numbers = torch.zeros(self.count, dtype=torch.int64, device=self.device)
            numbers[self.rank] = number
            distributed.all_reduce(numbers)
            if len(set(numbers.tolist())) > 1:
                raise UserError(f"{what} differs between the ranks ({numbers.tolist()}); give them one file system")


def open_ranks() -> Ranks:
    """Join the ranks that torchrun started, on a CUDA device each, or on the CPU; without torchrun this is the only one.

    Raises:
        UserError: if this machine has fewer CUDA devices than ranks, or if only half of what torchrun sets is there.
    """
    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Ranks(device=device)
    if not distributed.is_initialized():
        absent = {"RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"} - os.environ.keys()
        if absent:
            raise UserError(
                f"WORLD_SIZE {os.environ['WORLD_SIZE']}: is set in the environment without {', '.join(sorted(absent))}; "
                "start the ranks with torchrun, or unset it"
            )
        if cuda:
            local, devices = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
            if local >= devices:
                raise UserError(
                    f"torchrun --nproc-per-node: this machine has {devices} CUDA devices; start no more ranks"
                )
            torch.cuda.set_device(local)
        distributed.init_process_group("nccl" if cuda else "gloo")
        atexit.register(distributed.destroy_process_group)
    return Ranks(distributed.get_rank(), distributed.get_world_size(), device)
