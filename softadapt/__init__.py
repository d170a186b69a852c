"""SoftAdapt: adaptive weights for multi-part losses (Heydari, Thompson and Mehmood, arXiv 1912.12355).

    >>> from softadapt import SoftAdapt
    >>> balance = SoftAdapt(2)
    >>> loss = balance([reconstruction, regularisation])  # a weighted sum; call loss.backward() as usual

`SoftAdapt` is the stateful module; `rates_of_change` and `softadapt_weights` are the pure functions beneath it.
`softadapt.integrations` has callbacks for Lightning and transformers, which are imported only by who uses them.
"""

from pathlib import Path

# The package index has another project of this import name. Installed into one folder, either overwrites the other.
if (Path(__file__).parent / "algorithms").exists():
    raise ImportError(
        f"two projects share the folder {Path(__file__).parent}: softadapt-suite and the Keras project softadapt, which overwrite each "
        "other's files; uninstall both (pip uninstall softadapt-suite softadapt), then install the one you want"
    )

from softadapt.functional import difference_stencil, rates_of_change, softadapt_weights
from softadapt.module import SoftAdapt

__version__ = "0.1.0"

__all__ = ["SoftAdapt", "difference_stencil", "rates_of_change", "softadapt_weights"]
