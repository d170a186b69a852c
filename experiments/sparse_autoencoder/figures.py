"""Figures of the sparse autoencoder: losses by epoch, digits by epoch, and the frontier that fixed lambdas draw."""

import numpy as np
import pandas as pd

from experiments.evidence.reading import Runs
from experiments.evidence.statistics import mean_over_seeds
from experiments.evidence.style import BLACK, BLUE, GREEN, VERMILION, WIDTH, band, plt, show_images
from experiments.evidence.summaries import failed_runs
from experiments.sparse_autoencoder.findings import SOFTADAPT, SOFTADAPT_MEAN, Findings, group_of, value_of
from experiments.sparse_autoencoder.settings import SparseAutoencoderSettings, fixed_lambda

COLORS = {SOFTADAPT: VERMILION, SOFTADAPT_MEAN: GREEN}
GROUP_COLORS = {"SoftAdapt": VERMILION, "rival": BLUE, "other rules named SoftAdapt": GREEN}
GROUP_MARKERS = {"SoftAdapt": "D", "rival": "o", "other rules named SoftAdapt": "s"}


def _name(method: str, tuned: str) -> str:
    if method == tuned:
        return f"tuned {_lambda(tuned)}"
    return {SOFTADAPT: "SoftAdapt", SOFTADAPT_MEAN: "SoftAdapt, mean error"}[method]


def _lambda(method: str) -> str:
    return f"$\\lambda$ = {value_of(method):g}"


def figure_5_autoencoder_losses(runs: Runs) -> plt.Figure:
    """Figure 5: the same three measures for every method, training (solid) and validation (dashed)."""
    figure, panels = plt.subplots(1, 3, figsize=(WIDTH, 2.9))
    tuned = Findings(runs).tuned_lambda
    value = value_of(tuned)
    colors = {tuned: BLUE} | COLORS
    courses = {method: _courses(runs, method) for method in colors}
    for axes, (title, key) in zip(
        panels,
        [("mean squared error per pixel", "mse"), ("L1 norm of the code", "l1"), (f"loss at {_lambda(tuned)}", "loss")],
        strict=True,
    ):
        for method, color in colors.items():
            rows = courses[method]
            for part, linestyle in (("train", "-"), ("validation", "--")):
                values = rows[f"{part}_mse"] + value * rows[f"{part}_l1"] if key == "loss" else rows[f"{part}_{key}"]
                table = rows.assign(shown=values).pivot_table(index="seed", columns="epoch", values="shown")
                table = table.reindex(runs.section.seeds).dropna(axis=1)  # epochs that every seed has
                label = _name(method, tuned) if part == "train" else ""
                band(axes, table.columns.to_numpy(), table.to_numpy(), color, label, linestyle)
        axes.set(xlabel="epoch", ylabel=title, yscale="symlog" if key == "l1" else "log")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, title="solid: training, dashed: validation")
    return figure


def _courses(runs: Runs, method: str) -> pd.DataFrame:
    """All epochs of a method's runs, with the column seed."""
    parts = [runs.folder(method, seed).history.assign(seed=seed) for seed in runs.section.seeds]
    return pd.concat(parts, ignore_index=True)


def figure_6_digits(runs: Runs) -> plt.Figure:
    """Figure 6: the same test digits by epoch, from the first seed."""
    tuned, seed, epochs = Findings(runs).tuned_lambda, runs.section.seeds[0], runs.section.report_epochs
    methods = [tuned, SOFTADAPT, SOFTADAPT_MEAN]
    samples = {m: runs.folder(m, seed).samples for m in methods}
    figure, panels = plt.subplots(1 + len(epochs) * len(methods), 1, figsize=(4.2, 0.42 * (1 + len(epochs) * 3)))
    rows = [("original", samples[tuned]["originals"])]
    blank = np.full_like(samples[tuned]["originals"], np.nan)  # a run that diverged has no digits of later epochs
    rows += [(f"{_name(m, tuned)}, epoch {e}", samples[m].get(f"epoch_{e}", blank)) for m in methods for e in epochs]
    for axes, (label, flat) in zip(panels, rows, strict=True):
        show_images(axes, flat.reshape(-1, 1, 28, 28), label)
    return figure


def sparsity_frontier(runs: Runs) -> plt.Figure:
    """Every method at the end of training: on the planes of sparsity and error or PCC, and beside the fixed lambdas."""
    findings = Findings(runs)
    methods, means = list(runs.section.methods), findings.final_means
    figure = plt.figure(figsize=(WIDTH, 5.6))
    grid = figure.add_gridspec(2, 2, width_ratios=[1, 0.85])
    planes = [figure.add_subplot(grid[row, 0]) for row in (0, 1)]
    for axes, column in zip(planes, ["test_mse", "test_pcc"], strict=True):
        _plane(axes, runs.section, means, methods, column)
    planes[0].set(ylabel="test mean squared error per pixel", yscale="log")
    planes[1].set(ylabel="PCC, % of test digits", xlabel="L1 norm of the code (less is sparser)")
    _beside(figure.add_subplot(grid[:, 1]), findings, methods)
    handles, labels = planes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def _plane(
    axes: plt.Axes, settings: SparseAutoencoderSettings, means: pd.DataFrame, methods: list[str], column: str
) -> None:
    """The line through the fixed lambdas, and the other methods by number."""
    line = means.loc[[fixed_lambda(value) for value in sorted(settings.lambdas)]]
    axes.plot(line["test_l1"], line[column], color=BLACK, marker=".", label="fixed $\\lambda$ (grid)", zorder=1)
    for group, color in GROUP_COLORS.items():
        members = [method for method in methods if group_of(method) == group]
        if members:
            rows = means.loc[members]
            axes.plot(rows["test_l1"], rows[column], GROUP_MARKERS[group], color=color, markersize=4, label=group)
        for method in members:
            place = means.loc[method, ["test_l1", column]]
            if place.isna().any():  # a run of it diverged
                continue
            number = str(methods.index(method) + 1)
            axes.annotate(number, place, (3, 2), textcoords="offset points", fontsize=6, color=color)
    axes.set_xscale("symlog", linthresh=1)


def _beside(axes: plt.Axes, findings: Findings, methods: list[str]) -> None:
    """Error of every method over that of the frontier at its sparsity, with intervals."""
    places = findings.beside_the_frontier
    for row, method in enumerate(methods):
        ratios = places[places["method"] == method]["error_ratio"]
        color = GROUP_COLORS[group_of(method)]
        if ratios.isna().any():
            place = axes.get_yaxis_transform()
            failed = failed_runs(findings.rows, method)
            text = f"{failed} of {len(ratios)} runs diverged" if failed else "beyond the grid"
            axes.text(0.5, row, text, ha="center", va="center", fontsize=6, color=color, transform=place)
            continue
        estimate = mean_over_seeds(ratios.to_numpy())
        axes.plot([estimate.low, estimate.high], [row, row], color=color)
        axes.plot(estimate.value, row, GROUP_MARKERS[group_of(method)], color=color, markersize=4)
    axes.axvline(1.0, color=BLACK, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(methods)), [f"{method}  {row + 1}" for row, method in enumerate(methods)], fontsize=6)
    axes.invert_yaxis()
    axes.set(xlabel="error over the frontier's at equal L1\n(left of 1 is better)")
