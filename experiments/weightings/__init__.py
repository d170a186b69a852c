"""Weighting rules on one footing: modules whose ``forward(losses)`` takes named losses and returns the total.

A rule is one file here. It defines ``Settings``, a pydantic model with a field ``rule`` equal to the file's name, and
``Settings.build(context)``, which returns the module for the loss components that the context names. The module keeps its
current weights in a buffer ``weights``, all its state in ``state_dict``, and what it learns by gradients in parameters,
which the experiment hands to the optimiser of the network. It leaves torch's global random generator alone, so that
every rule sees the same data in the same order (`experiments.weightings._random_stream`).
"""

from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from torch import Tensor, nn

from experiments.config import Settings, WeightingSpec, validate
from models import introvae, sparse_autoencoder


class Context(NamedTuple):
    """What a rule may know of the loss that it weighs.

    Attributes:
        names: of the loss components, in the order of the weights.
        steps_per_epoch: for rules that change their weights once an epoch.
        shared: parameters that every component depends on, for rules that look at gradients; empty where a rule is only
            checked.
        source: where the rule's options were written, for messages.
    """

    names: tuple[str, ...]
    steps_per_epoch: int = 1
    shared: tuple[Tensor, ...] = ()
    source: str = "weighting"


def build(
    spec: WeightingSpec,
    names: Sequence[str],
    source: str = "weighting",
    steps_per_epoch: int = 1,
    shared: Iterable[Tensor] = (),
) -> nn.Module:
    """Build the rule that `spec` describes, for a loss that the other arguments describe (see `Context`).

    Raises:
        UserError: for options that the rule does not know or refuses.
    """
    settings: Any = validate(import_module(f"{__name__}.{spec['rule']}").Settings, spec, source)
    return settings.build(Context(tuple(names), steps_per_epoch, tuple(shared), source))


def check(settings: Settings, source: str) -> None:
    """Build every rule that a scale has once, so that a wrong option is found before anything runs.

    Raises:
        UserError: one line naming `source` and the key.
    """
    if "sparse_autoencoder" in settings.experiments:
        for name, method in settings.sparse_autoencoder.all_methods().items():
            key = f"{source}: sparse_autoencoder.methods.{name}.weighting"
            build(method.weighting, sparse_autoencoder.COMPONENTS, key)
    if "introvae" in settings.experiments:
        for name, pair in settings.introvae.methods.items():
            for network, components in introvae.COMPONENTS.items():
                build(getattr(pair, network), components, f"{source}: introvae.methods.{name}.{network}")
