"""Settings of the descent on Rosenbrock and Beale (paper section 4.1), and the names that its files share."""

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import Field, model_validator

from experiments.runs.room import Distinct, Section, Strict

MINIMISERS = {"rosenbrock": (1.0, 1.0), "beale": (3.0, 0.5)}
"""Function -> its minimiser."""

STEP_RULES = {
    "fixed": "fixed step",
    "barzilai_borwein": "Barzilai-Borwein",
    "frozen_secant": "frozen secant",
}
"""Step rule -> its name in figures. The last two differ in the secant: the change of the weighted gradient, in which
changes of the weights pass for curvature, or the change of the gradient at the weights of this step."""


class Method(NamedTuple):
    """A weighting of the components.

    Attributes:
        size: exponent of the losses in the weights, 0 for equation 3 and 1 for equation 4; None for the unweighted sum.
        normalize: whether the rates of change are normalised (section 3.1.3).
        sums_to_one: whether the weights sum to 1 from the second step on, as the equations have it; else to the number
            of components, so that plain descent and SoftAdapt take steps of one scale.
    """

    size: float | None
    normalize: bool = False
    sums_to_one: bool = False


METHODS = {
    "plain": Method(None),
    "original": Method(0.0),
    "loss_weighted": Method(1.0),
    "normalized": Method(0.0, normalize=True),
    "normalized_loss_weighted": Method(1.0, normalize=True),
}
"""The methods whose step sizes are tuned and whose paths are drawn."""

SUMS_TO_ONE = {
    f"{name}_sums_to_one": METHODS[name]._replace(sums_to_one=True) for name in ("original", "loss_weighted")
}
"""Methods that are judged at the step size that is best for plain descent: at their own, the scale plays no part."""

HALVES = 20
"""Random halves of the starts. Settings are chosen on a half and judged on the rest."""


def of_size(size: float) -> str:
    """Name of the method with this exponent of the losses."""
    return {0.0: "original", 1.0: "loss_weighted"}.get(size, f"size_{size:g}")


NOT_CONVERGED, DIVERGED = -1, -2
"""Codes in place of a number of steps: ``max_steps`` passed without convergence; the trajectory left the divergence radius."""

DEFAULT_BETA = 0.1
"""The paper's beta."""


class StepSizes(Strict):
    """A logarithmic grid of step sizes."""

    lowest: float = Field(gt=0, description="smallest step size of the sweep")
    highest: float = Field(gt=0, description="largest step size of the sweep")
    count: int = Field(ge=2, description="number of step sizes, spaced evenly in the logarithm")
    refined: int = Field(
        ge=1, description="further step sizes around the best ones of every method and beta, by either tuning rule"
    )


class ComponentSteps(Strict):
    """A grid with a step size for every component."""

    lowest: float = Field(gt=0, description="smallest step size of a component")
    highest: float = Field(gt=0, description="largest step size of a component")
    count: int = Field(ge=2, description="step sizes of a component, spaced evenly in the logarithm")
    starts: int = Field(gt=1, description="how many of the starts, the first ones")


class GradientDescentSettings(Section):
    """Steepest descent on Rosenbrock and Beale (paper section 4.1)."""

    leaves = ("samples.npz",)

    starts: int = Field(gt=1, description="start points per function, Sobol points of its box")
    seed: int = Field(ge=0, description="seed of the Sobol scrambling")
    step_sizes: StepSizes = Field(
        description="the sweep: the step itself, or the upper bound of the Barzilai-Borwein step"
    )
    barzilai_borwein_lowest: float = Field(gt=0, description="lower bound of the Barzilai-Borwein step, and its first")
    betas: Annotated[list[float], Field(min_length=1), Distinct] = Field(
        description="betas of the SoftAdapt methods; 0, which is plain descent, and the paper's 0.1 among them"
    )
    plane_sizes: Annotated[list[float], Distinct] = Field(
        description="exponents of the losses, besides 0 and 1, that are swept with a fixed step"
    )
    component_steps: dict[str, ComponentSteps] = Field(
        description="plain descent with a step size of its own for every component, by function"
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
        for key in ("illustrated_starts", "component_steps"):
            if set(getattr(self, key)) != set(MINIMISERS):
                raise ValueError(f"{key} must name {' and '.join(MINIMISERS)}")
        if {0.0, 1.0} & set(self.plane_sizes):
            raise ValueError("plane_sizes: 0 is the original rule and 1 the loss-weighted one, which are swept anyway")
        return self

    def choices(self) -> dict[str, list[str]]:
        """A run sweeps one function with one step rule."""
        return {"function": list(MINIMISERS), "step_rule": list(STEP_RULES)}

    def methods(self, step_rule: str) -> dict[str, Method]:
        """The methods that a run with this step rule sweeps."""
        plane = {of_size(size): Method(size) for size in self.plane_sizes if step_rule == "fixed"}
        return METHODS | SUMS_TO_ONE | plane

    def identity(self, variant: Mapping[str, str], scale: Any) -> dict[str, Any]:
        """The settings, and the methods that the run sweeps."""
        methods = {name: list(method) for name, method in self.methods(variant["step_rule"]).items()}
        return {**super().identity(variant, scale), "methods": methods}

    def minutes(self, scale: Any) -> float:
        """A trajectory step takes so long that a minute holds five million."""
        step_sizes = self.step_sizes.count + 2 * self.step_sizes.refined
        return self.starts * step_sizes * self.max_steps / 5e6
