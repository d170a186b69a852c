"""Figures of IntroVAE: faces by epoch (Figures 3 and 4), the course of training, samples from the prior."""

import pandas as pd

from experiments.analysis import reading
from experiments.analysis.style import BLUE, GREEN, ORANGE, PURPLE, VERMILION, WIDTH, band, plt, save, show_images
from experiments.config import Settings

COLORS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE)


def introvae(settings: Settings) -> None:
    """Draw all figures of the experiment."""
    folder = reading.figures(settings)
    history = reading.histories(settings, "introvae")
    save(_faces(settings, "train"), folder, "figure_3_train_faces")
    save(_faces(settings, "held_out"), folder, "figure_4_held_out_faces")
    save(_quality(settings, history), folder, "introvae_quality")
    save(_course(settings, history), folder, "introvae_course")
    save(_prior(settings), folder, "prior_samples")


def _faces(settings: Settings, part: str) -> plt.Figure:
    """The same faces, original and by method and epoch, from the first seed."""
    seed, epochs = settings.introvae.seeds[0], settings.introvae.report_epochs
    runs = {m: reading.FinishedRun(settings, "introvae", m, seed).samples for m in settings.introvae.methods}
    rows = [("original", next(iter(runs.values()))[f"{part}_originals"])]
    for method, samples in runs.items():
        rows += [
            (f"{method}, epoch {e}", samples[f"{part}_epoch_{e}"]) for e in epochs if f"{part}_epoch_{e}" in samples
        ]
    figure, panels = plt.subplots(len(rows), 1, figsize=(WIDTH, 0.78 * len(rows)))
    for axes, (label, images) in zip(panels, rows, strict=True):
        show_images(axes, images, label)
    return figure


def _quality(settings: Settings, history: pd.DataFrame) -> plt.Figure:
    """PSNR and SSIM at the report epochs, training and held-out images."""
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 2.6))
    for axes, (measure, label) in zip(panels, [("psnr", "PSNR, dB"), ("ssim", "SSIM")], strict=True):
        for color, method in zip(COLORS, settings.introvae.methods, strict=False):
            for part, linestyle in (("train", "-"), ("held_out", "--")):
                rows = history[history["method"] == method].dropna(subset=f"{part}_{measure}")
                table = rows.pivot_table(index="seed", columns="epoch", values=f"{part}_{measure}")
                name = method if part == "train" else ""
                band(axes, table.columns.to_numpy(), table.to_numpy(), color, name, linestyle)
        axes.set(xlabel="epoch", ylabel=label)
    panels[0].legend(title="solid: training, dashed: held-out people", title_fontsize=7)
    return figure


def _course(settings: Settings, history: pd.DataFrame) -> plt.Figure:
    """What the paper does not show: the weights and the KL terms by epoch."""
    panels = [
        ("kl_real", "KL of real images, nats"),
        ("kl_sampled", "KL of sampled images, nats"),
        ("reconstruction", "scaled $L_{AE}$"),
        ("encoder_weight_kl_real", "weight of KL in $L_E$, share"),
        ("encoder_weight_margin_fake", "weight of margin in $L_E$, share"),
        ("encoder_weight_reconstruction", "weight of $L_{AE}$ in $L_E$, share"),
    ]
    weights = [name for name, _ in panels if name.startswith("encoder_weight")]
    shares = history.assign(**{name: history[name] / history[weights].sum(axis=1) for name in weights})
    figure, grid = plt.subplots(2, 3, figsize=(WIDTH, 4.2), sharex=True)
    for axes, (column, label) in zip(grid.flat, panels, strict=True):
        for color, method in zip(COLORS, settings.introvae.methods, strict=False):
            rows = shares[shares["method"] == method].dropna(subset=column)
            table = rows.pivot_table(index="seed", columns="epoch", values=column).dropna(axis=1)
            band(axes, table.columns.to_numpy(), table.to_numpy(), color, method)
        axes.set_ylabel(label)
        axes.set_yscale("log" if column == "reconstruction" else "linear")
    for axes in grid[-1]:
        axes.set_xlabel("epoch")
    grid[0, 0].legend()
    return figure


def _prior(settings: Settings) -> plt.Figure:
    """Images decoded from the same sixteen draws of the prior, one row per method, from the first seed."""
    methods = list(settings.introvae.methods)
    figure, panels = plt.subplots(len(methods), 1, figsize=(WIDTH, 0.55 * len(methods)), squeeze=False)
    for axes, method in zip(panels.flat, methods, strict=True):
        run = reading.FinishedRun(settings, "introvae", method, settings.introvae.seeds[0])
        show_images(axes, run.samples["prior"], method)
    return figure
