"""Figures of IntroVAE: faces by epoch (Figures 3 and 4), the course of training, samples from the prior."""

from itertools import product
from textwrap import fill

import numpy as np
import pandas as pd

from experiments.evidence.reading import Runs
from experiments.evidence.style import BLACK, BLUE, VERMILION, WIDTH, band, plt, show_images
from experiments.introvae.findings import Findings

SHOWN_FACES = 6
"""Faces of Figures 3 and 4, of the eight that a run keeps."""

SHOWN_SHARE = 0.99
"""Axes of `introvae_course` run from the quantile 1 - SHOWN_SHARE to this one, over all epochs and runs."""

LARGEST_FACE = 0.65
"""Inches; at 200 dots an inch, twice the pixels of a 64 px face."""


def _titled(figure: plt.Figure, runs: Runs) -> plt.Figure:
    """The figure, with the scale's label as its title if it has one. The label is plain text, not a formula."""
    if runs.settings.label:
        figure.suptitle(runs.settings.label, fontsize=8, parse_math=False)
    return figure


def figure_3_train_faces(runs: Runs) -> plt.Figure:
    """Figure 3."""
    return _faces(runs, "train")


def figure_4_held_out_faces(runs: Runs) -> plt.Figure:
    """Figure 4."""
    return _faces(runs, "held_out")


def _faces(runs: Runs, part: str) -> plt.Figure:
    """The same six faces, original and by epoch, a block per method, from the first seed."""
    seed, epochs = runs.section.seeds[0], runs.section.report_epochs
    methods = list(runs.section.methods)
    columns = min(2, len(methods))
    blocks = -(-len(methods) // columns)
    side = min(LARGEST_FACE, (WIDTH / columns - 0.7) / SHOWN_FACES)  # 0.7 inches are for the labels
    figure = plt.figure(figsize=(WIDTH, blocks * (0.35 + (side + 0.08) * (1 + len(epochs)))))
    for block, method in zip(figure.subfigures(blocks, columns, squeeze=False).flat, methods, strict=False):
        samples = runs.folder(method, seed).samples
        rows = [("original", samples[f"{part}_originals"])]
        rows += [(f"epoch {e}", samples[f"{part}_epoch_{e}"]) for e in epochs if f"{part}_epoch_{e}" in samples]
        block.suptitle(method, fontsize=8)
        for axes, (label, images) in zip(block.subplots(len(rows), 1, squeeze=False).flat, rows, strict=True):
            show_images(axes, images[:SHOWN_FACES], label)
    return _titled(figure, runs)


def introvae_quality(runs: Runs) -> plt.Figure:
    """PSNR, SSIM and pooled NIQE of reconstructions and the distance of samples, a row per method."""
    history = Findings(runs).rows
    methods, first, last = list(runs.section.methods), runs.section.report_epochs[0], runs.section.report_epochs[-1]
    parts = [("train", "training", BLUE), ("held_out", "held out", VERMILION)]
    panels = [
        (label, [(f"{part}_{measure}", *look) for part, *look in parts])
        for measure, label in (("psnr", "PSNR, dB"), ("ssim", "SSIM"), ("niqe", "pooled NIQE\n(low is good)"))
    ]
    panels.append(("distance of samples\n(low is good)", [("prior_swd", "samples", BLACK)]))
    panels = [(label, marks) for label, marks in panels if marks[0][0] in history]
    size = (WIDTH, 1.0 + 0.3 * len(methods))
    figure, grid = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False)
    for axes, (label, marks) in zip(grid.flat, panels, strict=True):
        for (row, method), (place, mark) in product(enumerate(methods), enumerate(marks)):
            column, name, color = mark
            values = _by_seed(history, method, column, runs.section.seeds)
            height = row + 0.3 * (place - (len(marks) - 1) / 2)
            if first in values and last in values:
                axes.plot(values[[first, last]].mean(), [height, height], color=color, linewidth=0.6, alpha=0.6)
            if last in values:
                axes.plot(values[last], [height] * len(values), "o", color=color, ms=2.5, label=name)
        axes.set(xlabel=label, ylim=(len(methods) - 0.5, -0.5), yticks=range(len(methods)), yticklabels=methods)
    handles = [handle for axes in (grid.flat[0], grid.flat[-1]) for handle in axes.get_legend_handles_labels()[0]]
    named = {handle.get_label(): handle for handle in handles}
    figure.legend(named.values(), named, loc="outside lower center", ncols=3)
    return _titled(figure, runs)


def _by_seed(history: pd.DataFrame, method: str, column: str, seeds: list[int]) -> pd.DataFrame:
    """Values by seed (rows) and epoch (columns), for the epochs that every seed has."""
    rows = history[history["method"] == method]
    return rows.pivot_table(index="seed", columns="epoch", values=column).reindex(seeds).dropna(axis=1)


def _courses(runs: Runs) -> pd.DataFrame:
    """All epochs of all runs, with the columns method and seed."""
    section = runs.section
    histories = {
        (method, seed): runs.folder(method, seed).history for method in section.methods for seed in section.seeds
    }
    return pd.concat(histories, names=["method", "seed"]).reset_index(["method", "seed"])


def introvae_course(runs: Runs) -> plt.Figure:
    """The game, the error and the weights by epoch, none of which the paper shows: a row per method."""
    history = _courses(runs)
    history["gap"] = history["kl_sampled"] - history["kl_real"]
    for network in ("encoder", "generator"):
        weights = history.filter(regex=f"^{network}_weight_")
        history[f"{network}_share"] = weights[f"{network}_weight_reconstruction"] / weights.sum(axis=1)
    panels = [
        ("kl_real", "KL of real\nimages, nats"),
        ("gap", "KL of samples\nless real, nats"),
        ("beyond_margin_share", "share beyond\nthe margin"),
        ("reconstruction", "scaled $L_{AE}$"),
        ("encoder_share", "weight of $L_{AE}$\nin $L_E$, share"),
        ("generator_share", "weight of $L_{AE}$\nin $L_G$, share"),
    ]
    panels = [panel for panel in panels if panel[0] in history]
    methods, seeds = list(runs.section.methods), runs.section.seeds
    size = (WIDTH, 0.8 + 0.75 * len(methods))
    figure, grid = plt.subplots(len(methods), len(panels), figsize=size, sharex=True, sharey="col", squeeze=False)
    for cells, method in zip(grid, methods, strict=True):
        for axes, (column, _) in zip(cells, panels, strict=True):
            if method != methods[0]:
                reference = _by_seed(history, methods[0], column, seeds)
                axes.plot(reference.columns, reference.mean(), color=BLACK, linewidth=0.5)
            table = _by_seed(history, method, column, seeds)
            band(axes, table.columns.to_numpy(), table.to_numpy(), BLUE, "")
            axes.tick_params(labelsize=6)
        cells[0].set_ylabel(fill(method, 14), rotation=0, ha="right", va="center", fontsize=7)
    for top, bottom, (column, label) in zip(grid[0], grid[-1], panels, strict=True):
        top.set_title(label, fontsize=7)
        top.set_ylim(*((0, 1) if "share" in column else _shown_range(history[column])))
        bottom.set_xlabel("epoch")
    return _titled(figure, runs)


def _shown_range(values: pd.Series) -> tuple[float | None, float | None]:
    """Limits of an axis that leave out the outermost values, so that one run does not hide the others."""
    low, high = values[np.isfinite(values)].quantile([1 - SHOWN_SHARE, SHOWN_SHARE])
    return (low, high) if low < high else (None, None)


def prior_samples(runs: Runs) -> plt.Figure:
    """Images decoded from the same sixteen draws of the prior, two rows of eight per method, from the first seed."""
    methods = list(runs.section.methods)
    figure, panels = plt.subplots(
        len(methods), 1, figsize=(WIDTH, 0.2 + 2 * LARGEST_FACE * len(methods)), squeeze=False
    )
    for axes, method in zip(panels.flat, methods, strict=True):
        run = runs.folder(method, runs.section.seeds[0])
        last = max((name for name in run.samples if name.startswith("prior_epoch_")), key=_epoch, default=None)
        if last is not None:
            samples = run.samples[last]
            rows = min(2, len(samples))
            of_equal_length = np.split(samples[: len(samples) // rows * rows], rows)
            show_images(axes, np.concatenate(of_equal_length, axis=2), method)
        else:
            axes.set(xticks=[], yticks=[], ylabel=method)
    return _titled(figure, runs)


def _epoch(name: str) -> int:
    """The epoch in the name of a sample."""
    return int(name.rsplit("_", 1)[1])
