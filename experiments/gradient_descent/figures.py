"""Figures of the gradient-descent experiment: Figure 2, its like for Beale, and the maps that the paper lacks."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from experiments.analysis import descent, reading
from experiments.evidence.style import BLACK, BLUE, GREEN, ORANGE, VERMILION, WIDTH, plt, save
from experiments.scale import Settings

COLORS = {
    "plain": BLACK,
    "original": BLUE,
    "loss_weighted": VERMILION,
    "normalized": GREEN,
    "normalized_loss_weighted": ORANGE,
}


MINIMISERS = {"rosenbrock": (1.0, 1.0), "beale": (3.0, 0.5)}
VIEWS = {"rosenbrock": ((-1.6, 1.6), (-0.5, 1.6)), "beale": ((0.6, 3.6), (-0.6, 1.3))}
"""What the trajectory figures show of the plane, ((x_low, x_high), (y_low, y_high)); excursions are cut off."""


def gradient_descent(settings: Settings) -> None:
    """Draw all figures of the experiment."""
    folder = reading.figures(settings)
    save(_trajectories(settings, "rosenbrock"), folder, "figure_2_rosenbrock")
    save(_trajectories(settings, "beale"), folder, "beale_trajectories")
    save(_steps_by_step_size(settings), folder, "steps_by_step_size")
    save(_steps_by_start(settings), folder, "steps_by_start")


def _value(function: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if function == "rosenbrock":
        return (1 - x) ** 2 + 100 * (y - x**2) ** 2
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


def _trajectories(settings: Settings, function: str) -> plt.Figure:
    """Four panels, {fixed step, Barzilai-Borwein} x {original, loss-weighted}: two paths on the contours."""
    figure, grid = plt.subplots(2, 2, figsize=(WIDTH, 6.2))
    for row, step_rule in zip(grid, reading.STEP_RULES, strict=True):
        run = reading.descent_run(settings, function, step_rule)
        paths = dict(iter(run.history.groupby("method")))
        for axes, method in zip(row, ("original", "loss_weighted"), strict=True):
            drawn = [paths["plain"], paths[method]]
            (left, right), (bottom, top) = VIEWS[function]
            x, y = np.meshgrid(np.linspace(left, right, 300), np.linspace(bottom, top, 300))
            axes.contour(x, y, np.log10(_value(function, x, y) + 1e-6), levels=18, colors="0.8", linewidths=0.5)
            for name, path in zip(("plain", method), drawn, strict=True):
                metrics = run.metrics[name]
                steps = f"{metrics['drawn_steps']} steps" if metrics["drawn_steps"] >= 0 else "no convergence"
                axes.plot(
                    path["x"],
                    path["y"],
                    color=COLORS[name],
                    marker="o" if len(path) < 150 else None,
                    markersize=1.5,
                    linewidth=0.9,
                    label=f"{descent.LABELS[name]}: {steps}, $\\eta$ = {metrics['drawn_step_size']:.2g}",
                )
            axes.plot(*drawn[0].loc[drawn[0].index[0], ["x", "y"]], "s", color=BLACK, markersize=4)
            axes.plot(*MINIMISERS[function], "*", color=ORANGE, markersize=10, markeredgecolor=BLACK)
            axes.set_title(f"{reading.STEP_RULES[step_rule]}, {descent.LABELS[method]}")
            axes.set(xlim=(left, right), ylim=(bottom, top), xlabel="x", ylabel="y")
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14))
    return figure


def _regimes(height: float) -> tuple[plt.Figure, list[tuple[Axes, str, str]]]:
    figure, grid = plt.subplots(2, 2, figsize=(WIDTH, height), sharey=True)
    regimes = [(function, rule) for function in descent.FUNCTIONS for rule in reading.STEP_RULES]
    return figure, [(axes, *regime) for axes, regime in zip(grid.flat, regimes, strict=True)]


def _steps_by_step_size(settings: Settings) -> plt.Figure:
    """Steps against the step size: median and quartiles over all starts, the best beta at every step size."""
    figure, panels = _regimes(4.8)
    for axes, function, step_rule in panels:
        sweep = descent.Sweep(settings, function, step_rule)
        for method in descent.METHODS:
            steps = sweep.steps(method)
            best = steps.mean(-1).argmin(0)
            chosen = np.take_along_axis(steps, best[None, :, None], axis=0)[0]
            low, median, high = np.quantile(chosen, [0.25, 0.5, 0.75], axis=-1)
            axes.loglog(sweep.step_sizes, median, color=COLORS[method], label=descent.LABELS[method])
            axes.fill_between(sweep.step_sizes, low, high, color=COLORS[method], alpha=0.15, linewidth=0)
        axes.axhline(sweep.limit, color="0.6", linestyle=":", linewidth=0.8)
        axes.set_title(f"{function.capitalize()}, {reading.STEP_RULES[step_rule]}")
        axes.set_xlabel("step size" if step_rule == "fixed" else "upper bound of the step")
        axes.set_ylabel("steps to the minimum")
    panels[0][0].legend(loc="lower left")
    return figure


def _steps_by_start(settings: Settings) -> plt.Figure:
    """Maps of the steps by start, each method at its own best step size and beta."""
    shown = ("plain", "original", "loss_weighted")
    regimes = [(function, rule) for function in descent.FUNCTIONS for rule in reading.STEP_RULES]
    figure, grid = plt.subplots(4, 3, figsize=(WIDTH, 8.2), sharex="row", sharey="row")
    for row, (function, step_rule) in zip(grid, regimes, strict=True):
        sweep = descent.Sweep(settings, function, step_rule)
        for axes, method in zip(row, shown, strict=True):
            tuned = sweep.tune(method)
            x, y = sweep.starts.T
            reached = axes.scatter(
                x[tuned.converged],
                y[tuned.converged],
                c=tuned.steps[tuned.converged],
                norm=LogNorm(10, sweep.limit),
                s=14,
            )
            axes.scatter(x[~tuned.converged], y[~tuned.converged], marker="x", color=VERMILION, s=10, linewidth=0.8)
            axes.plot(*MINIMISERS[function], "*", color=ORANGE, markersize=8, markeredgecolor=BLACK)
            beta = "" if np.isnan(tuned.beta) else f", $\\beta$ = {tuned.beta:g}"
            axes.set_title(f"{descent.LABELS[method]}\n$\\eta$ = {tuned.step_size:.2g}{beta}")
        row[0].set_ylabel(f"{function.capitalize()}\n{reading.STEP_RULES[step_rule]}\ny")
    for axes in grid[-1]:
        axes.set_xlabel("x")
    figure.colorbar(reached, ax=grid, shrink=0.5, label="steps to the minimum (cross: not reached)")
    return figure
