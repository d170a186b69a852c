"""Steepest descent on Rosenbrock's and Beale's functions with SoftAdapt's weights (paper section 4.1).

Every start x step size x beta of a sweep is one trajectory in float64:

    x <- x - eta * sum_k a_k grad f_k(x)

The weights a_k sum to the number of components, so that plain descent (a_k = 1) and SoftAdapt take steps of the same
scale, or to 1; at the first step, where no rate of change is known yet, they are all 1. The step eta is fixed, or Barzilai and Borwein's (1988) first one, <s, s> / <s, y> for the last
displacement s and the change y of the weighted gradient, clipped to [barzilai_borwein_lowest, eta]; where <s, y> <= 0 the
upper bound is taken (Birgin, Martinez and Raydan 2000), and the first step is the lower bound. With the step rule
``frozen_secant`` both gradients of the change y have the weights of this step.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from experiments.gradient_descent.kernel import Rules, descent
from experiments.gradient_descent.settings import (
    DIVERGED,
    HALVES,
    METHODS,
    NOT_CONVERGED,
    ComponentSteps,
    GradientDescentSettings,
    Method,
    StepSizes,
)
from experiments.runs.command_line import Request
from experiments.runs.folder import Run
from experiments.runs.progress import progress_bar
from models.objectives import OBJECTIVES, Objective
from softadapt import softadapt_weights

STEPS_AT_ONCE = 10_000_000
"""Steps of the trajectories, at most, that one call of the compiled loops takes: half a second."""


@dataclass
class Descent:
    """State of a batch of N trajectories; the history of losses is the last two values, hence s_k their difference."""

    points: Tensor
    losses: Tensor
    previous_losses: "Tensor | None" = None
    previous_points: "Tensor | None" = None
    previous_direction: "Tensor | None" = None
    weights: "Tensor | None" = None


def advance(
    state: Descent,
    function: Objective,
    method: Method,
    step_rule: str,
    *,
    betas: Tensor,
    step_sizes: Tensor,
    lowest_step: float,
) -> Descent:
    """Take one step with every trajectory.

    Args:
        state: points (N, 2) and losses (N, K), float64.
        function: what is minimised.
        method: how the components are weighed.
        step_rule: one of `STEP_RULES`.
        betas: (N,).
        step_sizes: (N,), the step, or the upper bound of the Barzilai-Borwein step.
        lowest_step: lower bound of the Barzilai-Borwein step.
    """
    if method.size is None or state.previous_losses is None:
        weights = torch.ones_like(state.losses)
    else:
        rates = state.losses - state.previous_losses
        recent = state.losses if method.size else None
        if method.size not in (None, 0, 1):
            recent = (state.losses / state.losses.amax(-1, keepdim=True)).pow(method.size)
        weights = softadapt_weights(rates, recent, beta=betas.unsqueeze(-1), normalize=method.normalize)
        weights = weights * (1 if method.sums_to_one else weights.shape[-1])
    direction = torch.einsum("nk,nkd->nd", weights, function.gradients(state.points))
    if step_rule == "fixed":
        steps = step_sizes
    elif state.previous_points is None or state.previous_direction is None:
        steps = torch.full_like(step_sizes, lowest_step)
    else:
        moved = state.points - state.previous_points
        before = state.previous_direction
        if step_rule == "frozen_secant":
            before = torch.einsum("nk,nkd->nd", weights, function.gradients(state.previous_points))
        turned = direction - before
        curvature = (moved * turned).sum(-1)
        quotient = (moved * moved).sum(-1) / curvature
        steps = torch.where(curvature > 0, quotient, torch.inf).clamp(min=lowest_step).minimum(step_sizes)
    points = state.points - steps.unsqueeze(-1) * direction
    return Descent(points, function.components(points), state.losses, state.points, direction, weights)


def steps_to_converge(
    function: Objective,
    method: Method,
    step_rule: str,
    starts: Tensor,
    step_sizes: Tensor,
    betas: Tensor,
    settings: GradientDescentSettings,
    progress: Any = None,
) -> Tensor:
    """Steps until the distance to the minimiser is at most the tolerance, for every combination.

    `advance` says what a step is; here it is taken by compiled scalar loops (`kernel.py`).

    Args:
        starts: (S, 2) float64.
        step_sizes: (E,) float64, or (B, E) where every beta has its own.
        betas: (B,) float64.
        progress: a tqdm bar over the combinations to advance, or None.

    Returns:
        (B, E, S) int32; `NOT_CONVERGED` after ``max_steps``, `DIVERGED` beyond ``divergence_radius``.
    """
    shape = (len(betas), step_sizes.shape[-1], len(starts))
    grid = torch.cartesian_prod(*(torch.arange(size) for size in shape))
    step_size = step_sizes.expand(shape[:2])[grid[:, 0], grid[:, 1]]
    ones = torch.ones(len(grid), len(function.component_names), dtype=torch.float64)
    columns = (starts[grid[:, 2]], step_size, betas[grid[:, 0]], ones)
    return _counted(columns, function, method, step_rule, settings, progress).reshape(shape)


def component_steps_to_converge(
    function: Objective, starts: Tensor, grid: Tensor, settings: GradientDescentSettings, progress: Any = None
) -> Tensor:
    """Steps of plain descent with constant step sizes for every component, for every combination.

    Args:
        starts: (S, 2) float64.
        grid: (C, K) float64, the step sizes of the K components.
        progress: a tqdm bar over the combinations to advance, or None.

    Returns:
        (C, S) int32, as `steps_to_converge`.
    """
    which = torch.cartesian_prod(torch.arange(len(grid)), torch.arange(len(starts)))
    ones = torch.ones(len(which), dtype=torch.float64)
    columns = (starts[which[:, 1]], ones, ones, grid[which[:, 0]])
    counted = _counted(columns, function, METHODS["plain"], "fixed", settings, progress)
    return counted.reshape(len(grid), len(starts))


def _counted(
    columns: tuple[Tensor, ...],
    function: Objective,
    method: Method,
    step_rule: str,
    settings: GradientDescentSettings,
    progress: Any,
) -> Tensor:
    """Steps (N,) of trajectories with these starts (N, 2), step sizes (N,), betas (N,) and constant weights (N, K)."""
    components = len(function.component_names)
    rules = Rules(
        weighted=method.size is not None,
        size=float(method.size or 0),
        normalize=method.normalize,
        total=1.0 if method.sums_to_one else float(components),
        barzilai_borwein=step_rule != "fixed",
        frozen_secant=step_rule == "frozen_secant",
        lowest_step=settings.barzilai_borwein_lowest,
        tolerance=settings.tolerance,
        divergence_radius=settings.divergence_radius,
        max_steps=settings.max_steps,
    )
    result = torch.full((len(columns[0]),), NOT_CONVERGED, dtype=torch.int32)
    arrays = [column.numpy() for column in (result, *columns)]
    descend = descent(function)
    at_once = max(1, STEPS_AT_ONCE // settings.max_steps)
    for first in range(0, len(result), at_once):  # between two of these calls a signal is answered
        part = [array[first : first + at_once] for array in arrays]
        descend(*part, rules, DIVERGED)
        if progress is not None:
            progress.update(len(part[0]))
    return result


def trajectory(
    function: Objective,
    method: Method,
    step_rule: str,
    start: Tensor,
    step_size: float,
    beta: float,
    settings: GradientDescentSettings,
) -> list[dict[str, float]]:
    """One trajectory from `start` (2,) to convergence or ``max_steps``: point, losses and weights per step."""
    minimiser = torch.tensor(function.minimiser, dtype=start.dtype)
    one = start.new_ones(1)
    state = Descent(start.unsqueeze(0), function.components(start.unsqueeze(0)))
    rows: list[dict[str, float]] = []
    for step in range(settings.max_steps + 1):
        row = {"step": float(step), "x": state.points[0, 0].item(), "y": state.points[0, 1].item()}
        row |= {f"loss_{k}": value for k, value in zip(function.component_names, state.losses[0].tolist(), strict=True)}
        weights = [1.0] * len(function.component_names) if state.weights is None else state.weights[0].tolist()
        row |= {f"weight_{k}": value for k, value in zip(function.component_names, weights, strict=True)}
        rows.append(row)
        if (state.points[0] - minimiser).norm() <= settings.tolerance or not bool(state.points.isfinite().all()):
            break
        state = advance(
            state,
            function,
            method,
            step_rule,
            betas=one * beta,
            step_sizes=one * step_size,
            lowest_step=settings.barzilai_borwein_lowest,
        )
    return rows


def sobol_starts(function: Objective, count: int, seed: int) -> Tensor:
    """Scrambled Sobol points (count, 2), float64, in the function's box."""
    unit = torch.quasirandom.SobolEngine(2, scramble=True, seed=seed).draw(count, dtype=torch.float64)
    low, high = torch.tensor(function.box, dtype=torch.float64).T
    return low + (high - low) * unit


def step_size_grid(grid: StepSizes | ComponentSteps) -> Tensor:
    """Step sizes (E,), float64, evenly spaced in the logarithm."""
    low, high = torch.tensor([grid.lowest, grid.highest], dtype=torch.float64).log10()
    return torch.logspace(float(low), float(high), grid.count, dtype=torch.float64)


def random_halves(count: int, seed: int) -> Tensor:
    """Masks (HALVES, count) of the starts on which settings are chosen; methods are judged on the others.

    Random halves: neighbours in a Sobol sequence lie in opposite halves of the box, so every second one would not do.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randperm(count, generator=generator) < count // 2 for _ in range(HALVES)])


def fine_step_sizes(steps: Tensor, step_sizes: Tensor, settings: GradientDescentSettings) -> Tensor:
    """Step sizes (B, 2 R) around the best of the grid for every beta, so that its spacing does not decide between methods.

    Half of them lie between the neighbours of the step size with the fewest expected steps (`expected_steps`), half
    between those of the one with the lowest median, over all starts. The choice among them is made on a half of the
    starts.

    Args:
        steps: (B, E, S), what `steps_to_converge` returned for the grid.
        step_sizes: (E,) the grid, evenly spaced in the logarithm.
        settings: ``step_sizes.refined`` is R.
    """
    limit = settings.max_steps + 1
    counted = torch.where(steps >= 0, steps, limit).double()
    arrived = (steps >= 0).double().sum(-1)
    expected = torch.where(arrived > 0, counted.sum(-1) / arrived, torch.inf)
    spacing = float((step_sizes[1] / step_sizes[0]).log())
    offsets = torch.linspace(-spacing, spacing, settings.step_sizes.refined + 2, dtype=torch.float64)[1:-1]
    best = [step_sizes[value.argmin(-1)] for value in (expected, counted.quantile(0.5, dim=-1))]
    return torch.cat([value.unsqueeze(-1) * offsets.exp() for value in best], dim=-1)


def run(request: Request) -> None:
    """Sweep one function with one step rule and write the run folder."""
    settings = request.settings
    function, step_rule = OBJECTIVES[request.variant["function"]], request.variant["step_rule"]
    folder = Run.of(request)
    if folder.finished:
        return
    starts = sobol_starts(function, settings.starts, request.seed)
    step_sizes = step_size_grid(settings.step_sizes)
    samples = {
        "starts": starts,
        "halves": random_halves(settings.starts, request.seed),
        "step_sizes": step_sizes,
        "betas": torch.tensor(settings.betas, dtype=torch.float64),
    }
    metrics: dict[str, Any] = {}
    if (state := folder.resume()) is not None:
        samples, metrics = state["samples"], state["metrics"]
    for name, method in settings.methods(step_rule).items():
        if name in metrics:
            continue
        betas = samples["betas"] if method.size is not None else torch.zeros(1, dtype=torch.float64)
        descents = len(betas) * len(starts)
        with progress_bar(descents * len(step_sizes), f"{function.name} {step_rule} {name}", "descent") as progress:
            steps = steps_to_converge(function, method, step_rule, starts, step_sizes, betas, settings, progress)
        samples[f"steps_{name}"] = steps
        if not method.sums_to_one:
            fine = fine_step_sizes(steps, step_sizes, settings)
            bar = progress_bar(descents * fine.shape[-1], f"{function.name} {step_rule} {name}, refined", "descent")
            with bar as progress:
                fine_steps = steps_to_converge(function, method, step_rule, starts, fine, betas, settings, progress)
            samples |= {f"fine_steps_{name}": fine_steps, f"fine_step_sizes_{name}": fine}
        metrics[name] = {
            "converged_share": (steps >= 0).double().mean(-1).tolist(),
            "diverged_share": (steps == DIVERGED).double().mean(-1).tolist(),
        }
        if name in METHODS:
            metrics[name] |= _drawn(folder, function, name, step_rule, step_sizes, settings)
        folder.save({"samples": samples, "metrics": metrics})
    if step_rule == "fixed":
        grid = settings.component_steps[function.name]
        sizes = step_size_grid(grid)
        combinations = torch.cartesian_prod(*[sizes] * len(function.component_names))
        some = starts[: grid.starts]
        with progress_bar(len(combinations) * len(some), f"{function.name}, steps by component", "descent") as progress:
            samples["component_steps"] = component_steps_to_converge(function, some, combinations, settings, progress)
        samples["component_step_sizes"] = combinations
    folder.finish(metrics, samples={name: values.numpy() for name, values in samples.items()})


def _drawn(
    folder: Run,
    function: Objective,
    name: str,
    step_rule: str,
    step_sizes: Tensor,
    settings: GradientDescentSettings,
) -> dict[str, Any]:
    """Add the path of a method from the illustrated start, at its best step size of the grid, to the history.

    Returns:
        The number of its steps, or a code, and the step size.
    """
    method, beta = METHODS[name], settings.illustrated_beta
    start = torch.tensor(settings.illustrated_starts[function.name], dtype=torch.float64)
    one_beta = torch.tensor([beta], dtype=torch.float64)
    steps = steps_to_converge(function, method, step_rule, start.unsqueeze(0), step_sizes, one_beta, settings)[0, :, 0]
    best = int(torch.where(steps >= 0, steps, settings.max_steps + 1).argmin())
    path = trajectory(function, method, step_rule, start, float(step_sizes[best]), beta, settings)
    folder.history += [{"method": name} | row for row in path]
    return {"drawn_steps": int(steps[best]), "drawn_step_size": float(step_sizes[best])}
