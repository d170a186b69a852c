"""Steepest descent on Rosenbrock's and Beale's functions with SoftAdapt's weights (paper section 4.1).

Every start x step size x beta of a sweep is one trajectory in float64:

    x <- x - eta * sum_k a_k grad f_k(x)

The weights a_k sum to the number of components, so that plain descent (a_k = 1) and SoftAdapt take steps of the same
scale. The step eta is fixed, or Barzilai and Borwein's (1988) first one, <s, s> / <s, y> for the last displacement s
and the change y of the weighted gradient, clipped to [barzilai_borwein_lowest, eta]; where <s, y> <= 0 the upper bound
is taken (Birgin, Martinez and Raydan 2000), and the first step is the lower bound.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from experiments.gradient_descent.kernel import Rules, descent
from experiments.gradient_descent.settings import DIVERGED, METHODS, NOT_CONVERGED, GradientDescentSettings
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
    method: str,
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
        method: a key of `METHODS`.
        step_rule: one of `STEP_RULES`.
        betas: (N,).
        step_sizes: (N,), the step, or the upper bound of the Barzilai-Borwein step.
        lowest_step: lower bound of the Barzilai-Borwein step.
    """
    variant, normalize = METHODS[method]
    if not variant or state.previous_losses is None:
        weights = torch.ones_like(state.losses)
    else:
        rates = state.losses - state.previous_losses
        recent = state.losses if variant == "loss_weighted" else None
        weights = softadapt_weights(rates, recent, beta=betas.unsqueeze(-1), normalize=normalize)
        weights = weights * weights.shape[-1]
    direction = torch.einsum("nk,nkd->nd", weights, function.gradients(state.points))
    if step_rule == "fixed":
        steps = step_sizes
    elif state.previous_points is None or state.previous_direction is None:
        steps = torch.full_like(step_sizes, lowest_step)
    else:
        moved = state.points - state.previous_points
        turned = direction - state.previous_direction
        curvature = (moved * turned).sum(-1)
        quotient = (moved * moved).sum(-1) / curvature
        steps = torch.where(curvature > 0, quotient, torch.inf).clamp(min=lowest_step).minimum(step_sizes)
    points = state.points - steps.unsqueeze(-1) * direction
    return Descent(points, function.components(points), state.losses, state.points, direction, weights)


def steps_to_converge(
    function: Objective,
    method: str,
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
    result = torch.full((len(grid),), NOT_CONVERGED, dtype=torch.int32)
    step_size = step_sizes.expand(shape[:2])[grid[:, 0], grid[:, 1]]
    columns = [column.numpy() for column in (result, starts[grid[:, 2]], step_size, betas[grid[:, 0]])]
    variant, normalize = METHODS[method]
    rules = Rules(
        weighted=method != "plain",
        loss_weighted=variant == "loss_weighted",
        normalize=normalize,
        barzilai_borwein=step_rule == "barzilai_borwein",
        lowest_step=settings.barzilai_borwein_lowest,
        tolerance=settings.tolerance,
        divergence_radius=settings.divergence_radius,
        max_steps=settings.max_steps,
    )
    descend = descent(function)
    at_once = max(1, STEPS_AT_ONCE // settings.max_steps)
    for first in range(0, len(grid), at_once):  # between two of these calls a signal is answered
        part = [column[first : first + at_once] for column in columns]
        descend(*part, rules, DIVERGED)
        if progress is not None:
            progress.update(len(part[0]))
    return result.reshape(shape)


def trajectory(
    function: Objective,
    method: str,
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


def step_size_grid(settings: GradientDescentSettings) -> torch.Tensor:
    """The sweep's step sizes (E,), float64, evenly spaced in the logarithm."""
    grid = settings.step_sizes
    low, high = torch.tensor([grid.lowest, grid.highest], dtype=torch.float64).log10()
    return torch.logspace(float(low), float(high), grid.count, dtype=torch.float64)


def choosing_starts(count: int, seed: int) -> Tensor:
    """Mask (count,) of the half of the starts on which settings are chosen; methods are judged on the others.

    A random half: neighbours in a Sobol sequence lie in opposite halves of the box, so every second one would not do.
    """
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed)) < count // 2


def fine_step_sizes(steps: Tensor, step_sizes: Tensor, chooses: Tensor, settings: GradientDescentSettings) -> Tensor:
    """Step sizes (B, R) around the best of the grid for every beta, so that its spacing does not decide between methods.

    They lie between the neighbours of the step size with the fewest steps, on average over the starts that settings are
    chosen on; a start that does not arrive counts as ``max_steps + 1``.

    Args:
        steps: (B, E, S), what `steps_to_converge` returned for the grid.
        step_sizes: (E,) the grid, evenly spaced in the logarithm.
        chooses: (S,) mask of those starts.
        settings: ``step_sizes.refined`` is R.
    """
    counted = torch.where(steps >= 0, steps, settings.max_steps + 1)[:, :, chooses].double()
    best = step_sizes[counted.mean(-1).argmin(-1)]
    spacing = float((step_sizes[1] / step_sizes[0]).log())
    offsets = torch.linspace(-spacing, spacing, settings.step_sizes.refined + 2, dtype=torch.float64)[1:-1]
    return best.unsqueeze(-1) * offsets.exp()


def run(request: Request) -> None:
    """Sweep one function with one step rule and write the run folder."""
    settings = request.settings
    function, step_rule = OBJECTIVES[request.variant["function"]], request.variant["step_rule"]
    folder = Run.of(request)
    if folder.finished:
        return
    starts = sobol_starts(function, settings.starts, request.seed)
    step_sizes = step_size_grid(settings)
    illustrated_start = torch.tensor(settings.illustrated_starts[function.name], dtype=torch.float64)
    one_beta = torch.tensor([settings.illustrated_beta], dtype=torch.float64)
    chooses = choosing_starts(settings.starts, request.seed)
    samples = {
        "starts": starts,
        "chooses": chooses,
        "step_sizes": step_sizes,
        "betas": torch.tensor(settings.betas),
    }
    metrics: dict[str, Any] = {}
    if (state := folder.resume()) is not None:
        samples, metrics = state["samples"], state["metrics"]
    for method in METHODS:
        if method in metrics:
            continue
        betas = torch.tensor(settings.betas if method != "plain" else [0.0], dtype=torch.float64)
        descents = len(betas) * len(starts)
        bar = progress_bar(descents * len(step_sizes), f"{function.name} {step_rule} {method}", "descent")
        with bar as progress:
            steps = steps_to_converge(function, method, step_rule, starts, step_sizes, betas, settings, progress)
        fine = fine_step_sizes(steps, step_sizes, chooses, settings)
        bar = progress_bar(descents * fine.shape[-1], f"{function.name} {step_rule} {method}, refined", "descent")
        with bar as progress:
            fine_steps = steps_to_converge(function, method, step_rule, starts, fine, betas, settings, progress)
        samples |= {f"steps_{method}": steps, f"fine_steps_{method}": fine_steps}
        samples[f"fine_step_sizes_{method}"] = fine
        metrics[method] = {
            "converged_share": (steps >= 0).double().mean(-1).tolist(),
            "diverged_share": (steps == DIVERGED).double().mean(-1).tolist(),
        }
        drawn = steps_to_converge(
            function, method, step_rule, illustrated_start.unsqueeze(0), step_sizes, one_beta, settings
        )[0, :, 0]
        counts = torch.where(drawn >= 0, drawn, settings.max_steps + 1)
        best = int(counts.argmin())
        metrics[method] |= {"drawn_steps": int(drawn[best]), "drawn_step_size": float(step_sizes[best])}
        path = trajectory(
            function, method, step_rule, illustrated_start, float(step_sizes[best]), settings.illustrated_beta, settings
        )
        folder.history += [{"method": method} | row for row in path]
        folder.save({"samples": samples, "metrics": metrics})
    folder.finish(metrics, samples={name: values.numpy() for name, values in samples.items()})
