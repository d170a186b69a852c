"""Gradients of single loss components, for rules that use gradients."""

from collections.abc import Sequence

import torch
from torch import Tensor

from softadapt.ranks import mean_over_ranks


def component_gradients(values: Sequence[Tensor], shared: Sequence[Tensor]) -> Tensor:
    """Return the gradient of every component with respect to all shared parameters, flattened. The graph is kept.

    In data-parallel training the gradients are means over the ranks, as the losses are.

    Args:
        values: K scalar losses. shared: the parameters, P numbers in all. Where a component does not depend on a
        parameter, its gradient is zero.

    Returns:
        (K, P), detached.
    """
    rows = [torch.autograd.grad(value, shared, retain_graph=True, materialize_grads=True) for value in values]
    return mean_over_ranks(torch.stack([torch.cat([part.flatten() for part in row]) for row in rows]))
