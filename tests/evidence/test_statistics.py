"""Intervals, tests and effect sizes, against closed forms and published examples."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from experiments.evidence.statistics import (
    Estimate,
    effect_size,
    holm,
    mean_over_seeds,
    median_over_starts,
    p_value,
    share,
)


def test_the_bootstrap_interval_of_a_mean_over_many_seeds_is_students():
    """For 200 normal values the bootstrap and the t interval agree to a tenth of the interval's width."""
    values = np.random.default_rng(0).normal(5, 2, 200)
    half = 1.9719565 * values.std(ddof=1) / math.sqrt(200)  # t quantile of 199 degrees of freedom
    estimate = mean_over_seeds(values)
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.2 * half)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.2 * half)


@pytest.mark.parametrize(("count", "covered"), [(3, 0.76), (5, 0.91), (10, 0.95)])
def test_the_interval_covers_what_its_docstring_says(count, covered):
    random = np.random.default_rng(0)
    estimates = [mean_over_seeds(random.normal(5, 2, count)) for _ in range(400)]
    assert np.mean([e.low <= 5 <= e.high for e in estimates]) == pytest.approx(covered, abs=0.04)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=8))
def test_an_interval_holds_its_mean_and_stays_within_the_values(values):
    assume(np.ptp(values) > 0)
    estimate = mean_over_seeds(np.array(values))
    slack = 1e-9 * max(map(abs, values), default=0.0)
    assert min(values) - slack <= estimate.low <= estimate.value + slack
    assert estimate.value - slack <= estimate.high <= max(values) + slack


def test_one_seed_has_no_interval_and_none_no_value():
    estimate = mean_over_seeds(np.array([1.0]))
    assert (estimate.value, estimate.count) == (1.0, 1)
    assert math.isnan(estimate.low)
    assert math.isnan(p_value(estimate, 0.0))
    assert math.isnan(mean_over_seeds([]).value)


def test_seeds_without_scatter_are_no_test():
    """A seed listed twice is one observation: no interval, no p value, no effect size."""
    estimate = mean_over_seeds(np.array([2.0, 2.0, 2.0]))
    assert (estimate.value, estimate.count) == (2.0, 3)
    assert math.isnan(estimate.low)
    assert math.isnan(estimate.high)
    assert math.isnan(p_value(estimate, 0.0))
    assert math.isnan(p_value(estimate, 2.0))
    assert math.isnan(effect_size(estimate, 0.0))


def test_median_interval_is_reproducible_and_holds_the_median():
    values = np.random.default_rng(1).lognormal(size=100)
    assert median_over_starts(values) == median_over_starts(values)
    estimate = median_over_starts(values)
    assert estimate.low < np.median(values) == estimate.value < estimate.high
    assert median_over_starts(np.ones(9)) == Estimate(1, 1, 1, 9)


def test_share_with_wilsons_interval():
    estimate = share(np.array([True] * 8 + [False] * 2))
    assert (estimate.low, estimate.high) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert p_value(estimate, 0.5) == pytest.approx(2 * (45 + 10 + 1) / 2**10)
    assert effect_size(estimate, 0.5) == pytest.approx(2 * math.asin(math.sqrt(0.8)) - math.pi / 2)


def test_p_of_a_mean_is_students():
    """Two degrees of freedom have a closed form: p = 1 - t / sqrt(t^2 + 2)."""
    values = np.array([1.0, 2.0, 4.0])
    t = (values.mean() - 0.5) / (values.std(ddof=1) / math.sqrt(3))
    assert p_value(mean_over_seeds(values), 0.5) == pytest.approx(1 - t / math.sqrt(t * t + 2))
    assert effect_size(mean_over_seeds(values), 0.5) == pytest.approx(t / math.sqrt(3))


def test_p_of_a_median_is_that_of_the_sign_test():
    estimate = median_over_starts(np.array([0.5, 0.6, 0.7, 0.8, 1.0, 1.2]))
    assert p_value(estimate, 1.0) == pytest.approx(2 * (1 + 5) / 2**5)  # 4 below, 1 above, the tie left out
    assert effect_size(estimate, 1.0) == pytest.approx((1 - 4) / 6)
    assert p_value(median_over_starts(np.ones(4)), 1.0) == 1


def test_holm():
    """The example of a step-down by hand: 0.01 x 4, 0.02 x 3, then monotone, then cut at 1."""
    corrected = holm({"a": 0.02, "b": 0.01, "c": 0.6, "d": 0.025, "e": math.nan})
    assert corrected["b"] == pytest.approx(0.04)
    assert corrected["a"] == pytest.approx(0.06)
    assert corrected["d"] == pytest.approx(0.06)
    assert corrected["c"] == pytest.approx(0.6)
    assert math.isnan(corrected["e"])
    assert holm({"a": 0.8, "b": 0.9}) == {"a": 1.0, "b": 1.0}
