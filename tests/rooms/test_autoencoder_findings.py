"""What the autoencoder's findings are made of: groups, values in names, and the arithmetic of broken lines."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.scale import load
from experiments.sparse_autoencoder.findings import GROUPS, _crossing, _interpolated, group_of, value_of
from experiments.sparse_autoencoder.settings import fixed_lambda, in_variant, warm_up


def test_groups_cover_every_method_of_every_scale():
    for path in Path("config").glob("*.yaml"):
        section = load(path).sparse_autoencoder
        for method in section.methods if section else ():
            assert group_of(method) in GROUPS.values()
    assert group_of("lambda-0.001") == "fixed lambda"
    assert group_of("softadapt-beta-0") == "SoftAdapt"
    assert group_of("rule-nequip") == "other rules named SoftAdapt"
    assert group_of("gradnorm") == "rival"


@pytest.mark.parametrize("value", [0.0, 1e-8, 3e-4, 0.5, 1.0, 1e7])
def test_the_lambda_of_a_method_stands_in_its_name(value):
    name = fixed_lambda(value)
    for method in (name, warm_up(10, value), in_variant("unit-norm", name)):
        assert value_of(method) == value


@pytest.mark.parametrize(
    ("level", "x"),
    [
        (2.0, 2.5),  # on the last of three pieces that cross it
        (1.0, 3.0),
        (3.0, 2.0),
        (0.0, 0.0),
        (3.5, math.nan),
        (-0.5, math.nan),
    ],
)
def test_the_last_crossing_of_a_broken_line(level, x):
    """It rises from 0 to 3, falls to 1, rises to 3 and falls to 1 again."""
    found = _crossing(np.array([0.0, 1.0, 1.5, 2.0, 3.0]), np.array([0.0, 3.0, 1.0, 3.0, 1.0]), level)
    assert found == pytest.approx(x, nan_ok=True)


def test_a_flat_piece_or_a_single_point_is_no_crossing():
    assert math.isnan(_crossing(np.array([1.0, 2.0]), np.array([5.0, 5.0]), 5.0))
    assert math.isnan(_crossing(np.array([1.0]), np.array([5.0]), 5.0))
    assert math.isnan(_crossing(np.array([]), np.array([]), 5.0))
    assert _crossing(np.array([0.0, 1.0, 2.0]), np.array([4.0, 5.0, 5.0]), 5.0) == 1.0


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=8), st.floats(-5.5, 5.5))
def test_at_a_crossing_the_line_has_the_level_and_never_has_it_again(heights, level):
    x, y = np.arange(len(heights), dtype=float), np.array(heights, dtype=float)
    at = _crossing(x, y, level)
    if math.isnan(at):
        assert all(
            one == other or not min(one, other) <= level <= max(one, other) for one, other in itertools.pairwise(y)
        )
        return
    assert np.interp(at, x, y) == pytest.approx(level, abs=1e-6)
    later = y[x > at + 1e-9] - level
    assert (later >= 0).all() or (later <= 0).all()


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (1.0, 10.0),
        (1.5, 15.0),
        (3.0, 0.0),
        (0.999, math.nan),
        (3.001, math.nan),
        (math.nan, math.nan),
        (-math.inf, math.nan),
    ],
)
def test_a_line_has_no_value_beyond_its_ends(x, y):
    assert _interpolated(x, np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 0.0])) == pytest.approx(y, nan_ok=True)
    assert math.isnan(_interpolated(x, np.array([]), np.array([])))
