"""SoftAdapt: adaptive weights for multi-part losses (Heydari, Thompson and Mehmood, arXiv 1912.12355).

    >>> from softadapt import SoftAdapt
    >>> balance = SoftAdapt(2)
    >>> loss = balance([reconstruction, regularisation])  # a weighted sum; call loss.backward() as usual

`SoftAdapt` is the stateful module; `rates_of_change` and `softadapt_weights` are the pure functions beneath it.
"""

from softadapt.functional import difference_stencil, rates_of_change, softadapt_weights
from softadapt.module import SoftAdapt

__version__ = "0.1.0"

__all__ = ["SoftAdapt", "difference_stencil", "rates_of_change", "softadapt_weights"]
