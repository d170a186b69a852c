"""Weighting rules: modules whose ``forward(losses)`` takes named losses and returns their weighted sum.

A rule is one file here. It defines ``Settings``, a pydantic model with a field ``rule`` equal to the file's name.
``Settings.build(context)`` returns the module for the loss components that the context names. The module keeps its
current weights in a buffer ``weights``, all its state in ``state_dict``, and what it learns by gradients in
parameters, which the experiment gives to the optimiser of the network. It does not draw from torch's global random
generator, so that every rule sees the same data in the same order (`experiments.weightings._random_stream`).
"""

from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any

from torch import Tensor, nn

from experiments.runs.room import Context, WeightingSpec
from experiments.runs.validation import validate


def build(
    spec: WeightingSpec,
    names: Sequence[str],
    source: str = "weighting",
    steps_per_epoch: int = 1,
    shared: Iterable[Tensor] = (),
    schedule: Tensor | None = None,
) -> nn.Module:
    """Build the rule that `spec` describes, for a loss that the other arguments describe (see `Context`).

    Raises:
        UserError: for options that the rule does not know or refuses.
    """
    settings: Any = validate(import_module(f"{__name__}.{spec['rule']}").Settings, spec, source)
    return settings.build(Context(tuple(names), steps_per_epoch, tuple(shared), source, schedule))
