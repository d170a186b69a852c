"""Figures of the sparse autoencoder: losses by epoch, digits by epoch, and the frontier that fixed lambdas draw."""

import pandas as pd

from experiments.analysis import autoencoder, reading
from experiments.analysis.style import BLACK, BLUE, GREEN, VERMILION, WIDTH, band, plt, save, show_images
from experiments.config import Settings

COLORS = {autoencoder.SOFTADAPT: VERMILION, autoencoder.SOFTADAPT_MEAN: GREEN}


def sparse_autoencoder(settings: Settings) -> None:
    """Draw all figures of the experiment."""
    folder = reading.figures(settings)
    history = reading.histories(settings, "sparse_autoencoder")
    tuned = autoencoder.tuned_lambda(settings, history)
    save(_losses(history, tuned), folder, "figure_5_autoencoder_losses")
    save(_digits(settings, tuned), folder, "figure_6_digits")
    save(_frontier(settings, history), folder, "sparsity_frontier")


def _name(method: str, tuned: str) -> str:
    if method == tuned:
        return f"tuned {_lambda(tuned)}"
    return {autoencoder.SOFTADAPT: "SoftAdapt", autoencoder.SOFTADAPT_MEAN: "SoftAdapt, mean error"}[method]


def _lambda(method: str) -> str:
    return f"$\\lambda$ = {float(method.removeprefix('lambda-')):g}"


def _losses(history: pd.DataFrame, tuned: str) -> plt.Figure:
    """Figure 5: the same three measures for every method, training (solid) and validation (dashed)."""
    figure, panels = plt.subplots(1, 3, figsize=(WIDTH, 2.9))
    value = float(tuned.removeprefix("lambda-"))
    colors = {tuned: BLUE} | COLORS
    for axes, (title, key) in zip(
        panels,
        [("mean squared error per pixel", "mse"), ("L1 norm of the code", "l1"), (f"loss at {_lambda(tuned)}", "loss")],
        strict=True,
    ):
        for method, color in colors.items():
            rows = history[history["method"] == method]
            for part, linestyle in (("train", "-"), ("validation", "--")):
                values = rows[f"{part}_mse"] + value * rows[f"{part}_l1"] if key == "loss" else rows[f"{part}_{key}"]
                table = rows.assign(shown=values).pivot_table(index="seed", columns="epoch", values="shown")
                label = _name(method, tuned) if part == "train" else ""
                band(axes, table.columns.to_numpy(), table.to_numpy(), color, label, linestyle)
        axes.set(xlabel="epoch", ylabel=title, yscale="symlog" if key == "l1" else "log")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, title="solid: training, dashed: validation")
    return figure


def _digits(settings: Settings, tuned: str) -> plt.Figure:
    """Figure 6: the same test digits by epoch, from the first seed."""
    seed = settings.sparse_autoencoder.seeds[0]
    epochs = settings.sparse_autoencoder.report_epochs
    methods = [tuned, autoencoder.SOFTADAPT, autoencoder.SOFTADAPT_MEAN]
    runs = {m: reading.FinishedRun(settings, "sparse_autoencoder", m, seed).samples for m in methods}
    figure, panels = plt.subplots(1 + len(epochs) * len(methods), 1, figsize=(4.2, 0.42 * (1 + len(epochs) * 3)))
    rows = [("original", runs[tuned]["originals"])]
    rows += [(f"{_name(m, tuned)}, epoch {e}", runs[m][f"epoch_{e}"]) for m in methods for e in epochs]
    for axes, (label, flat) in zip(panels, rows, strict=True):
        show_images(axes, flat.reshape(-1, 1, 28, 28), label)
    return figure


def _frontier(settings: Settings, history: pd.DataFrame) -> plt.Figure:
    """Final error and classification against sparsity: the line through the fixed lambdas, and SoftAdapt."""
    last = history[history["epoch"] == settings.sparse_autoencoder.epochs]
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 3.0))
    fixed = [f"lambda-{value:g}" for value in sorted(settings.sparse_autoencoder.lambdas)]
    means = last.groupby("method")[["test_l1", "test_mse", "test_pcc"]].mean()
    for axes, (column, label) in zip(
        panels,
        [("test_mse", "test mean squared error per pixel"), ("test_pcc", "PCC, % of test digits")],
        strict=True,
    ):
        line = means.loc[fixed]
        axes.plot(line["test_l1"], line[column], color=BLACK, marker="o", markersize=3, label="fixed $\\lambda$ (grid)")
        for index, method in enumerate(fixed):
            if means.loc[method, "test_l1"] > 0.5:
                offset = (3, 3) if index % 2 else (3, -9)
                value = f"{float(method.removeprefix('lambda-')):g}"
                axes.annotate(
                    value, means.loc[method, ["test_l1", column]], offset, textcoords="offset points", fontsize=6
                )
        for method, color in COLORS.items():
            rows = last[last["method"] == method]
            axes.plot(rows["test_l1"], rows[column], "D", color=color, markersize=4, label=_name(method, ""))
        axes.set(xlabel="L1 norm of the code (less is sparser)", ylabel=label)
        axes.set_xscale("symlog", linthresh=1)
    panels[0].set_yscale("log")
    panels[0].legend()
    return figure
