"""Weighting rules on one footing: modules whose ``forward(losses)`` takes named losses and returns the total.

A rule is one file here. It defines ``Settings``, a pydantic model with a field ``rule`` equal to the file's name, and
``Settings.build(names, source, steps_per_epoch)``, which returns the module for the loss components of these names.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from torch import nn

from experiments.config import Settings, WeightingSpec, validate
from models import introvae, sparse_autoencoder


def build(spec: WeightingSpec, names: Sequence[str], source: str = "weighting", steps_per_epoch: int = 1) -> nn.Module:
    """Build the rule that `spec` describes.

    Args:
        spec: the rule and its options.
        names: of the loss components.
        source: where `spec` was written, for messages.
        steps_per_epoch: for rules that change their weights once an epoch.

    Raises:
        UserError: for options that the rule does not know or refuses.
    """
    settings: Any = validate(import_module(f"{__name__}.{spec['rule']}").Settings, spec, source)
    return settings.build(names, source, steps_per_epoch)


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
