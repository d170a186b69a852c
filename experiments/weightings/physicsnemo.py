"""What PhysicsNeMo-Sym (once Modulus) calls SoftAdapt: the softmax of the ratios of the last two losses.

    w_k = K exp(r_k) / sum_j exp(r_j),    r_k = L_k(t) / L_k(t - 1)

NVIDIA's public code. Odd about it: there is no beta, and no rate of change in the units of the loss. It is dynamic weight
average at temperature 1 with steps for epochs, blind to the scale of a component, where SoftAdapt's differences are ruled
by it. In training the ratios are close to 1, hence the weights close to equal. A component that was zero at the last
call has no finite ratio, and the weights stay.
"""

from typing import Literal

import torch
from torch import Tensor

from experiments.runs.room import Context, Strict
from experiments.weightings._previous_losses import FromPreviousLosses


class PhysicsNeMo(FromPreviousLosses):
    """The rule above; its weights sum to K."""

    def rule(self, values: Tensor, previous: Tensor) -> Tensor:
        """K softmax(L_t / L_(t-1)), (K,)."""
        return len(values) * torch.softmax(values / previous, dim=0)


class Settings(Strict):
    """Options of the rule ``physicsnemo``: none."""

    rule: Literal["physicsnemo"]

    def build(self, context: Context) -> PhysicsNeMo:
        """Return the module for these components."""
        return PhysicsNeMo(context.names, float(len(context.names)))
