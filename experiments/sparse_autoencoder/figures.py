"""Figures of the sparse autoencoder: Figures 5 and 6, the curve of fixed lambdas, and the controls that explain."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, LogLocator

from experiments.evidence.reading import Runs
from experiments.evidence.specification_curve import specification_curves
from experiments.evidence.statistics import NO_ESTIMATE, Estimate, NotRun, ratio_over_seeds
from experiments.evidence.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, VERMILION, WIDTH, band, plt, show_images
from experiments.evidence.summaries import failed_runs
from experiments.sparse_autoencoder.findings import (
    SOFTADAPT,
    YARDSTICKS,
    Findings,
    group_of,
    value_of,
)
from experiments.sparse_autoencoder.settings import LAMBDA, fixed_lambda, in_units, size_and_rate

SOFTADAPT_MEAN = f"{SOFTADAPT}-mean-error"

YOKED = f"{SOFTADAPT}-yoked"

GROUP_COLORS = {"SoftAdapt": VERMILION, "rival": BLUE, "other rules named SoftAdapt": GREEN}
GROUP_MARKERS = {"SoftAdapt": "D", "rival": "o", "other rules named SoftAdapt": "s"}


def _lambda(method: str) -> str:
    return f"$\\lambda$ = {value_of(method):g}"


def _shown(findings: Findings) -> dict[str, str]:
    """The methods of Figures 5 and 6, with their labels: SoftAdapt, and the two readings of the optimal lambda."""
    shown = {findings.tuned_lambda: f"{_lambda(findings.tuned_lambda)} (best PCC)"}
    try:
        at = float(findings.optimal_lambda("pcc_82_at_30", SOFTADAPT).mean())
    except NotRun:
        at = math.nan
    if not math.isnan(at):
        nearest = fixed_lambda(min((v for v in findings.lambdas() if v > 0), key=lambda v: abs(math.log(v) - at)))
        pcc = findings.final_means.loc[nearest, "test_pcc"]
        shown.setdefault(nearest, f"{_lambda(nearest)} (PCC {pcc:.0f})")
    shown[SOFTADAPT] = "SoftAdapt"
    if SOFTADAPT_MEAN in findings.methods:
        shown[SOFTADAPT_MEAN] = "SoftAdapt, mean error"
    return shown


def figure_5_autoencoder_losses(runs: Runs) -> plt.Figure:
    """Figure 5: error, sparsity by two measures, and the loss at the larger of the two lambdas shown."""
    findings = Findings(runs)
    shown = _shown(findings)
    lambdas = [value_of(method) for method in shown if method.startswith(LAMBDA)]
    value = max(lambdas)
    panels = {
        "mse": "mean squared error per pixel",
        "active_share": "share of active units",
        "l1": "L1 norm of the code",
        "loss": f"loss at $\\lambda$ = {value:g}",
    }
    figure, grid = plt.subplots(1, 4, figsize=(WIDTH, 2.5))
    colors = dict(
        zip(shown, (BLACK, BLUE, VERMILION, ORANGE) if len(lambdas) > 1 else (BLACK, VERMILION, ORANGE), strict=False)
    )
    courses = {method: _courses(runs, method) for method in shown}
    for axes, (key, title) in zip(grid, panels.items(), strict=True):
        for method, label in shown.items():
            rows = courses[method]
            for part, linestyle in (("train", "-"), ("validation", "--")):
                if f"{part}_{key}" not in rows and key != "loss":
                    continue
                values = rows[f"{part}_mse"] + value * rows[f"{part}_l1"] if key == "loss" else rows[f"{part}_{key}"]
                table = rows.assign(shown=values).pivot_table(index="seed", columns="epoch", values="shown")
                table = table.reindex(runs.section.seeds_of(method)).dropna(axis=1)  # epochs that every seed has
                named = label if part == "train" else ""
                band(axes, table.columns.to_numpy(), table.to_numpy(), colors[method], named, linestyle)
        axes.set(xlabel="epoch", yscale="symlog" if key == "l1" else "linear" if key == "active_share" else "log")
        axes.set_title(title, fontsize=7)
        axes.tick_params(labelsize=6)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, title="solid: training, dashed: validation")
    return figure


def _courses(runs: Runs, method: str) -> pd.DataFrame:
    """All epochs of a method's runs, with the column seed."""
    parts = [runs.folder(method, seed).history.assign(seed=seed) for seed in runs.section.seeds_of(method)]
    return pd.concat(parts, ignore_index=True)


def figure_6_digits(runs: Runs) -> plt.Figure:
    """Figure 6: the same test digits at the end of training, and SoftAdapt's at every report epoch; the first seed."""
    findings = Findings(runs)
    shown, seed, epochs = _shown(findings), runs.section.seeds[0], runs.section.report_epochs
    samples = {method: runs.folder(method, seed).samples for method in shown}
    blank = np.full_like(samples[SOFTADAPT]["originals"], np.nan)  # a run that diverged has no digits of later epochs
    rows = [("original", samples[SOFTADAPT]["originals"])]
    for method, label in shown.items():
        listed = epochs if method == SOFTADAPT else epochs[-1:]
        rows += [(f"{label}, epoch {epoch}", samples[method].get(f"epoch_{epoch}", blank)) for epoch in listed]
    figure, panels = plt.subplots(len(rows), 1, figsize=(4.6, 0.42 * len(rows)))
    for axes, (label, flat) in zip(panels, rows, strict=True):
        show_images(axes, flat.reshape(-1, 1, 28, 28), label)
    return figure


def sparsity_frontier(runs: Runs) -> plt.Figure:
    """Every rule at the end of training by two yardsticks of sparsity: one curve, and a zoo."""
    findings = Findings(runs)
    methods = [name for name, method in runs.section.methods.items() if not method.replays]
    means = findings.final_means
    figure = plt.figure(figsize=(WIDTH, 2.9 + 0.14 * len(methods)))
    grid = figure.add_gridspec(2, 2, height_ratios=[2.6, 0.14 * len(methods)])
    shared = None
    for column, yardstick in enumerate(("active_share", "l1")):
        above, below = figure.add_subplot(grid[0, column]), figure.add_subplot(grid[1, column], sharey=shared)
        shared = shared or below
        _plane(above, findings, means, methods, yardstick)
        _places(below, findings, methods, yardstick)
        below.tick_params(labelleft=column == 0)
        if column == 0:
            above.set_ylabel("test error per pixel")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def _plane(axes: Axes, findings: Findings, means: pd.DataFrame, methods: list[str], yardstick: str) -> None:
    """The curve through the fixed lambdas, and the rules; SoftAdapt is named."""
    column = f"test_{yardstick}"
    line = means.loc[[fixed_lambda(value) for value in findings.lambdas()]].sort_values(column)
    line = line[line["test_l1"] > 0.1]  # the others have hardly a unit alive
    axes.plot(line[column], line["test_mse"], color=BLACK, marker=".", label="fixed $\\lambda$ (grid)", zorder=1)
    for group, color in GROUP_COLORS.items():
        members = [method for method in methods if group_of(method) == group]
        rows = means.loc[members]
        rows = rows[rows[column] > line[column].min() / 3]
        if len(rows):
            marker = GROUP_MARKERS[group]
            axes.plot(rows[column], rows["test_mse"], marker, color=color, markersize=4, label=group, alpha=0.85)
    place = means.loc[SOFTADAPT, [column, "test_mse"]]
    if not place.isna().any():
        axes.annotate(
            "SoftAdapt", place, (0, -14), textcoords="offset points", fontsize=7, color=VERMILION, ha="center"
        )
    axes.set(xscale="log", yscale="log", xlabel=f"{YARDSTICKS[yardstick]} (less is sparser)")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.minorticks_off()
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")


def _places(axes: Axes, findings: Findings, methods: list[str], yardstick: str) -> None:
    """Error of every rule over that of fixed lambdas at equal sparsity, with intervals."""
    for row, method in enumerate(methods):
        color, marker = GROUP_COLORS[group_of(method)], GROUP_MARKERS[group_of(method)]
        estimate = ratio_over_seeds(findings.place(method, yardstick).to_numpy())
        if math.isnan(estimate.value):
            failed = failed_runs(findings.rows, method)
            text = f"runs diverged: {failed}" if failed else "beyond the grid"
            axes.text(
                0.98, row, text, ha="right", va="center", fontsize=5, color="0.5", transform=axes.get_yaxis_transform()
            )
            continue
        axes.plot([estimate.low, estimate.high], [row, row], color=color, linewidth=0.9)
        axes.plot(estimate.value, row, marker, color=color, markersize=3.5)
    axes.axvspan(1 / 1.05, 1.05, color="0.9", zorder=0)
    axes.axvline(1.0, color=BLACK, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(methods)), methods, fontsize=6)
    left, right = axes.get_xlim()
    axes.set(xscale="log", xlim=(min(0.6, left), max(1.7, right)), ylim=(len(methods) - 0.5, -0.5))
    axes.xaxis.set_major_locator(FixedLocator([0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.6, 2.0, 3.0, 5.0]))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.set_xlabel(f"error over fixed $\\lambda$ at equal\n{YARDSTICKS[yardstick]}", fontsize=7)


def schedule_or_adaptivity(runs: Runs) -> plt.Figure:
    """Errors at equal sparsity, by yardstick: SoftAdapt over fixed lambdas, replayed weights over SoftAdapt, over warm-ups."""
    findings = Findings(runs)
    compared: dict[str, Callable[..., Estimate | None]] = {"SoftAdapt over\nfixed $\\lambda$": findings.frontier}
    if YOKED in findings.methods:
        compared["replayed over\nSoftAdapt"] = partial(findings.frontier, ours=YOKED, theirs=SOFTADAPT)
    for epochs in sorted(runs.section.warm_ups):
        label = f"SoftAdapt over warm-up\nof {epochs} epochs"
        compared[label] = partial(findings.against_warm_up, warm_up=epochs)
    figure, axes = plt.subplots(figsize=(WIDTH, 0.55 * len(compared) + 1.1))
    colors = dict(zip(YARDSTICKS, (VERMILION, BLUE, GREEN, PURPLE), strict=True))
    for row, estimated in enumerate(compared.values()):
        for offset, (yardstick, color) in enumerate(colors.items()):
            place = row + 0.17 * (offset - 1.5)
            estimate = estimated(yardstick=yardstick) or NO_ESTIMATE
            axes.plot([estimate.low, estimate.high], [place, place], color=color)
            axes.plot(
                estimate.value, place, "o", color=color, markersize=4, label=YARDSTICKS[yardstick] if row == 0 else ""
            )
    axes.axvspan(1 / 1.05, 1.05, color="0.92", zorder=0)
    axes.axvline(1.0, color=BLACK, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(compared)), list(compared))
    axes.set(
        xscale="log",
        ylim=(len(compared) - 0.5, -0.5),
        xlabel="ratio of test errors at equal sparsity (left of 1: the first has less error)",
    )
    axes.set_xticks([0.7, 0.8, 0.9, 1.0, 1.1, 1.2], ["0.7", "0.8", "0.9", "1", "1.1", "1.2"])
    axes.minorticks_off()
    figure.legend(loc="outside lower center", ncols=4)
    return figure


def where_it_lands(runs: Runs) -> plt.Figure:
    """L1 norm that the fixed lambdas predict, and that SoftAdapt reaches, in other units and settings."""
    findings = Findings(runs)
    settings = ["main", *map(in_units, sorted(runs.section.unit_factors)), *runs.section.variants]
    figure, axes = plt.subplots(figsize=(3.6, 3.4))
    ends = []
    for setting in settings:
        try:
            estimate = findings.prediction(setting=setting)
        except NotRun:
            continue
        units = setting == "main" or setting.startswith("units-")
        ours = setting if setting.startswith("units-") else findings.trained(setting)[0]
        reached = float(findings.at(ours)["test_l1"].mean())
        if estimate is None or math.isnan(estimate.value):
            continue
        predicted = reached / estimate.value
        ends += [reached, predicted]
        axes.plot(predicted, reached, "o" if units else "D", color=BLUE if units else VERMILION, markersize=4.5)
        label = setting.replace("units-", "x ")
        offset, side = ((7, -6), "left") if units else ((-7, 2), "right")
        axes.annotate(label, (predicted, reached), offset, textcoords="offset points", fontsize=6, ha=side)
    low, high = (min(ends) / 1.5, max(ends) * 2.5) if ends else (1, 10)
    axes.plot([low, high], [low, high], color="0.5", linewidth=0.8)
    axes.fill_between([low, high], [low / 1.25, high / 1.25], [low * 1.25, high * 1.25], color="0.92", zorder=0)
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
    axes.set(
        xlabel="L1 norm predicted from fixed $\\lambda$: $\\lambda = f_2/f_1$", ylabel="L1 norm that SoftAdapt reaches"
    )
    axes.plot([], [], "o", color=BLUE, markersize=4.5, label="squared error times a factor")
    axes.plot([], [], "D", color=VERMILION, markersize=4.5, label="training settings")
    axes.legend(loc="upper left")
    return figure


def autoencoder_plane(runs: Runs) -> plt.Figure:
    """Final error, share of active units and PCC by exponent of the loss and sharpness of its rate."""
    findings, plane = Findings(runs), runs.section.plane
    columns = {"test_mse": "test error per pixel", "test_active_share": "share of active units", "test_pcc": "PCC, %"}
    figure, grid = plt.subplots(1, 3, figsize=(WIDTH, 2.5))
    for axes, (column, title) in zip(grid, columns.items(), strict=True):
        values = np.array(
            [
                [findings.final_means.loc[size_and_rate(size, rate), column] for rate in plane.rates]
                for size in plane.sizes
            ]
        ).astype(float)
        shown = np.log(values) if column == "test_mse" else values
        axes.imshow(shown, aspect="auto", origin="lower", cmap="cividis" if column != "test_mse" else "cividis_r")
        middle = (np.nanmin(shown) + np.nanmax(shown)) / 2
        for (row, place), value in np.ndenumerate(values):
            dark = (shown[row, place] < middle) != (column == "test_mse")
            text = f"{value:.3g}" if column != "test_pcc" else f"{value:.0f}"
            axes.text(place, row, text, ha="center", va="center", fontsize=6, color="white" if dark else "black")
        axes.set_xticks(range(len(plane.rates)), [f"{rate:g}" for rate in plane.rates])
        axes.set_yticks(range(len(plane.sizes)), [f"{size:g}" for size in plane.sizes])
        axes.set(title=title, xlabel="sharpness of the rate, $\\beta$")
    grid[0].set_ylabel("exponent of the loss, $\\gamma$")
    return figure


def autoencoder_specifications(runs: Runs) -> plt.Figure:
    """Specification curves of the headline claims."""
    return specification_curves(runs.settings, "sparse_autoencoder")
