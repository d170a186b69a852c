"""Settings of the descent on Rosenbrock and Beale (paper section 4.1), and the names that its files share."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator

from experiments.runs.room import Distinct, Section, Strict

MINIMISERS = {"rosenbrock": (1.0, 1.0), "beale": (3.0, 0.5)}
"""Function -> its minimiser."""

STEP_RULES = {"fixed": "fixed step", "barzilai_borwein": "Barzilai-Borwein"}
"""Step rule -> its name in figures."""

METHODS: dict[str, tuple[str, bool]] = {
    "plain": ("", False),
    "original": ("original", False),
    "loss_weighted": ("loss_weighted", False),
    "normalized": ("original", True),
    "normalized_loss_weighted": ("loss_weighted", True),
}
"""Method -> variant and normalisation of SoftAdapt; the variant of plain descent, on the unweighted sum, is empty."""

NOT_CONVERGED, DIVERGED = -1, -2
"""Codes in place of a number of steps: ``max_steps`` passed without convergence; the trajectory left the divergence radius."""

DEFAULT_BETA = 0.1
"""The paper's beta."""


class StepSizes(Strict):
    """A logarithmic grid of step sizes."""

    lowest: float = Field(gt=0, description="smallest step size of the sweep")
    highest: float = Field(gt=0, description="largest step size of the sweep")
    count: int = Field(ge=2, description="number of step sizes, spaced evenly in the logarithm")
    refined: int = Field(ge=1, description="further step sizes around the best one of every method and beta")


class GradientDescentSettings(Section):
    """Steepest descent on Rosenbrock and Beale (paper section 4.1)."""

    starts: int = Field(gt=1, description="start points per function, Sobol points of its box")
    seed: int = Field(ge=0, description="seed of the Sobol scrambling")
    step_sizes: StepSizes = Field(
        description="the sweep: the step itself, or the upper bound of the Barzilai-Borwein step"
    )
    barzilai_borwein_lowest: float = Field(gt=0, description="lower bound of the Barzilai-Borwein step, and its first")
    betas: Annotated[list[float], Field(min_length=1), Distinct] = Field(
        description="betas of the SoftAdapt methods; 0, which is plain descent, and the paper's 0.1 among them"
    )
    tolerance: float = Field(gt=0, description="converged when the distance to the minimiser is at most this")
    max_steps: int = Field(gt=0, description="steps after which a trajectory counts as not converged")
    divergence_radius: float = Field(gt=0, description="distance from the minimiser that counts as diverged")
    illustrated_starts: dict[str, tuple[float, float]] = Field(description="start of the drawn trajectories")
    illustrated_beta: float = Field(description="beta of the drawn trajectories")

    @model_validator(mode="after")
    def _check(self) -> "GradientDescentSettings":
        if self.step_sizes.lowest >= self.step_sizes.highest:
            raise ValueError("step_sizes.lowest must be below step_sizes.highest")
        if self.illustrated_beta not in self.betas:
            raise ValueError(f"illustrated_beta {self.illustrated_beta} must be one of betas {self.betas}")
        if not {0.0, DEFAULT_BETA} < set(self.betas):
            raise ValueError(f"betas must hold 0.0, {DEFAULT_BETA} and another value, got {self.betas}")
        if set(self.illustrated_starts) != set(MINIMISERS):
            raise ValueError(f"illustrated_starts must name {' and '.join(MINIMISERS)}")
        return self

    def choices(self) -> dict[str, list[str]]:
        """A run sweeps one function with one step rule."""
        return {"function": list(MINIMISERS), "step_rule": list(STEP_RULES)}

    def identity(self, variant: Mapping[str, str], scale: Any) -> dict[str, Any]:
        """The settings, and the methods that every run sweeps."""
        return {**super().identity(variant, scale), "methods": {name: list(rule) for name, rule in METHODS.items()}}

    def minutes(self, scale: Any) -> float:
        """A trajectory step takes so long that a minute holds five million."""
        step_sizes = self.step_sizes.count + self.step_sizes.refined
        return self.starts * step_sizes * self.max_steps / 5e6
