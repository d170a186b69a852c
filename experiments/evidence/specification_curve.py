"""Draw specification curves: the estimates of a claim in order, and below each the choices that it was made with."""

import math
import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator

from experiments.evidence import reading
from experiments.evidence.specifications import Claim, Ledger, load_ledger
from experiments.evidence.style import BLUE, VERMILION, WIDTH, plt
from experiments.scale import Settings

CURVE, LINE = 2.2, 0.1
"""Height of a curve with its title, and of a line of options, in inches."""

COLORS = {"supports": BLUE, "contradicts": VERMILION, "undecided": "0.6"}


def specification_curves(settings: Settings, room: str) -> plt.Figure:
    """The headline claims of a room that have more than one specification, two in a row, from the scale's ledger."""
    ledger = load_ledger()
    verdicts = reading.claims_of(reading.results(settings) / "claims.csv").set_index("id")["reading"]
    table = reading.specifications_of(reading.results(settings) / "specifications.csv")
    drawn: list[tuple[Claim, pd.DataFrame, list[tuple[str, str]]]] = []
    for claim in ledger.claims:
        found = table[table["id"] == claim.id].sort_values("measured", kind="stable")
        if claim.room == room and claim.headline and len(found) > 1:
            drawn.append((claim, found, _options(claim, found, ledger)))
    longest = [max(len(options) for *_, options in drawn[k : k + 2]) for k in range(0, len(drawn), 2)]
    heights = [CURVE + LINE * count for count in longest] or [CURVE]
    figure = plt.figure(figsize=(WIDTH, sum(heights)))
    if not drawn:
        figure.text(0.5, 0.5, "no headline claim has several specifications at this scale", ha="center")
        return figure
    grid = figure.subfigures(len(heights), 2, squeeze=False, height_ratios=heights)
    for part, (claim, found, options) in zip(grid.flat, drawn, strict=False):
        top, bottom = part.subplots(2, 1, sharex=True, height_ratios=[CURVE, 1.6 * LINE * len(options)])
        _curve(top, claim, found)
        part.suptitle(_wrapped(claim.statement, 64), fontsize=6.5)
        top.set_title(_wrapped(verdicts[claim.id], 44), fontsize=6.5, fontweight="bold")
        _matrix(bottom, found, options, ledger.names)
    handles = [plt.Line2D([], [], marker="o", linestyle="", color=color, markersize=3) for color in COLORS.values()]
    figure.legend(handles, list(COLORS), loc="outside lower center", ncols=3)
    return figure


def _options(claim: Claim, found: pd.DataFrame, ledger: Ledger) -> list[tuple[str, str]]:
    """The options that occur, choice by choice."""
    pairs = [(name, str(option)) for name in claim.over for option in ledger.choices[name].options]
    return [(name, option) for name, option in pairs if (found[name] == option).any()]


def _curve(axes: Axes, claim: Claim, found: pd.DataFrame) -> None:
    """Estimates and intervals in order. One that has no place stands at the edge: a triangle beyond it, a cross for none."""
    bound, ratios = float(claim.bound or 0), found["kind"].iloc[0] in ("ratio", "halves")
    bounds = [bound] if claim.kind != "within" else [1 / bound, bound] if ratios else [-bound, bound]
    ends = found[["measured_low", "measured", "measured_high"]].to_numpy()
    finite = ends[np.isfinite(ends) & ((ends > 0) | (not ratios))]
    lowest, highest = finite.min(initial=min(bounds)), finite.max(initial=max(bounds))
    if ratios:
        lowest, highest = lowest / 1.1, highest * 1.1
        axes.set_yscale("log")
        if highest / lowest < 30:
            even = FixedLocator(MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(lowest, highest))
            subs = (1, 2, 5) if highest / lowest > 8 else (1, 1.5, 2, 3, 5, 7)
            axes.yaxis.set_major_locator(LogLocator(subs=subs) if highest / lowest > 1.6 else even)
            axes.minorticks_off()
        axes.yaxis.set_major_formatter("{x:g}")
    else:
        margin = 0.06 * (highest - lowest) or 1.0  # where nothing but the bound has a place
        lowest, highest = lowest - margin, highest + margin
    for place, row in enumerate(found.itertuples()):
        color = COLORS[row.decision]
        if not math.isfinite(row.measured) or (ratios and row.measured <= 0):
            edge, marker = (highest, "^") if row.measured > 0 else (lowest, "x" if math.isnan(row.measured) else "v")
            axes.plot(place, edge, marker, color=color, markersize=3, clip_on=False)
            continue
        interval = np.clip([row.measured_low, row.measured_high], lowest, highest)
        axes.plot([place, place], interval, color=color, linewidth=0.8)
        axes.plot(place, row.measured, "D" if row.main else "o", color=color, markersize=4 if row.main else 2)
    for each in bounds:
        axes.axhline(each, color="0.3", linestyle=":", linewidth=0.8)
    axes.set_ylim(lowest, highest)
    axes.set_ylabel(_wrapped(claim.unit, 27), fontsize=5.5)
    axes.tick_params(labelsize=6)


def _wrapped(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width))


def _matrix(axes: Axes, found: pd.DataFrame, options: list[tuple[str, str]], names: dict[str, str]) -> None:
    """A dot for the option of every choice."""
    colors = found["decision"].map(COLORS)
    for row, (name, option) in enumerate(options):
        places = np.flatnonzero(found[name] == option)
        axes.scatter(places, [row] * len(places), s=2.5, color=colors.iloc[places])
    for row in range(1, len(options)):
        if options[row][0] != options[row - 1][0]:
            axes.axhline(row - 0.5, color="0.85", linewidth=0.6)
    labels = [f"{names[name].removeprefix('the ')}: {option.replace('_', ' ')}" for name, option in options]
    axes.set_yticks(range(len(options)), labels, fontsize=5)
    axes.set_ylim(len(options) - 0.5, -0.5)
    axes.set_xticks([])
    axes.set_xlabel(f"{len(found)} specifications, in order", fontsize=6)
    axes.spines[:].set_visible(False)
