"""A specification curve shows the estimates in order, in the colour of their decision, and their options below."""

import math
import warnings
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.colors import to_hex

from experiments.evidence.specification_curve import COLORS, specification_curves

NAN, INF = math.nan, math.inf
S, C, U = "supports", "contradicts", "undecided"

CHOICES = {
    "step_size": {"open": "It is.", "options": {"own": "its own", "of_all": "that of all", "never": "not run"}},
    "warm_up": {"open": "It is.", "options": {10: "ten", 5: "five"}},
}


def claim(name, rule=None, over=("step_size", "warm_up"), room="made", headline=True):
    entry = {"id": name, "family": "ours", "where": "here", "statement": f"It is so ({name}).", "unit": "metres"}
    return entry | {
        "measure": {f"{room}.length": {}},
        "over": list(over),
        "rule": rule or {"below": 1.0},
        "headline": headline,
    }


def row(name, step_size, warm_up, measured, decision, kind="ratio", main=False, half=0.1):
    """A row of specifications.csv; the interval reaches as far on either side."""
    options = {"step_size": step_size, "warm_up": warm_up}
    ends = {"measured": measured, "measured_low": measured - half, "measured_high": measured + half}
    return {
        "id": name,
        **options,
        "main": main,
        **ends,
        "observations": 5,
        "kind": kind,
        "p": NAN,
        "decision": decision,
    }


@pytest.fixture
def draw(tmp_path, monkeypatch):
    """A function that writes a ledger and draws its curves."""
    monkeypatch.chdir(tmp_path)

    def drawn(claims, rows, verdicts=None):
        (tmp_path / "paper").mkdir()
        (tmp_path / "results" / "scale").mkdir(parents=True)
        ledger = {"choices": CHOICES, "claims": claims}
        (tmp_path / "paper" / "claims.yaml").write_text(yaml.safe_dump(ledger, sort_keys=False))
        columns = [*row("", "", "", 0.0, U)]
        pd.DataFrame(rows, columns=columns).to_csv("results/scale/specifications.csv", index=False)
        readings = [{"id": each["id"], "reading": (verdicts or {}).get(each["id"], "supported")} for each in claims]
        pd.DataFrame(readings).to_csv("results/scale/claims.csv", index=False)
        return specification_curves(SimpleNamespace(scale="scale"), "made")

    yield drawn
    plt.close("all")


FOUR = [
    row("a", "own", 10, 0.8, S, main=True),
    row("a", "own", 5, 1.5, C),
    row("a", "of_all", 10, 0.5, S),
    row("a", "of_all", 5, 1.0, U),
]
"""In order: the third, the first, the fourth and the second."""


def points(axes):
    """Place, height, marker and decision of every estimate."""
    decisions = {to_hex(color): decision for decision, color in COLORS.items()}
    return [
        (line.get_xdata()[0], line.get_ydata()[0], line.get_marker(), decisions[to_hex(line.get_color())])
        for line in axes.lines
        if len(line.get_xdata()) == 1
    ]


def bounds(axes):
    return sorted(line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == ":")


def test_estimates_stand_in_order_in_the_colour_of_their_decision(draw):
    top, _ = draw([claim("a")], FOUR).axes
    assert points(top) == [(0, 0.5, "o", S), (1, 0.8, "D", S), (2, 1.0, "o", U), (3, 1.5, "o", C)]
    bars = [line.get_ydata() for line in top.lines if len(line.get_xdata()) == 2 and line.get_linestyle() == "-"]
    assert np.ravel(bars) == pytest.approx([0.4, 0.6, 0.7, 0.9, 0.9, 1.1, 1.4, 1.6])
    assert bounds(top) == [1.0]
    assert top.get_yscale() == "log"
    assert top.get_ylim() == pytest.approx((0.4 / 1.1, 1.6 * 1.1))
    assert top.get_ylabel() == "metres"


def test_a_dot_stands_for_the_option_of_every_choice(draw):
    """Numbers and words alike, without options that were not run."""
    _, bottom = draw([claim("a")], FOUR).axes
    labels = [label.get_text() for label in bottom.get_yticklabels()]
    assert labels == ["step size: own", "step size: of all", "warm up: 10", "warm up: 5"]
    dots = [sorted(collection.get_offsets()[:, 0].tolist()) for collection in bottom.collections]
    assert dots == [[1, 3], [0, 2], [0, 1], [2, 3]]
    heights = [set(collection.get_offsets()[:, 1].tolist()) for collection in bottom.collections]
    assert heights == [{0}, {1}, {2}, {3}]
    own = bottom.collections[0]
    by_place = dict(zip(own.get_offsets()[:, 0].tolist(), map(to_hex, own.get_facecolors()), strict=True))
    assert by_place == {1: to_hex(COLORS[S]), 3: to_hex(COLORS[C])}
    assert [line.get_ydata()[0] for line in bottom.lines] == [1.5]  # between the two choices
    assert bottom.get_xlabel() == "4 specifications, in order"


def test_options_that_are_numbers_are_found_beside_claims_without_the_choice(draw):
    """As the ledger writes them: text, and nothing where a claim is not open to the choice."""
    rows = [each | {"warm_up": str(each["warm_up"])} for each in FOUR]
    rows.append(row("b", "own", None, 1.0, U))
    _, bottom = draw([claim("a"), claim("b", over=["step_size"])], rows).axes
    assert [label.get_text() for label in bottom.get_yticklabels()][2:] == ["warm up: 10", "warm up: 5"]


def test_the_title_is_the_ledgers_verdict(draw):
    """Not one of the curve's own: the correction of the whole family is in it."""
    long = "hinges on several choices: supported in 14, contradicted in 6 of 20"
    figure = draw([claim("a")], FOUR, {"a": long})
    lines = figure.axes[0].get_title().split("\n")
    assert " ".join(lines) == long
    assert figure.subfigs[0].get_suptitle() == "It is so (a)."
    assert max(map(len, lines)) <= 44


def test_only_headline_claims_of_the_room_with_several_specifications_are_drawn(draw):
    claims = [
        claim("a"),
        claim("quiet", headline=False),
        claim("elsewhere", room="other"),
        claim("single"),
        claim("absent"),
        claim("b"),
        claim("c"),
    ]
    rows = [each | {"id": name} for name in ("a", "quiet", "elsewhere", "b", "c") for each in FOUR]
    figure = draw(claims, [*rows, row("single", "own", 10, 1.0, U)])
    titles = [part.get_suptitle() for part in figure.subfigs if part.axes]
    assert titles == ["It is so (a).", "It is so (b).", "It is so (c)."]
    assert len(figure.subfigs) == 4  # two rows of two, the last one empty
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [S, C, U]


@pytest.mark.parametrize("rows", [[], [row("a", "own", 10, 0.8, S)]])
def test_a_scale_without_several_specifications_says_so(draw, rows):
    figure = draw([claim("a")], rows)
    assert [text.get_text() for text in figure.texts] == ["no headline claim has several specifications at this scale"]
    assert figure.axes == []


@pytest.mark.parametrize(
    ("rule", "kind", "lines", "limits"),
    [
        ({"within": 1.25}, "ratio", [0.8, 1.25], (0.8 / 1.1, 1.25 * 1.1)),
        ({"within": 1.25}, "halves", [0.8, 1.25], (0.8 / 1.1, 1.25 * 1.1)),
        ({"within": 5.0}, "mean", [-5.0, 5.0], (-5.6, 5.6)),
        ({"above": 0.0}, "mean", [0.0], (-0.0636, 1.1236)),  # from 0 to 1.06, and 0.06 of that
    ],
)
def test_the_bounds_of_the_rule_are_drawn_and_in_view(draw, rule, kind, lines, limits):
    rows = [row("a", "own", 10, 1.0, S, kind, half=0.05), row("a", "own", 5, 1.01, S, kind, half=0.05)]
    top, _ = draw([claim("a", rule)], rows).axes
    assert bounds(top) == pytest.approx(lines)
    assert top.get_ylim() == pytest.approx(limits)
    assert top.get_yscale() == ("linear" if kind == "mean" else "log")


@pytest.mark.parametrize(
    ("lowest", "highest", "ticks"),
    [
        (0.9, 1.1, ["0.9", "1", "1.1", "1.2"]),
        (0.4, 8.0, ["0.5", "1", "2", "5"]),
        (0.1, 1000.0, ["0.1", "1", "10", "100", "1000"]),
    ],
)
def test_ratios_have_ticks_at_round_numbers(draw, lowest, highest, ticks):
    rows = [row("a", "own", 10, value, S, half=0.0) for value in (lowest, highest)]
    top, _ = draw([claim("a")], rows).axes
    low, high = top.get_ylim()
    shown = [label.get_text() for label in top.get_yticklabels() if low <= label.get_position()[1] <= high]
    assert shown == ticks
    assert not top.yaxis.get_minorticklocs().size or highest / lowest > 30


def test_what_has_no_finite_value_stands_at_the_edge(draw):
    """A method that never arrives above all, one that failed below all; neither moves the axis."""
    rows = [
        row("a", "own", 10, 0.9, S, "halves"),
        row("a", "own", 5, INF, C, "halves", half=0.0),
        row("a", "of_all", 10, NAN, C, "mean"),
    ]
    top, _ = draw([claim("a")], rows).axes
    low, high = top.get_ylim()
    assert (low, high) == pytest.approx((0.8 / 1.1, 1.0 * 1.1))
    assert points(top) == [(0, 0.9, "o", S), (1, pytest.approx(high), "^", C), (2, pytest.approx(low), "x", C)]


def test_an_interval_without_end_is_cut_at_the_edge(draw):
    endless = row("a", "own", 10, 0.9, U, "halves") | {"measured_high": INF}
    top, _ = draw([claim("a")], [endless, row("a", "own", 5, 0.5, S, "halves")]).axes
    ends = [list(line.get_ydata()) for line in top.lines if len(line.get_xdata()) == 2][:2]
    assert ends[1] == pytest.approx([0.8, top.get_ylim()[1]])


@pytest.mark.parametrize("rule", [{"above": 0.0}, {"above": 15.0}, {"below": 1.0}])
def test_methods_that_all_failed_are_drawn_without_a_warning(draw, rule):
    rows = [row("a", "own", 10, NAN, C, "mean"), row("a", "own", 5, NAN, C, "mean")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        top, _ = draw([claim("a", rule)], rows).axes
        top.figure.canvas.draw()
    assert [point[2:] for point in points(top)] == [("x", C), ("x", C)]
    assert top.get_ylim()[0] < bounds(top)[0] < top.get_ylim()[1]
