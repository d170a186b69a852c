"""Intervals, tests and decisions, against closed forms, tables and a second implementation."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from experiments.evidence.statistics import (
    FEWEST,
    NO_ESTIMATE,
    Estimate,
    Failed,
    decide,
    mean_over_seeds,
    median_over_pairs,
    over_halves,
    p_value,
    ratio_over_seeds,
    share,
)

NAN, INF = math.nan, math.inf

T_975 = {1: 12.7062047, 2: 4.3026527, 4: 2.7764451, 9: 2.2621572}
"""Degrees of freedom -> quantile of Student's t, from a table."""

T_95 = {4: 2.1318468}


def two_sided_of_t4(t):
    """P value of Student's t with four degrees of freedom, which has a closed form."""
    u = t * t / (4 + t * t)
    return 1 - math.sqrt(u) * (3 - u) / 2


def interval(estimate):
    return [estimate.low, estimate.high]


# --- means over seeds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "mean", "half"),
    [
        ([1, 3], 2, T_975[1]),  # standard deviation sqrt(2), over sqrt(2)
        ([1, 2, 3], 2, T_975[2] / math.sqrt(3)),
        ([1, 2, 3, 4, 5], 3, T_975[4] * math.sqrt(2.5 / 5)),
        ([-2, -2, 2, 2, 0, 0, 0, 0, 0, 0], 0, T_975[9] * math.sqrt(16 / 9 / 10)),
    ],
)
def test_the_interval_of_a_mean_is_students(values, mean, half):
    estimate = mean_over_seeds(values)
    assert estimate.value == pytest.approx(mean)
    assert interval(estimate) == pytest.approx([mean - half, mean + half])
    assert (estimate.count, estimate.kind) == (len(values), "mean")
    assert estimate.observations == tuple(values)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=12).filter(lambda values: np.ptp(values) > 1e-3))
def test_the_interval_of_a_mean_is_the_one_of_scipy(values):
    estimate = mean_over_seeds(values)
    expected = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert interval(estimate) == pytest.approx(list(expected), rel=1e-9, abs=1e-6)


def test_the_interval_covers_19_of_20_means_of_few_seeds():
    random = np.random.default_rng(0)
    estimates = [mean_over_seeds(random.normal(5, 2, 5)) for _ in range(2000)]
    assert np.mean([e.low <= 5 <= e.high for e in estimates]) == pytest.approx(0.95, abs=0.015)


def test_one_seed_has_no_interval_and_none_no_value():
    one = mean_over_seeds([1.0])
    assert (one.value, one.count) == (1.0, 1)
    assert all(map(math.isnan, [*interval(one), p_value(one, 0.0)]))
    none = mean_over_seeds([])
    assert none.count == 0
    assert all(map(math.isnan, [none.value, *interval(none)]))


@pytest.mark.parametrize("of", [mean_over_seeds, ratio_over_seeds])
@pytest.mark.parametrize("kind", ["above", "below", "within"])
def test_seeds_without_scatter_have_no_interval_and_decide_nothing(of, kind):
    """A seed that changes nothing is one observation, however often it is repeated."""
    estimate = of([2.0] * 7)
    assert (estimate.value, estimate.count) == (pytest.approx(2.0), 7)
    assert all(map(math.isnan, interval(estimate)))
    assert math.isnan(p_value(estimate, 2.0))
    decision, p = decide(kind, 3.0, estimate)
    assert decision == "undecided"
    assert math.isnan(p)


def test_a_seed_without_a_value_leaves_no_interval():
    estimate = mean_over_seeds([1.0, 2.0, NAN, 3.0, 4.0])
    assert all(map(math.isnan, [estimate.value, *interval(estimate)]))
    assert decide("above", 0.0, estimate)[0] == "undecided"


# --- ratios ------------------------------------------------------------------------------------------------------


def test_the_interval_of_a_ratio_is_students_of_its_logarithm():
    """Powers of two: the exponents 1 to 5 have the mean 3."""
    half = T_975[4] * math.sqrt(0.5)
    estimate = ratio_over_seeds([2, 4, 8, 16, 32])
    assert estimate.value == pytest.approx(8)
    assert interval(estimate) == pytest.approx([2 ** (3 - half), 2 ** (3 + half)])
    assert (estimate.count, estimate.kind) == (5, "ratio")
    assert estimate.observations == (2, 4, 8, 16, 32)


@given(st.lists(st.floats(1e-3, 1e3), min_size=5, max_size=9).filter(lambda values: max(values) > 1.01 * min(values)))
def test_the_inverse_ratio_has_the_inverse_interval_and_the_same_p(ratios):
    """Whether SoftAdapt stands above or below the line is nobody's choice."""
    one, other = ratio_over_seeds(ratios), ratio_over_seeds([1 / ratio for ratio in ratios])
    assert [one.low, one.value, one.high] == pytest.approx([1 / other.high, 1 / other.value, 1 / other.low])
    assert p_value(one, 2.0) == pytest.approx(p_value(other, 0.5), rel=1e-6)


@pytest.mark.parametrize("bad", [0.0, -1.0, INF, NAN])
def test_no_ratio_without_positive_finite_values(bad):
    estimate = ratio_over_seeds([1.0, 2.0, bad, 1.5, 1.2])
    assert estimate == NO_ESTIMATE or all(map(math.isnan, [estimate.value, *interval(estimate)]))
    assert estimate.count == 0


def test_no_ratios_are_no_estimate():
    estimate = ratio_over_seeds([])
    assert estimate.count == 0
    assert math.isnan(estimate.value)


# --- medians of pairs --------------------------------------------------------------------------------------------


def coverage(low, high, count):
    """Chance that the median lies between the order statistics at these places, counted from 0: exact, of halves."""
    return sum(math.comb(count, below) for below in range(low + 1, high + 1)) / 2**count


@given(st.integers(6, 400))
def test_the_interval_of_a_median_covers_it_and_no_narrower_one_does(count):
    estimate = median_over_pairs(np.random.default_rng(count).permutation(count))
    low, high = int(estimate.low), int(estimate.high)  # a value is its own place
    assert low + high == count - 1
    assert coverage(low, high, count) >= 0.95
    assert coverage(low + 1, high - 1, count) < 0.95
    assert (estimate.value, estimate.count, estimate.kind) == ((count - 1) / 2, count, "median")


def test_five_pairs_have_no_interval_of_95_percent_and_decide_nothing():
    """All five on one side of the median have the chance 2 / 2^5 = 0.0625; of six it is 0.03125."""
    assert decide("above", 0.0, median_over_pairs(np.arange(1.0, 6.0)))[0] == "undecided"
    assert decide("above", 0.0, median_over_pairs(np.arange(1.0, 7.0))) == ("supports", 0.03125)


def test_p_of_a_median_is_that_of_the_sign_test():
    estimate = median_over_pairs(np.array([0.5, 0.6, 0.7, 0.8, 1.0, 1.2]))
    assert p_value(estimate, 1.0) == pytest.approx(2 * (1 + 5) / 2**5)  # 4 below, 1 above, the tie left out
    assert p_value(median_over_pairs(np.ones(7)), 1.0) == 1


@given(st.lists(st.integers(-50, 50), min_size=6, max_size=60, unique=True), st.integers(-60, 60))
def test_a_median_is_decided_where_its_p_is_small(values, bound):
    """Interval and sign test are two sides of one thing; between the values there are no ties."""
    decision, p = decide("above", bound + 0.5, median_over_pairs(np.array(values)))
    assert (decision == "undecided") == (p > 0.05)


# --- halves of the starts ----------------------------------------------------------------------------------------


@given(
    st.lists(st.sampled_from([0.25, 0.5, 0.9, 1.0, 1.1, 2.0, INF]), min_size=20, max_size=20),
    st.sampled_from([0.5, 0.95, 1.0, 3.0]),
)
def test_a_sweep_is_decided_where_19_of_20_halves_lie_on_one_side(values, bound):
    estimate = over_halves(values)
    above, below = sum(v > bound for v in values), sum(v < bound for v in values)
    expected = "supports" if above >= 19 else "contradicts" if below >= 19 else "undecided"
    decision, p = decide("above", bound, estimate)
    assert decision == expected
    assert math.isnan(p)
    opposite = {"supports": "contradicts", "contradicts": "supports"}.get(expected, expected)
    assert decide("below", bound, estimate)[0] == opposite


@given(st.lists(st.sampled_from([0.2, 0.5, 0.8, 1.0, 1.25, 2.0, 5.0, INF]), min_size=20, max_size=20))
def test_a_sweep_is_within_where_19_of_20_halves_are_below_and_19_above(values):
    """Within the factor 1.25: 0.8 and 1.25 themselves are not."""
    ordered = sorted(values)
    inside = ordered[1] > 0.8 and ordered[18] < 1.25
    outside = sum(v > 1.25 for v in values) >= 19 or sum(v < 0.8 for v in values) >= 19
    expected = "supports" if inside else "contradicts" if outside else "undecided"
    assert decide("within", 1.25, over_halves(values))[0] == expected


@pytest.mark.parametrize("end", [0.8, 1.25])
def test_a_sweep_that_ends_on_the_bound_is_not_within_it(end):
    """One half beyond it does not matter, and a second one on it does."""
    inside = over_halves([1.0] * 19 + [end])
    assert decide("within", 1.25, inside)[0] == "supports"
    assert decide("within", 1.25, over_halves([1.0] * 18 + [end] * 2))[0] == "undecided"


@given(st.lists(st.floats(0.01, 100), min_size=3, max_size=25))
def test_halves_are_summed_up_by_their_median(values):
    estimate = over_halves(values)
    ordered = sorted(values)
    assert estimate.value == pytest.approx(np.median(values))
    assert interval(estimate) == [ordered[1], ordered[-2]]
    assert (estimate.count, estimate.kind) == (len(values), "halves")


def test_a_method_that_never_arrives_is_infinitely_slow():
    """One half more or less does not matter; half of them leave no median."""
    assert over_halves([1.0] * 19 + [INF]) == Estimate(1.0, 1.0, 1.0, 20)
    assert over_halves([INF] * 20) == Estimate(INF, INF, INF, 20)
    split = over_halves([1.0] * 10 + [INF] * 10)
    assert (split.value, split.low, split.high) == (INF, 1.0, INF)
    assert decide("above", 1.0, over_halves([INF] * 20))[0] == "supports"
    assert decide("within", 1.05, over_halves([INF] * 20))[0] == "contradicts"


@pytest.mark.parametrize("values", [[1.0] * 19 + [NAN], [1.0, 2.0], []])
def test_halves_without_a_number_or_too_few_of_them_are_no_estimate(values):
    estimate = over_halves(values)
    assert estimate.count == 0
    assert decide("above", 0.0, estimate)[0] == "undecided"


# --- shares ------------------------------------------------------------------------------------------------------


def test_a_share_has_wilsons_interval_and_the_binomial_test():
    estimate = share(np.array([True] * 8 + [False] * 2))
    z2 = 1.959964**2
    half = math.sqrt(z2) / (1 + z2 / 10) * math.sqrt(0.8 * 0.2 / 10 + z2 / 400)
    centre = (0.8 + z2 / 20) / (1 + z2 / 10)
    assert interval(estimate) == pytest.approx([centre - half, centre + half], abs=1e-6)
    assert (estimate.value, estimate.count, estimate.kind) == (0.8, 10, "share")
    assert p_value(estimate, 0.5) == pytest.approx(2 * (45 + 10 + 1) / 2**10)
    assert decide("above", 0.4, estimate)[0] == "supports"
    assert decide("above", 0.5, estimate)[0] == "undecided"
    assert decide("below", 0.45, estimate)[0] == "contradicts"


# --- decisions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "low", "high", "decision"),
    [
        ("above", 0.1, 0.3, "supports"),
        ("above", -0.3, -0.1, "contradicts"),
        ("above", -0.1, 0.3, "undecided"),
        ("above", 0.0, 0.3, "undecided"),  # an end on the bound is not beyond it
        ("above", -0.3, 0.0, "undecided"),
        ("below", -0.3, -0.1, "supports"),
        ("below", 0.1, 0.3, "contradicts"),
        ("below", -0.1, 0.1, "undecided"),
        ("below", -0.3, 0.0, "undecided"),
        ("below", 0.0, 0.0, "undecided"),
        ("above", NAN, NAN, "undecided"),
        ("below", NAN, NAN, "undecided"),
    ],
)
@pytest.mark.parametrize("of", ["mean", "ratio", "median", "share", "halves", "fact"])
def test_a_decision_takes_the_whole_interval(of, kind, low, high, decision):
    assert decide(kind, 0.0, Estimate((low + high) / 2, low, high, 6, kind=of))[0] == decision


@pytest.mark.parametrize("kind", ["above", "below", "within"])
@pytest.mark.parametrize("of", ["mean", "ratio", "halves", "share", "median"])
def test_fewer_than_five_observations_decide_nothing(kind, of):
    for count in range(5):
        for value in (0.01, 1.0, 100.0):
            assert decide(kind, 1.5, Estimate(value, 0.99 * value, 1.01 * value, count, kind=of))[0] == "undecided"


def test_five_seeds_decide_and_four_do_not():
    assert decide("above", 0.0, mean_over_seeds([1.0, 1.1, 1.2, 1.3]))[0] == "undecided"
    assert decide("above", 0.0, mean_over_seeds([1.0, 1.1, 1.2, 1.3, 1.4]))[0] == "supports"


def test_a_fact_is_no_sample():
    """Its count says nothing on its certainty, and there is no p value."""
    decision, p = decide("below", 1.0, Estimate(0.5, 0.5, 0.5, 1, kind="fact"))
    assert decision == "supports"
    assert math.isnan(p)
    assert decide("below", 1.0, Estimate(0.5, 0.5, 0.5, 0, kind="fact"))[0] == "undecided"  # a fact about nothing


def test_p_of_a_mean_and_of_a_ratio_is_students():
    """Five seeds leave four degrees of freedom."""
    t = 3 / math.sqrt(0.5)
    assert decide("above", 0.0, mean_over_seeds([1, 2, 3, 4, 5])) == ("supports", pytest.approx(two_sided_of_t4(t)))
    decision, p = decide("below", 1.0, ratio_over_seeds([2, 4, 8, 16, 32]))
    assert (decision, p) == ("contradicts", pytest.approx(two_sided_of_t4(t)))
    assert p_value(mean_over_seeds([1, 2, 3, 4, 5]), 3.0) == pytest.approx(1.0)


@given(st.lists(st.integers(-20, 20), min_size=5, max_size=9).filter(lambda v: np.ptp(v) > 0), st.integers(-20, 20))
def test_a_mean_is_decided_where_its_p_is_small(values, bound):
    decision, p = decide("above", bound + 0.5, mean_over_seeds(values))
    expected = stats.ttest_1samp(values, bound + 0.5).pvalue
    assert p == pytest.approx(expected)
    if abs(expected - 0.05) > 1e-9:
        assert (decision == "undecided") == (expected > 0.05)


# --- equivalence -------------------------------------------------------------------------------------------------


def tost(values, low, high):
    """The larger of two one-sided p values, by scipy."""
    return max(
        stats.ttest_1samp(values, low, alternative="greater").pvalue,
        stats.ttest_1samp(values, high, alternative="less").pvalue,
    )


SAMPLES = st.lists(st.integers(-12, 12), min_size=5, max_size=9).filter(lambda values: np.ptp(values) > 0)


@given(SAMPLES, st.sampled_from([0.5, 2.0, 5.0, 9.5]))
def test_a_difference_is_within_its_bound_where_both_one_sided_tests_reject(values, bound):
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    decision, p = decide("within", bound, mean_over_seeds(values))
    if low > bound or high < -bound:
        assert decision == "contradicts"
        assert p == pytest.approx(stats.ttest_1samp(values, bound if low > bound else -bound).pvalue)
    else:
        assert p == pytest.approx(tost(values, -bound, bound))
        assert decision == ("supports" if p < 0.05 else "undecided")


@given(SAMPLES, st.sampled_from([1.05, 1.5, 10.0]))
def test_a_ratio_is_within_its_bound_and_the_inverse_of_it(values, bound):
    """The logarithms are tested between the negative logarithm of the bound and its logarithm."""
    logs = np.array(values) / 10
    low, high = stats.t.interval(0.95, len(logs) - 1, np.mean(logs), stats.sem(logs))
    decision, p = decide("within", bound, ratio_over_seeds(np.exp(logs)))
    if low > math.log(bound) or high < -math.log(bound):
        assert decision == "contradicts"
    else:
        assert p == pytest.approx(tost(logs, -math.log(bound), math.log(bound)), rel=1e-6, abs=1e-12)
        assert decision == ("supports" if p < 0.05 else "undecided")


def test_equivalence_asks_for_the_interval_of_90_percent():
    """Of -2, -1, 0, 1, 2 it reaches to the quantile of 95 % times the standard error; that of 95 % does not matter."""
    estimate = mean_over_seeds([-2, -1, 0, 1, 2])
    end = T_95[4] * math.sqrt(0.5)
    assert decide("within", end * 1.0001, estimate)[0] == "supports"
    assert decide("within", end * 0.9999, estimate)[0] == "undecided"
    assert estimate.high > end * 1.2
    assert decide("within", end, estimate)[1] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("estimate", "bound"),
    [
        (mean_over_seeds([1, 2, 3, 4, 5]), 3.0),
        (mean_over_seeds([-1, -2, -3, -4, -5]), 3.0),
        (ratio_over_seeds([2, 4, 8, 16, 32]), 8.0),
        (ratio_over_seeds([1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32]), 8.0),
    ],
)
def test_an_estimate_on_the_bound_has_the_p_of_a_half(estimate, bound):
    decision, p = decide("within", bound, estimate)
    assert decision == "undecided"
    assert p == pytest.approx(0.5)


def test_an_interval_that_ends_on_the_bound_is_not_beyond_it():
    observations = (1.0, 2.0, 3.0, 4.0, 5.0)
    touching = Estimate(3.0, 1.0, 5.0, 5, observations)
    assert decide("within", 1.0, touching)[0] == "undecided"
    assert decide("within", 0.99, touching)[0] == "contradicts"
    assert decide("within", 1.0, replace(touching, value=-3.0, low=-5.0, high=-1.0))[0] == "undecided"


def test_beyond_a_bound_but_not_surely_p_exceeds_a_half():
    """The mean 3 lies beyond 2, and its interval from 1.04 to 4.96 does not."""
    decision, p = decide("within", 2.0, mean_over_seeds([1, 2, 3, 4, 5]))
    assert decision == "undecided"
    assert p == pytest.approx(1 - two_sided_of_t4(1 / math.sqrt(0.5)) / 2)


# --- runs that diverged ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("better", ["above", "below"])
@pytest.mark.parametrize("bound", [-1.0, 0.0, 1.0, 1.25])
@pytest.mark.parametrize(("ours", "theirs"), [(1, 0), (0, 2), (1, 1), (5, 5), (5, 0)])
def test_a_method_with_a_failed_run_loses_against_one_without(better, bound, ours, theirs):
    """Whatever the bound; two that failed are not compared, and one that failed is not as good as one that did not."""
    estimate = replace(NO_ESTIMATE, failed=Failed(ours, theirs, 5, better))
    worse = {"above": "below", "below": "above"}[better]
    if ours and theirs:
        expected = {"above": "undecided", "below": "undecided", "within": "undecided"}
    else:
        winner = better if theirs else worse
        expected = {kind: "supports" if kind == winner else "contradicts" for kind in ("above", "below", "within")}
    for kind, decision in expected.items():
        found, p = decide(kind, bound, estimate)
        assert found == decision
        assert math.isnan(p)


@pytest.mark.parametrize(("runs", "decision"), [(1, "undecided"), (4, "undecided"), (5, "contradicts")])
def test_a_failed_run_of_fewer_than_five_decides_nothing(runs, decision):
    """No verdict under five seeds, whatever became of them."""
    estimate = replace(NO_ESTIMATE, failed=Failed(1, 0, runs, "above"))
    assert [decide(kind, 0.0, estimate)[0] for kind in ("above", "within")] == [decision] * 2
    assert FEWEST == 5


def test_failed_runs_in_words():
    assert str(Failed(1, 0, 5, "above")) == "ours 1 of 5"
    assert str(Failed(0, 2, 7, "below")) == "theirs 2 of 7"
    assert str(Failed(3, 2, 5, "below")) == "ours 3 of 5, theirs 2 of 5"
