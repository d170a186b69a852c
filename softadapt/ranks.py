"""Numbers that every rank of a data-parallel training holds alike."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, distributed

if TYPE_CHECKING:  # a torch that was built without distributed lacks it
    from torch.distributed import ProcessGroup


def ranks_in(group: "ProcessGroup | None" = None) -> int:
    """Number of ranks in `group`; ``None`` is torch.distributed's default group. 1 where there is no group."""
    return distributed.get_world_size(group) if distributed.is_available() and distributed.is_initialized() else 1


def mean_over_ranks(values: Tensor, group: "ProcessGroup | None" = None) -> Tensor:
    """Mean of `values` over the ranks of a process group, the same bits on every rank.

    A collective: every rank has to call it, and in the same order as its other collectives. Nothing waits for the device.

    Args:
        values: of any shape, floating point, on a device that the group's backend serves (CPU for gloo, CUDA for nccl).
        group: of torch.distributed; ``None`` is its default group.

    Returns:
        A detached tensor of the shape of `values`, in single precision at least; non-finite on all ranks where `values` is
        on one. Without a process group, or with a single rank, `values` itself.
    """
    ranks = ranks_in(group)
    if ranks == 1:
        return values
    # Each rank adds its share of the mean: a sum of finite losses may overflow.
    mean = values.detach().to(torch.promote_types(values.dtype, torch.float32)) / ranks
    distributed.all_reduce(mean, group=group)
    return mean


def mean_over_ranks_that_have(
    values: Tensor, present: Tensor, group: "ProcessGroup | None" = None
) -> tuple[Tensor, Tensor]:
    """Mean of each value over the ranks that have it: as `mean_over_ranks`, for losses that some ranks lack.

    Args:
        values: (K,) floating point, zero where absent.
        present: (K,) bool, the values that this rank has.
        group: as for `mean_over_ranks`.

    Returns:
        The means (K,), zero where no rank has the value, and which values any rank has (K,), bool.
    """
    if ranks_in(group) == 1:
        return values, present
    shares = mean_over_ranks(torch.stack((values, present.to(values.dtype))), group)
    return torch.where(shares[1] > 0, shares[0] / shares[1], 0.0), shares[1] > 0
