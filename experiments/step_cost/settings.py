"""Settings of the audit of what SoftAdapt adds to a training step."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from experiments.runs.room import Section, Strict

TIMED = ("gradient_descent", "sparse_autoencoder", "introvae")
"""The rooms whose steps are timed, at the sizes of their own sections."""


class PairsOfSteps(Strict):
    """How often a step with fixed weights and one with SoftAdapt are timed."""

    gradient_descent: int = Field(gt=1, description="pairs of descent steps")
    sparse_autoencoder: int = Field(gt=1, description="pairs of autoencoder steps")
    introvae: int = Field(gt=1, description="pairs of IntroVAE steps")


class StepCostSettings(Section):
    """Audit of what SoftAdapt adds to a training step."""

    leaves = ("samples.npz",)

    needs = TIMED

    seed: int = Field(ge=0, description="seed of the models, the made images and the order within pairs")
    pairs: PairsOfSteps = Field(description="pairs per experiment")
    warmup_pairs: int = Field(ge=2, description="first pairs of every experiment, not recorded")
    calls_in_a_row: int = Field(gt=0, description="calls of the weighting that are timed as one, once a pair")

    def identity(self, variant: Mapping[str, str], scale: Any) -> dict[str, Any]:
        """Its own settings and the sizes of the experiments that it times."""
        not_timed = {"seed", "seeds", "lambdas", "methods"}
        sizes = {name: scale.section(name).model_dump(mode="json", exclude=not_timed) for name in TIMED}
        return {**super().identity(variant, scale), "sizes": sizes}

    def megabytes(self, scale: Any) -> int:
        """As much as IntroVAE, whose networks it times."""
        return int(scale.introvae.megabytes(scale))
