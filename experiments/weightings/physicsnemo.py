"""What PhysicsNeMo-Sym (once Modulus) calls SoftAdapt: the softmax of the ratios of the last two losses.

    w_k = K exp(r_k) / sum_j exp(r_j),    r_k = L_k(t) / L_k(t - 1)

NVIDIA's public code. It has no beta, and its rate of change does not have the units of the loss. It is dynamic weight
average at temperature 1 with steps in place of epochs. Ratios ignore the scale of a component, while SoftAdapt's
differences depend on it. In training the ratios are close to 1, so the weights are close to equal. A component that
was zero at the previous call has no finite ratio; the weights then stay as they were.
"""

from typing import Literal

import torch
from torch import Tensor

from experiments.runs.room import Context, Strict
from experiments.weightings._previous_losses import FromPreviousLosses


class PhysicsNeMo(FromPreviousLosses):
    """The rule above; its weights sum to K."""

    def rule(self, values: Tensor, previous: Tensor) -> Tensor:
        """Return K softmax(L_t / L_(t-1)), (K,)."""
        return len(values) * torch.softmax(values / previous, dim=0)


class Settings(Strict):
    """Options of the rule ``physicsnemo``: none."""

    rule: Literal["physicsnemo"]

    def build(self, context: Context) -> PhysicsNeMo:
        """Return the module for these components."""
        return PhysicsNeMo(context.names, float(len(context.names)))
