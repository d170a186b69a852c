"""Figures of the descent: Figure 2, its like for Beale, and what the sweeps say beyond them."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from experiments.evidence.reading import Runs
from experiments.evidence.specification_curve import specification_curves
from experiments.evidence.style import BLACK, BLUE, GREEN, ORANGE, VERMILION, WIDTH, plt
from experiments.gradient_descent.findings import COMPONENTWISE, Findings, counted, ratio_over_halves
from experiments.gradient_descent.settings import DEFAULT_BETA, METHODS, MINIMISERS, STEP_RULES
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
    """The paths of Figure 2 on Beale's function."""
    return _trajectories(runs, "beale")


def _trajectories(runs: Runs, function: str) -> plt.Figure:
    """Four panels, {fixed step, Barzilai-Borwein} x {original, loss-weighted}: two paths on the contours."""
    figure, grid = plt.subplots(2, 2, figsize=(WIDTH, 6.2))
    for row, step_rule in zip(grid, ("fixed", "barzilai_borwein"), strict=True):
        run = runs.folder(f"{function}-{step_rule}", runs.section.seed)
        paths = dict(iter(run.history.groupby("method")))
        for axes, method in zip(row, ("original", "loss_weighted"), strict=True):
            (left, right), (bottom, top) = VIEWS[function]
            x, y = np.meshgrid(np.linspace(left, right, 300), np.linspace(bottom, top, 300))
            axes.contour(
                x, y, np.log10(sum(OBJECTIVES[function].values(x, y)) + 1e-6), levels=18, colors="0.8", linewidths=0.5
            )
            for name in ("plain", method):
                path = paths[name]
                metrics = run.metrics[name]
                steps = f"{metrics['drawn_steps']} steps" if metrics["drawn_steps"] >= 0 else "no convergence"
                axes.plot(
                    path["x"],
                    path["y"],
                    color="0.55" if name == "plain" else COLORS[name],  # broad and grey, to be seen where both coincide
                    marker="o" if len(path) < 150 else None,
                    markersize=3 if name == "plain" else 1.5,
                    linewidth=2.2 if name == "plain" else 0.9,
                    label=f"{LABELS[name]}: {steps}, $\\eta$ = {metrics['drawn_step_size']:.2g}",
                )
            axes.plot(*paths["plain"][["x", "y"]].iloc[0], "s", color=BLACK, markersize=4)
            axes.plot(*MINIMISERS[function], "*", color=ORANGE, markersize=10, markeredgecolor=BLACK)
            axes.set_title(f"{STEP_RULES[step_rule]}, {LABELS[method]}")
            axes.set(xlim=(left, right), ylim=(bottom, top), xlabel="x", ylabel="y")
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14))
    return figure


REGIMES = [(function, step_rule) for function in MINIMISERS for step_rule in STEP_RULES]

ORDER = [*(method for method in METHODS if method != "plain"), "plain"]

LINES = {
    "plain": (0, (3, 2)),
    "original": "-",
    "loss_weighted": "-",
    "normalized": ":",
    "normalized_loss_weighted": ":",
}
"""Line styles. Plain descent is dashed and drawn last, so that it shows where another method does the same."""


def _title(function: str, step_rule: str) -> str:
    return f"{function.capitalize()}, {STEP_RULES[step_rule]}"


def steps_by_step_size(runs: Runs) -> plt.Figure:
    """Steps against the step size, median and quartiles over the starts, and below them the share that arrives."""
    findings = Findings(runs)
    figure, grid = plt.subplots(
        4, 3, figsize=(WIDTH, 6.8), sharex=True, sharey="row", height_ratios=[3, 1.1, 3, 1.1], squeeze=False
    )
    for number, (function, step_rule) in enumerate(REGIMES):
        row, column = divmod(number, 3)
        above, below = grid[2 * row, column], grid[2 * row + 1, column]
        sweep = findings.sweep(function, step_rule)
        for method in ORDER:
            steps, color = sweep.quartiles(method), COLORS[method]
            style = {"color": color, "linestyle": LINES[method], "linewidth": 1.6 if method == "plain" else 1.0}
            above.loglog(steps["step_size"], steps["steps_median"], label=LABELS[method], **style)
            if method in ("plain", "original", "loss_weighted"):
                low, high = steps["steps_low"], steps["steps_high"]
                above.fill_between(steps["step_size"], low, high, color=color, alpha=0.13, linewidth=0)
            below.semilogx(steps["step_size"], steps["arrived"], **style)
        above.axhline(sweep.limit, color="0.6", linestyle=":", linewidth=0.8)
        above.set_title(_title(function, step_rule), fontsize=7)
        below.set_ylim(-0.05, 1.05)
    for row in (0, 2):
        grid[row, 0].set_ylabel("steps to the minimum")
        grid[row + 1, 0].set_ylabel("share\narriving")
    for axes, label in zip(grid[-1], ("step size", "upper bound of the step", "upper bound of the step"), strict=True):
        axes.set_xlabel(label)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5)
    return figure


def arrivals(runs: Runs) -> plt.Figure:
    """Share of the starts that have arrived by a number of steps, each method at its best settings (a data profile)."""
    findings = Findings(runs)
    figure, grid = plt.subplots(2, 3, figsize=(WIDTH, 4.2), sharey=True, sharex="row")
    for axes, (function, step_rule) in zip(grid.flat, REGIMES, strict=True):
        sweep = findings.sweep(function, step_rule)
        for method in ORDER:
            codes = sweep.chosen(method, "expected", "own", "best", len(sweep.halves)).codes
            steps = np.sort(counted(codes, sweep.limit)[codes >= 0])
            shares = np.arange(1, len(steps) + 1) / len(codes)
            style = {
                "color": COLORS[method],
                "linestyle": LINES[method],
                "linewidth": 1.6 if method == "plain" else 1.1,
            }
            axes.step([*steps, sweep.limit], [*shares, shares[-1] if len(shares) else 0], where="post", **style)
            axes.plot([], [], label=LABELS[method], **style)
        axes.set(xscale="log", ylim=(0, 1.03))
        axes.set_title(_title(function, step_rule), fontsize=7)
    for axes in grid[:, 0]:
        axes.set_ylabel("share arrived")
    for axes in grid[-1]:
        axes.set_xlabel("steps")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5)
    return figure


def descent_plane(runs: Runs) -> plt.Figure:
    """Expected steps by exponent and sharpness, at the best fixed step, over plain descent's; and with steps by component."""
    findings = Findings(runs)
    figure, grid = plt.subplots(1, 3, figsize=(WIDTH, 2.9), width_ratios=[1, 1, 0.8])
    betas = sorted(runs.section.betas)
    for axes, function in zip(grid, MINIMISERS, strict=False):
        plain = findings.sweep(function, "fixed").scores("plain", "expected", "own", 0.0)
        plane = [
            [ratio_over_halves(findings.plane(function, size, beta), plain).value for beta in betas]
            for size in findings.plane_sizes
        ]
        image = axes.imshow(plane, norm=LogNorm(0.25, 4), cmap="RdBu_r", aspect="auto", origin="lower")
        for row, values in enumerate(plane):
            for column, value in enumerate(values):
                shown = f"{value:.2f}" if value < 10 else "never" if np.isinf(value) else f"{value:.0f}"
                color = "white" if not 0.36 < value < 2.8 else "black"
                axes.text(column, row, shown, ha="center", va="center", fontsize=5.5, color=color)
        axes.set_xticks(range(len(betas)), [f"{beta:g}" for beta in betas], fontsize=6)
        axes.set_yticks(range(len(plane)), [f"{size:g}" for size in findings.plane_sizes], fontsize=6)
        axes.set(title=f"{function.capitalize()}, fixed step", xlabel="sharpness of the rate, $\\beta$")
    grid[0].set_ylabel("exponent of the loss, $\\gamma$")
    bar = figure.colorbar(image, ax=list(grid[:2]), location="bottom", shrink=0.6, aspect=40)
    bar.set_ticks([0.25, 0.5, 1.0, 2.0, 4.0], labels=["0.25", "0.5", "1", "2", "4"])
    bar.ax.minorticks_off()
    bar.set_label("expected steps over plain descent's")
    _component_steps(grid[2], findings)
    return figure


def _component_steps(axes: Axes, findings: Findings) -> None:
    """Expected steps over plain descent's, of SoftAdapt and of a constant step size for every component."""
    labels: dict[str, tuple[str, str | float]] = {
        "original": ("original, best $\\beta$", "best"),
        "loss_weighted": (f"loss-weighted,\n$\\beta$ = {DEFAULT_BETA:g}", DEFAULT_BETA),
        COMPONENTWISE: ("plain, a step\nper component", 0.0),
    }
    for function, marker, color in zip(MINIMISERS, "oD", (BLUE, VERMILION), strict=True):
        sweep = findings.sweep(function, "fixed")
        count = sweep.starts_of(COMPONENTWISE)
        plain = sweep.scores("plain", "expected", "own", 0.0, count)
        values = [
            ratio_over_halves(sweep.scores(method, "expected", "own", beta, count), plain).value
            for method, (_, beta) in labels.items()
        ]
        axes.plot(values, range(len(values)), marker, color=color, label=function.capitalize(), markersize=5)
    axes.axvline(1.0, color="0.3", linestyle=":", linewidth=0.8)
    axes.set_yticks(range(len(labels)), [label for label, _ in labels.values()], fontsize=6)
    axes.set(xscale="log", ylim=(len(labels) - 0.5, -0.5), xlabel="expected steps\nover plain descent's")
    axes.legend(loc="lower left", bbox_to_anchor=(-0.1, 1.0), ncols=2, columnspacing=1, handletextpad=0)


def descent_specifications(runs: Runs) -> plt.Figure:
    """Specification curves of the headline claims."""
    return specification_curves(runs.settings, "gradient_descent")
