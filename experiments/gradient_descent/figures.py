"""Figures of the gradient-descent experiment: Figure 2, its like for Beale, and the maps that the paper lacks."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from experiments.evidence.reading import Runs
from experiments.evidence.style import BLACK, BLUE, GREEN, ORANGE, VERMILION, WIDTH, plt
from experiments.gradient_descent.findings import Findings
from experiments.gradient_descent.settings import METHODS, MINIMISERS, STEP_RULES
from models.objectives import OBJECTIVES

LABELS = {
    "plain": "plain descent",
    "original": "original (eq. 3)",
    "loss_weighted": "loss-weighted (eq. 4)",
    "normalized": "normalized",
    "normalized_loss_weighted": "normalized, loss-weighted",
}
COLORS = {
    "plain": BLACK,
    "original": BLUE,
    "loss_weighted": VERMILION,
    "normalized": GREEN,
    "normalized_loss_weighted": ORANGE,
}


VIEWS = {"rosenbrock": ((-1.6, 1.6), (-0.5, 1.6)), "beale": ((0.6, 3.6), (-0.6, 1.3))}
"""Part of the plane in the trajectory figures, ((x_low, x_high), (y_low, y_high)). Excursions beyond it are cut off."""


def figure_2_rosenbrock(runs: Runs) -> plt.Figure:
    """Figure 2."""
    return _trajectories(runs, "rosenbrock")


def beale_trajectories(runs: Runs) -> plt.Figure:
    """The same on Beale's function."""
    return _trajectories(runs, "beale")


def _trajectories(runs: Runs, function: str) -> plt.Figure:
    """Four panels, {fixed step, Barzilai-Borwein} x {original, loss-weighted}: two paths on the contours."""
    figure, grid = plt.subplots(2, 2, figsize=(WIDTH, 6.2))
    for row, step_rule in zip(grid, STEP_RULES, strict=True):
        run = runs.folder(f"{function}-{step_rule}", runs.section.seed)
        paths = dict(iter(run.history.groupby("method")))
        for axes, method in zip(row, ("original", "loss_weighted"), strict=True):
            drawn = [paths["plain"], paths[method]]
            (left, right), (bottom, top) = VIEWS[function]
            x, y = np.meshgrid(np.linspace(left, right, 300), np.linspace(bottom, top, 300))
            axes.contour(
                x, y, np.log10(sum(OBJECTIVES[function].values(x, y)) + 1e-6), levels=18, colors="0.8", linewidths=0.5
            )
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
                    label=f"{LABELS[name]}: {steps}, $\\eta$ = {metrics['drawn_step_size']:.2g}",
                )
            axes.plot(*drawn[0].loc[drawn[0].index[0], ["x", "y"]], "s", color=BLACK, markersize=4)
            axes.plot(*MINIMISERS[function], "*", color=ORANGE, markersize=10, markeredgecolor=BLACK)
            axes.set_title(f"{STEP_RULES[step_rule]}, {LABELS[method]}")
            axes.set(xlim=(left, right), ylim=(bottom, top), xlabel="x", ylabel="y")
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14))
    return figure


def _regimes(height: float) -> tuple[plt.Figure, list[tuple[Axes, str, str]]]:
    figure, grid = plt.subplots(2, 2, figsize=(WIDTH, height), sharey=True)
    regimes = [(function, rule) for function in MINIMISERS for rule in STEP_RULES]
    return figure, [(axes, *regime) for axes, regime in zip(grid.flat, regimes, strict=True)]


def steps_by_step_size(runs: Runs) -> plt.Figure:
    """Steps against the step size: median and quartiles over the judged starts, the best beta at every step size."""
    findings = Findings(runs)
    figure, panels = _regimes(4.8)
    for axes, function, step_rule in panels:
        sweep = findings.sweep(function, step_rule)
        for method in METHODS:
            steps, color = sweep.quartiles(method), COLORS[method]
            axes.loglog(steps["step_size"], steps["steps_median"], color=color, label=LABELS[method])
            low, high = steps["steps_low"], steps["steps_high"]
            axes.fill_between(steps["step_size"], low, high, color=color, alpha=0.15, linewidth=0)
        axes.axhline(sweep.limit, color="0.6", linestyle=":", linewidth=0.8)
        axes.set_title(f"{function.capitalize()}, {STEP_RULES[step_rule]}")
        axes.set_xlabel("step size" if step_rule == "fixed" else "upper bound of the step")
        axes.set_ylabel("steps to the minimum")
    panels[0][0].legend(loc="lower left")
    return figure


def steps_by_start(runs: Runs) -> plt.Figure:
    """Maps of the steps by start, each method at its own best step size and beta."""
    findings = Findings(runs)
    shown = ("plain", "original", "loss_weighted")
    regimes = [(function, rule) for function in MINIMISERS for rule in STEP_RULES]
    figure, grid = plt.subplots(4, 3, figsize=(WIDTH, 8.2), sharex="row", sharey="row")
    for row, (function, step_rule) in zip(grid, regimes, strict=True):
        sweep = findings.sweep(function, step_rule)
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
            axes.set_title(f"{LABELS[method]}\n$\\eta$ = {tuned.step_size:.2g}{beta}")
        row[0].set_ylabel(f"{function.capitalize()}\n{STEP_RULES[step_rule]}\ny")
    for axes in grid[-1]:
        axes.set_xlabel("x")
    figure.colorbar(reached, ax=grid, shrink=0.5, label="steps to the minimum (cross: not reached)")
    return figure
