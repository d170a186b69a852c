"""The sweep's descent in compiled scalar arithmetic, one trajectory after the other: `advance` without its tensors.

A batch of trajectories in tensors spends its time on passes over memory; a scalar loop keeps a trajectory in registers
and is four times faster. It takes the operations of `advance` and `softadapt_weights` in their order, in IEEE double
precision, and the test function's own formulas. Only exp and log are another library's, different in the last bit of some
numbers, which the chaotic Barzilai-Borwein steps notice. Nothing is cached on disk: compiling takes a second.
"""

from collections.abc import Callable
from functools import cache
from math import exp, inf, log, sqrt
from typing import Any, NamedTuple

import numba
import numpy as np

from models.objectives import Objective
from softadapt.functional import NORMALIZE_EPS

_LARGEST, _SMALLEST = np.finfo(np.float64).max, np.finfo(np.float64).tiny

_compiled = numba.njit(error_model="numpy", nogil=True)  # a division by zero is IEEE's, as in tensors


class Rules(NamedTuple):
    """What all trajectories of a call share: SoftAdapt's options, the step rule and when to stop."""

    weighted: bool
    size: float
    normalize: bool
    total: float
    barzilai_borwein: bool
    frozen_secant: bool
    lowest_step: float
    tolerance: float
    divergence_radius: float
    max_steps: int


@_compiled
def _saturated(value: float) -> float:
    """`value` within the range of finite numbers, NaN as 0: what `torch.nan_to_num` does."""
    return min(max(value, -_LARGEST), _LARGEST) if value == value else 0.0


@_compiled
def _normalize(rates: np.ndarray) -> None:
    """Section 3.1.3, in place: `rates` (K,)."""
    scale, norm = _SMALLEST, 0.0
    for k in range(len(rates)):
        rates[k] = _saturated(rates[k])
        scale = max(scale, abs(rates[k]))
    for k in range(len(rates)):
        rates[k] /= scale
        norm += abs(rates[k])
    for k in range(len(rates)):
        rates[k] /= norm + NORMALIZE_EPS / scale


@_compiled
def _weigh(weights: np.ndarray, rates: np.ndarray, losses: Any, beta: float, rules: Rules) -> None:
    """Write SoftAdapt's weights (K,) from rates (K,), which are overwritten, and losses (K,)."""
    if rules.normalize:
        _normalize(rates)
    largest_loss, largest, norm = 0.0, -inf, 0.0
    for k in range(len(rates)):
        largest_loss = max(largest_loss, losses[k])
    for k in range(len(rates)):
        weights[k] = _saturated(beta * rates[k])
        if rules.size != 0:
            relative = max(losses[k], 0.0) / largest_loss
            weights[k] += rules.size * log(relative if relative == relative else 1.0)
        largest = max(largest, weights[k])
    for k in range(len(rates)):
        weights[k] = exp(weights[k] - largest)
        norm += weights[k]
    for k in range(len(rates)):
        weights[k] = weights[k] / norm * rules.total


@cache
def descent(function: Objective) -> Callable[..., None]:
    """The compiled descent on `function`: see `descend` for its arguments."""
    components, gradients = _compiled(function.values), _compiled(function.slopes)
    best_x, best_y = function.minimiser
    count = len(function.component_names)

    @_compiled
    def descend(
        steps: np.ndarray,
        starts: np.ndarray,
        step_sizes: np.ndarray,
        betas: np.ndarray,
        constant: np.ndarray,
        rules: Rules,
        diverged: int,
    ) -> None:
        """Write the steps to converge, or `diverged`, of every trajectory into `steps` (N,); others keep what is there.

        starts (N, 2), step_sizes (N,), betas (N,) and the weights without SoftAdapt, constant (N, K), are float64, steps
        int32.
        """
        previous_losses, rates, weights = np.empty(count), np.empty(count), np.empty(count)
        for n in range(len(starts)):
            x, y = starts[n]
            losses = components(x, y)
            before_x = before_y = previous_x = previous_y = previous_along_x = previous_along_y = 0.0
            if sqrt((x - best_x) ** 2 + (y - best_y) ** 2) <= rules.tolerance:
                steps[n] = 0
                continue
            for step in range(1, rules.max_steps + 1):
                weights[:] = constant[n]
                if rules.weighted and step > 1:
                    for k in range(count):
                        rates[k] = losses[k] - previous_losses[k]
                    _weigh(weights, rates, losses, betas[n], rules)
                along_x, along_y, slopes = 0.0, 0.0, gradients(x, y)
                for k in range(count):
                    along_x += weights[k] * slopes[k][0]
                    along_y += weights[k] * slopes[k][1]
                eta = step_sizes[n]
                if rules.barzilai_borwein and step == 1:
                    eta = rules.lowest_step
                elif rules.barzilai_borwein:
                    before_x, before_y = previous_along_x, previous_along_y
                    if rules.frozen_secant:
                        before_x, before_y, old_slopes = 0.0, 0.0, gradients(previous_x, previous_y)
                        for k in range(count):
                            before_x += weights[k] * old_slopes[k][0]
                            before_y += weights[k] * old_slopes[k][1]
                    moved_x, moved_y = x - previous_x, y - previous_y
                    curvature = moved_x * (along_x - before_x) + moved_y * (along_y - before_y)
                    if curvature > 0:
                        quotient = (moved_x * moved_x + moved_y * moved_y) / curvature
                        eta = min(max(quotient, rules.lowest_step), eta)
                for k in range(count):
                    previous_losses[k] = losses[k]
                previous_x, previous_y, previous_along_x, previous_along_y = x, y, along_x, along_y
                x, y = x - eta * along_x, y - eta * along_y
                losses = components(x, y)
                distance = sqrt((x - best_x) ** 2 + (y - best_y) ** 2)
                if distance <= rules.tolerance:
                    steps[n] = step
                    break
                if not distance <= rules.divergence_radius:  # NaN too, as comparisons with it are false
                    steps[n] = diverged
                    break

    return descend
