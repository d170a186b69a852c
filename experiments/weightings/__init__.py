"""Weighting rules on one footing: modules whose ``forward(losses)`` takes named losses and returns the total.

A rule is one file here. It defines ``Settings``, a pydantic model with a field ``rule`` equal to the file's name, and
``Settings.build(names)``, which returns the module for the loss components of these names.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from torch import nn

from experiments.config import WeightingSpec, validate


def build(spec: WeightingSpec, names: Sequence[str], source: str = "weighting") -> nn.Module:
    """Build the rule that `spec` describes for loss components called `names`.

    Raises:
        UserError: for options that the rule does not know or refuses; `source` says where they were written.
    """
    settings: Any = validate(import_module(f"{__name__}.{spec['rule']}").Settings, spec, source)
    return settings.build(names, source)
