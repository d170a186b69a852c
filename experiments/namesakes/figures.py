"""Figure of the rules called SoftAdapt: how often two of them put different components first, and what each weighs."""

import pandas as pd
from matplotlib.axes import Axes

from experiments.evidence.reading import Runs
from experiments.evidence.style import BLACK, BLUE, VERMILION, WIDTH, plt
from experiments.namesakes.findings import Findings
from experiments.namesakes.settings import REFERENCE


def namesakes(runs: Runs) -> plt.Figure:
    """How often two rules order two losses differently, and what each rule weighs."""
    findings = Findings(runs)
    figure = plt.figure(figsize=(WIDTH, 6.0))
    grid = figure.add_gridspec(2, 1, height_ratios=(1.35, 1))
    above, below = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
    matrices = above.subplots(1, 2, sharey=True)
    counts = findings.counts
    _matrix(matrices[0], findings.disagreement("random"), f"{counts['histories']:,} random histories")
    recorded = f"{counts['recorded_steps']} steps of an autoencoder"
    image = _matrix(matrices[1], findings.disagreement("recorded"), recorded)
    above.colorbar(image, ax=matrices, label="ordered differently, %", shrink=0.8)
    _named(below, findings.named)
    return figure


def _matrix(axes: Axes, table: pd.DataFrame, title: str) -> plt.cm.ScalarMappable:
    """Pairs of rules, each with the share that they order differently, in percent."""
    percent = 100 * table.to_numpy()
    image = axes.imshow(percent, vmin=0, vmax=100, cmap="cividis_r")
    for row, values in enumerate(percent):
        for column, value in enumerate(values):
            text = "" if row == column else f"{value:.0f}" if value == 0 or value >= 1 else "<1"
            axes.text(column, row, text, ha="center", va="center", size=6.5, color="w" if value > 50 else BLACK)
    axes.set_xticks(range(len(table)), table.columns, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(table)), table.index)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(title)
    return image


def _named(figure: plt.FigureBase, table: pd.DataFrame) -> None:
    """First component's share of the weights: filled where the paper's equation 4 has the same order, else open."""
    panels = figure.subplots(1, table.shape[1], sharey=True, squeeze=False)[0]
    positions = range(len(table))
    for axes, (history, shares) in zip(panels, table.items(), strict=True):
        axes.axvline(0.5, color="0.6", linewidth=0.8)
        axes.hlines(positions, 0.5, shares, color="0.8", linewidth=1)
        as_paper = ((shares - 0.5) * (shares[REFERENCE] - 0.5) > 0).to_numpy()
        for position, share, same in zip(positions, shares, as_paper, strict=True):
            color = BLUE if same else VERMILION
            axes.plot(share, position, "o", color=color, markerfacecolor=color if same else "w", markersize=4)
        axes.set(xlim=(-0.05, 1.05), xticks=[0, 0.5, 1], title=str(history).replace(", ", ",\n", 1))
        axes.set_xticklabels(["0", "½", "1"])
    panels[0].set_yticks(positions, table.index)
    panels[0].invert_yaxis()
    panels[len(panels) // 2].set_xlabel("share of the weight that the first component gets")
    handles = [
        plt.Line2D([], [], color=BLUE, marker="o", linestyle="", markersize=4),
        plt.Line2D([], [], color=VERMILION, marker="o", markerfacecolor="w", linestyle="", markersize=4),
    ]
    labels = ["same order as equation 4", "the other component first, or none"]
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
