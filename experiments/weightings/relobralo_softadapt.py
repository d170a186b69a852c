"""What the repository of ReLoBRaLo calls SoftAdapt: a moving average of the softmax of the last differences.

    w_k(t) = a w_k(t - 1) + (1 - a) K exp(T s_k) / sum_j exp(T s_j),    s_k = L_k(t) - L_k(t - 1)

The baseline in the public code of Bischof and Kraus (arXiv 2110.09813). With a = 0 it is equation 3 of SoftAdapt at
beta = T, times K. Two things are unusual. The exponential moving average is not in the paper; it makes the order of
the weights depend on about the last 1 / (1 - a) steps. T is called a temperature but multiplies. A step with a
non-finite loss leaves the weights as they are.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from experiments.runs.room import Context, Strict
from experiments.weightings._previous_losses import FromPreviousLosses


class ReLoBRaLoSoftAdapt(FromPreviousLosses):
    """The rule above; its weights sum to K.

    Args:
        context: of the loss.
        temperature: T.
        decay: a, the memory of the weights.
    """

    def __init__(self, context: Context, temperature: float, decay: float) -> None:
        super().__init__(context.names, float(len(context.names)))
        self.temperature, self.decay = temperature, decay

    def rule(self, values: Tensor, previous: Tensor) -> Tensor:
        """Return the average (K,) of the previous weights and K softmax(T (L_t - L_(t-1)))."""
        newest = len(values) * torch.softmax(self.temperature * (values - previous), dim=0)
        return self.decay * self.weights + (1 - self.decay) * newest


class Settings(Strict):
    """Options of the rule ``relobralo_softadapt``.

    The defaults are a choice of this repository. T is SoftAdapt's beta, so that only the memory differs. The memory
    is about ten steps.
    """

    rule: Literal["relobralo_softadapt"]
    temperature: Annotated[float, Field(allow_inf_nan=False)] = 0.1
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.9

    def build(self, context: Context) -> ReLoBRaLoSoftAdapt:
        """Return the module for these components."""
        return ReLoBRaLoSoftAdapt(context, self.temperature, self.decay)
