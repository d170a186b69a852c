"""Rosenbrock's and Beale's test functions as sums of loss components (paper section 4.1 and supplement).

Points are tensors of shape (..., 2); components have shape (..., K) and their gradients (..., K, 2), in the dtype
of the points, so that a whole sweep of starts, step sizes and betas is evaluated at once.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Objective:
    """A two-dimensional objective f = sum_k f_k with a known minimiser.

    Attributes:
        name: lower-case name.
        component_names: names of the K components.
        minimiser: the point (x, y) at which f = 0.
        box: ((x_low, x_high), (y_low, y_high)), from which starts are drawn.
        components: (..., 2) -> (..., K), the values f_k >= 0.
        gradients: (..., 2) -> (..., K, 2), the gradients of the components, in closed form.
    """

    name: str
    component_names: tuple[str, ...]
    minimiser: tuple[float, float]
    box: tuple[tuple[float, float], tuple[float, float]]
    components: Callable[[Tensor], Tensor]
    gradients: Callable[[Tensor], Tensor]


def _rosenbrock_components(points: Tensor) -> Tensor:
    x, y = points.unbind(-1)
    return torch.stack(((1 - x) ** 2, 100 * (y - x**2) ** 2), dim=-1)


def _rosenbrock_gradients(points: Tensor) -> Tensor:
    x, y = points.unbind(-1)
    valley = 200 * (y - x**2)
    flat = torch.stack((2 * (x - 1), torch.zeros_like(x), -2 * x * valley, valley), dim=-1)
    return flat.unflatten(-1, (2, 2))


_BEALE_CONSTANTS = (1.5, 2.25, 2.625)


def _beale_residuals(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return residuals c_k - x + x y^k (..., 3), x (..., 1) and y (..., 1)."""
    x, y = points[..., :1], points[..., 1:]
    powers = torch.cat((y, y**2, y**3), dim=-1)
    return points.new_tensor(_BEALE_CONSTANTS) - x + x * powers, x, y


def _beale_components(points: Tensor) -> Tensor:
    return _beale_residuals(points)[0] ** 2


def _beale_gradients(points: Tensor) -> Tensor:
    residuals, x, y = _beale_residuals(points)
    along_x = torch.cat((y - 1, y**2 - 1, y**3 - 1), dim=-1)
    along_y = x * torch.cat((torch.ones_like(y), 2 * y, 3 * y**2), dim=-1)
    return 2 * residuals.unsqueeze(-1) * torch.stack((along_x, along_y), dim=-1)


ROSENBROCK = Objective(
    name="rosenbrock",
    component_names=("distance", "valley"),
    minimiser=(1.0, 1.0),
    box=((-2.0, 2.0), (-1.0, 3.0)),
    components=_rosenbrock_components,
    gradients=_rosenbrock_gradients,
)
"""f1 = (1 - x)^2 and f2 = 100 (y - x^2)^2 (Rosenbrock 1960): both vanish at the minimiser."""

BEALE = Objective(
    name="beale",
    component_names=("first", "second", "third"),
    minimiser=(3.0, 0.5),
    box=((0.0, 4.5), (-1.0, 1.0)),
    components=_beale_components,
    gradients=_beale_gradients,
)
"""f_k = (c_k - x + x y^k)^2, c = 1.5, 2.25, 2.625 (Beale 1958), k = 1, 2, 3.

Its customary domain is [-4.5, 4.5]^2; from most of that, descent runs off along a valley that sinks towards infinity, so
the box is the part around the minimiser.
"""

OBJECTIVES = {function.name: function for function in (ROSENBROCK, BEALE)}
