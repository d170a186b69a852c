"""Rosenbrock's and Beale's functions as sums of loss components (paper section 4.1 and supplement).

The formulas are plain arithmetic on coordinates, which may be floats (compiled by numba too), NumPy
arrays or tensors. `Objective` applies them to
tensors of points of shape (..., 2), so that a whole sweep of starts, step sizes and betas is evaluated at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Objective:
    """A two-dimensional objective f = sum_k f_k with a known minimiser.

    Attributes:
        name: lower-case name.
        component_names: names of the K components.
        minimiser: the point (x, y) at which f = 0.
        box: ((x_low, x_high), (y_low, y_high)), from which starts are drawn.
        values: (x, y) -> the K values f_k >= 0.
        slopes: (x, y) -> the K pairs (df_k/dx, df_k/dy), in closed form.
    """

    name: str
    component_names: tuple[str, ...]
    minimiser: tuple[float, float]
    box: tuple[tuple[float, float], tuple[float, float]]
    values: Callable[[Any, Any], tuple[Any, ...]]
    slopes: Callable[[Any, Any], tuple[tuple[Any, Any], ...]]

    def components(self, points: "Tensor") -> "Tensor":
        """Values (..., K) of the components at points (..., 2), in the dtype of the points."""
        import torch

        return torch.stack(self.values(*points.unbind(-1)), dim=-1)

    def gradients(self, points: "Tensor") -> "Tensor":
        """Gradients (..., K, 2) of the components at points (..., 2), in the dtype of the points."""
        import torch

        pairs = self.slopes(*points.unbind(-1))
        return torch.stack([torch.stack(pair, dim=-1) for pair in pairs], dim=-2)


def rosenbrock(x: Any, y: Any) -> tuple[Any, Any]:
    """f1 = (1 - x)^2 and f2 = 100 (y - x^2)^2."""
    return (1 - x) ** 2, 100 * (y - x**2) ** 2


def rosenbrock_slopes(x: Any, y: Any) -> tuple[tuple[Any, Any], ...]:
    """Derivatives of `rosenbrock` along x and y."""
    valley = 200 * (y - x**2)
    return (2 * (x - 1), 0 * y), (-2 * x * valley, valley)


def beale(x: Any, y: Any) -> tuple[Any, Any, Any]:
    """f_k = (c_k - x + x y^k)^2 with c = 1.5, 2.25, 2.625 and k = 1, 2, 3."""
    return (1.5 - x + x * y) ** 2, (2.25 - x + x * y**2) ** 2, (2.625 - x + x * y**3) ** 2


def beale_slopes(x: Any, y: Any) -> tuple[tuple[Any, Any], ...]:
    """Derivatives of `beale` along x and y."""
    first, second, third = 2 * (1.5 - x + x * y), 2 * (2.25 - x + x * y**2), 2 * (2.625 - x + x * y**3)
    return (
        (first * (y - 1), first * x),
        (second * (y**2 - 1), second * (x * (2 * y))),
        (third * (y**3 - 1), third * (x * (3 * y**2))),
    )


ROSENBROCK = Objective(
    name="rosenbrock",
    component_names=("distance", "valley"),
    minimiser=(1.0, 1.0),
    box=((-2.0, 2.0), (-1.0, 3.0)),
    values=rosenbrock,
    slopes=rosenbrock_slopes,
)
"""Rosenbrock (1960). Both components vanish at the minimiser."""

BEALE = Objective(
    name="beale",
    component_names=("first", "second", "third"),
    minimiser=(3.0, 0.5),
    box=((0.0, 4.5), (-1.0, 1.0)),
    values=beale,
    slopes=beale_slopes,
)
"""Beale (1958).

Its customary domain is [-4.5, 4.5]^2. From most points of that domain, descent runs off along a valley that falls
towards infinity. The box is therefore the part around the minimiser.
"""

OBJECTIVES = {objective.name: objective for objective in (ROSENBROCK, BEALE)}
