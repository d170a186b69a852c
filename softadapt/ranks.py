"""Numbers that every rank of a data-parallel training holds alike."""

import torch
from torch import Tensor, distributed


def mean_over_ranks(values: Tensor) -> Tensor:
    """Mean of `values` over the ranks of torch.distributed's default process group, the same bits on every rank.

    A collective: every rank has to call it, and in the same order as its other collectives. Nothing waits for the device.

    Args:
        values: of any shape, floating point, on a device that the group's backend serves (CPU for gloo, CUDA for nccl).

    Returns:
        A detached tensor of the shape of `values`, in single precision at least; non-finite on all ranks where `values` is
        on one. Without a process group, or with a single rank, `values` itself.
    """
    ranks = distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
    if ranks == 1:
        return values
    # Each rank adds its share of the mean: a sum of finite losses may overflow.
    mean = values.detach().to(torch.promote_types(values.dtype, torch.float32)) / ranks
    distributed.all_reduce(mean)
    return mean
