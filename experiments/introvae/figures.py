"""Figures of IntroVAE: faces by epoch (Figures 3 and 4), the course of training, samples from the prior."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from experiments.evidence.reading import Runs
from experiments.evidence.style import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    WIDTH,
    YELLOW,
    band,
    plt,
    show_images,
)
from experiments.introvae.findings import Findings

SHOWN_FACES = 6
"""Faces of Figures 3 and 4, of the eight that a run keeps."""

LARGEST_FACE = 0.65
"""Inches; at 200 dots an inch, twice the pixels of a 64 px face."""


def _colors(methods: Iterable[str]) -> dict[str, Any]:
    """A colour per method: eight for the colour-blind, or as many steps of a sequential map as needed."""
    names = list(methods)
    few = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, BLACK, YELLOW)
    many = plt.get_cmap("cividis")(np.linspace(0, 1, len(names)))
    return dict(zip(names, few if len(names) <= len(few) else many, strict=False))


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
    """PSNR, SSIM and pooled NIQE at the report epochs, training and held-out images."""
    history = Findings(runs).rows
    measures = [("psnr", "PSNR, dB"), ("ssim", "SSIM"), ("niqe", "pooled NIQE (lower is better)")]
    figure, panels = plt.subplots(1, 3, figsize=(WIDTH, 3.0))
    for axes, (measure, label) in zip(panels, measures, strict=True):
        for method, color in _colors(runs.section.methods).items():
            for part, linestyle in (("train", "-"), ("held_out", "--")):
                table = _by_seed(history, method, f"{part}_{measure}", runs.section.seeds)
                name = method if part == "train" else ""
                band(axes, table.columns.to_numpy(), table.to_numpy(), color, name, linestyle)
        axes.set(xlabel="epoch", ylabel=label)
    handles, labels = panels[0].get_legend_handles_labels()
    title = "solid: training, dashed: held out"
    figure.legend(handles, labels, loc="outside lower center", ncols=4, title=title, title_fontsize=7)
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
    """The KL terms, the error and the weights by epoch, none of which the paper shows."""
    history = _courses(runs)
    history["gap"] = history["kl_sampled"] - history["kl_real"]
    panels = [
        ("kl_real", "KL of real images, nats"),
        ("gap", "KL, samples less real"),
        ("reconstruction", "scaled $L_{AE}$"),
        ("beyond_margin_share", "share beyond the margin"),
        ("gradient_norm_encoder", "gradient norm, encoder"),
    ]
    for network, loss in (("encoder", "L_E"), ("generator", "L_G")):
        weights = [name for name in history if name.startswith(f"{network}_weight_")]
        history[weights] = history[weights].div(history[weights].sum(axis=1), axis=0)
        # The last share is what the others leave.
        panels += [(name, f"${loss}$: share of {name.removeprefix(f'{network}_weight_')}") for name in weights[:-1]]
    panels = [panel for panel in panels if panel[0] in history]
    figure, grid = plt.subplots(-(-len(panels) // 3), 3, figsize=(WIDTH, 5.8), sharex=True)
    for axes, (column, label) in zip(grid.flat, panels, strict=False):
        for method, color in _colors(runs.section.methods).items():
            table = _by_seed(history, method, column, runs.section.seeds)
            band(axes, table.columns.to_numpy(), table.to_numpy(), color, method)
        axes.set_ylabel(label)
        axes.set_yscale("log" if column in ("reconstruction", "gradient_norm_encoder") else "linear")
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    for axes in grid[-1]:
        axes.set_xlabel("epoch")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return _titled(figure, runs)


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
    return _titled(figure, runs)


def _epoch(name: str) -> int:
    """The epoch in the name of a sample."""
    return int(name.rsplit("_", 1)[1])
