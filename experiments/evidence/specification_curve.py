"""Draw specification curves: the estimates of a claim in order, and below each the choices that it was made with."""

import math
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from experiments.evidence.specifications import Cell, Choice, Claim, cells, load_ledger, verdict
from experiments.evidence.style import BLUE, VERMILION, WIDTH, plt

COLORS = {"supports": BLUE, "contradicts": VERMILION, "undecided": "0.6"}


def specification_curves(room: str, findings: Any) -> plt.Figure:
    """The headline claims of a room that have more than one specification, two in a row."""
    ledger = load_ledger()
    measured = {}
    for claim in ledger.claims:
        if claim.room == room and claim.headline and claim.bound is not None:
            found, _ = cells(claim, ledger.choices, findings)
            if len(found) > 1:
                measured[claim.id] = claim, found
    rows = max(1, math.ceil(len(measured) / 2))
    figure = plt.figure(figsize=(WIDTH, 3.9 * rows))
    if not measured:
        figure.text(0.5, 0.5, "no claim with several specifications was run at this scale", ha="center")
    grid = figure.subfigures(rows, 2, squeeze=False)
    for part, (claim, found) in zip(grid.flat, measured.values(), strict=False):
        options = _options(claim, found, ledger.choices)
        heights = [1.0, 0.09 * len(options)]
        top, bottom = part.subplots(2, 1, sharex=True, height_ratios=heights)
        _curve(top, claim, found)
        _matrix(bottom, found, options)
    handles = [plt.Line2D([], [], marker="o", linestyle="", color=color, markersize=3) for color in COLORS.values()]
    figure.legend(handles, list(COLORS), loc="outside lower center", ncols=3)
    return figure


def _options(claim: Claim, found: list[Cell], choices: Mapping[str, Choice]) -> list[tuple[str, Any]]:
    """The options that occur, choice by choice."""
    occurring = {(name, cell.options[name]) for cell in found for name in claim.over}
    return [(name, option) for name in claim.over for option in choices[name].options if (name, option) in occurring]


def _in_order(found: list[Cell]) -> list[Cell]:
    return sorted(found, key=lambda cell: (math.isnan(cell.estimate.value), cell.estimate.value))


def _curve(axes: Axes, claim: Claim, found: list[Cell]) -> None:
    """Estimates and intervals in order; those beyond all bounds stand at the edge as triangles."""
    ordered = _in_order(found)
    bound, ratios = float(claim.bound or 0), ordered[0].estimate.kind in ("ratio", "halves")
    ends = np.array([[cell.estimate.low, cell.estimate.value, cell.estimate.high] for cell in ordered])
    finite = ends[np.isfinite(ends) & (ends > 0 if ratios else True)]
    lowest, highest = finite.min(initial=bound), finite.max(initial=bound)
    if ratios and claim.kind == "within":
        lowest, highest = min(lowest, 1 / bound), max(highest, bound)
    if ratios:
        lowest, highest = lowest / 1.1, highest * 1.1
        axes.set_yscale("log")
        if highest / lowest < 30:
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        margin = 0.06 * (highest - lowest)
        lowest, highest = lowest - margin, highest + margin
    for place, cell in enumerate(ordered):
        color, value = COLORS[cell.decision], cell.estimate.value
        if not math.isfinite(value):
            failed = cell.estimate.failed is not None or math.isnan(value)
            axes.plot(
                place, lowest if failed else highest, "x" if failed else "^", color=color, markersize=3, clip_on=False
            )
            continue
        axes.plot(
            [place, place], np.clip([cell.estimate.low, cell.estimate.high], lowest, highest), color=color, lw=0.8
        )
        axes.plot(place, value, "D" if cell.main else "o", color=color, markersize=4 if cell.main else 2)
    bounds = [bound] if claim.kind != "within" else [1 / bound, bound] if ratios else [-bound, bound]
    for each in bounds:
        axes.axhline(each, color="0.3", linestyle=":", linewidth=0.8)
    axes.set_ylim(lowest, highest)
    axes.set_title(f"{claim.id}\n{_wrapped(verdict(found).text, 44)}", fontsize=7)
    axes.set_ylabel(_wrapped(claim.unit), fontsize=6)
    axes.tick_params(labelsize=6)


def _wrapped(text: str, width: int = 34) -> str:
    return "\n".join(textwrap.wrap(text, width))


def _matrix(axes: Axes, found: list[Cell], options: list[tuple[str, Any]]) -> None:
    """A dot for the option of every choice."""
    for place, cell in enumerate(_in_order(found)):
        rows = [row for row, (name, option) in enumerate(options) if cell.options[name] == option]
        axes.plot([place] * len(rows), rows, "o", color=COLORS[cell.decision], markersize=1.6)
    first = [row for row, (name, _) in enumerate(options) if row and name != options[row - 1][0]]
    for row in first:
        axes.axhline(row - 0.5, color="0.85", linewidth=0.6)
    labels = [f"{name.replace('_', ' ')}: {str(option).replace('_', ' ')}" for name, option in options]
    axes.set_yticks(range(len(options)), labels, fontsize=5)
    axes.set_ylim(len(options) - 0.5, -0.5)
    axes.set_xticks([])
    axes.set_xlabel(f"{len(found)} specifications, in order", fontsize=6)
    axes.spines[:].set_visible(False)
