"""Rosenbrock's and Beale's test functions as sums of loss components (paper section 4.1 and supplement).

Each formula is written once, as arithmetic on coordinates x and y that may be floats, which a compiler can take, or tensors
of any shape. `TestFunction.components` and `gradients` apply it to points (..., 2), in the dtype of the points, so that a
whole sweep of starts, step sizes and betas is evaluated at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class TestFunction:
    """A two-dimensional objective f = sum_k f_k with a known minimiser.

    Attributes:
        name: lower-case name.
        component_names: names of the K components.
        minimiser: the point (x, y) at which f = 0.
        box: ((x_low, x_high), (y_low, y_high)), from which starts are drawn.
        values: (x, y) -> the K values f_k >= 0.
        slopes: (x, y) -> the K pairs of derivatives (df_k/dx, df_k/dy), in closed form.
    """

    __test__ = False  # the name is the field's; pytest should not collect it

    name: str
    component_names: tuple[str, ...]
    minimiser: tuple[float, float]
    box: tuple[tuple[float, float], tuple[float, float]]
    values: Callable[[Any, Any], tuple[Any, ...]]
    slopes: Callable[[Any, Any], tuple[tuple[Any, Any], ...]]

    def components(self, points: Tensor) -> Tensor:
        """Points (..., 2) -> the values f_k (..., K)."""
        return torch.stack(self.values(*points.unbind(-1)), dim=-1)

    def gradients(self, points: Tensor) -> Tensor:
        """Points (..., 2) -> the gradients of the f_k (..., K, 2)."""
        pairs = self.slopes(*points.unbind(-1))
        flat = torch.stack([slope for pair in pairs for slope in pair], dim=-1)
        return flat.unflatten(-1, (len(pairs), 2))


def _rosenbrock_values(x: Any, y: Any) -> tuple[Any, Any]:
    return (1 - x) ** 2, 100 * (y - x**2) ** 2


def _rosenbrock_slopes(x: Any, y: Any) -> tuple[tuple[Any, Any], ...]:
    valley = 200 * (y - x**2)
    return (2 * (x - 1), 0 * y), (-2 * x * valley, valley)


def _beale_values(x: Any, y: Any) -> tuple[Any, Any, Any]:
    return (1.5 - x + x * y) ** 2, (2.25 - x + x * y**2) ** 2, (2.625 - x + x * y**3) ** 2


def _beale_slopes(x: Any, y: Any) -> tuple[tuple[Any, Any], ...]:
    first, second, third = 2 * (1.5 - x + x * y), 2 * (2.25 - x + x * y**2), 2 * (2.625 - x + x * y**3)
    return (
        (first * (y - 1), first * x),
        (second * (y**2 - 1), second * (x * (2 * y))),
        (third * (y**3 - 1), third * (x * (3 * y**2))),
    )


ROSENBROCK = TestFunction(
    name="rosenbrock",
    component_names=("distance", "valley"),
    minimiser=(1.0, 1.0),
    box=((-2.0, 2.0), (-1.0, 3.0)),
    values=_rosenbrock_values,
    slopes=_rosenbrock_slopes,
)
"""f1 = (1 - x)^2 and f2 = 100 (y - x^2)^2 (Rosenbrock 1960): both vanish at the minimiser."""

BEALE = TestFunction(
    name="beale",
    component_names=("first", "second", "third"),
    minimiser=(3.0, 0.5),
    box=((0.0, 4.5), (-1.0, 1.0)),
    values=_beale_values,
    slopes=_beale_slopes,
)
"""f_k = (c_k - x + x y^k)^2, c = 1.5, 2.25, 2.625 (Beale 1958), k = 1, 2, 3.

Its customary domain is [-4.5, 4.5]^2; from most of that, descent runs off along a valley that sinks towards infinity, so
the box is the part around the minimiser.
"""

TEST_FUNCTIONS = {function.name: function for function in (ROSENBROCK, BEALE)}
