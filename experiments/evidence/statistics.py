"""Estimates with their uncertainty, tests and effect sizes.

scipy.stats is slow to import. It is imported where it is used, so that ``--help`` does not wait for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

CONFIDENCE = 0.95

Kind = Literal["mean", "median", "share"]
Side = Literal["above", "below"]


@dataclass(frozen=True)
class Failed:
    """How many runs of the compared methods diverged. There is no number then, but there is a loser.

    Attributes:
        ours: diverged runs of the method that is measured.
        theirs: diverged runs of the method that it is measured against.
        runs: all runs of each.
        better: the side of a bound on which the method that is measured is the better one.
    """

    ours: int
    theirs: int
    runs: int
    better: Side

    @property
    def side(self) -> Side | None:
        """The side of any bound on which the measurement counts; None if both methods failed."""
        if self.ours and self.theirs:
            return None
        if self.theirs:
            return self.better
        return "below" if self.better == "above" else "above"

    def __str__(self) -> str:
        """Such as ``ours 1 of 5``."""
        counts = {"ours": self.ours, "theirs": self.theirs}
        return ", ".join(f"{who} {count} of {self.runs}" for who, count in counts.items() if count)


@dataclass(frozen=True)
class Estimate:
    """A value, its 95 % interval and the number of independent observations behind it.

    With one observation, or several seeds without scatter, there is no interval: `low` and `high` are NaN; with no
    observation there is no value either.

    Attributes:
        observations: what the value summarises, for tests; empty for a plain fact.
        kind: how it summarises them.
        failed: the runs that diverged, if some did; there is no value then.
    """

    value: float
    low: float
    high: float
    count: int
    observations: tuple[float, ...] = field(default=(), compare=False, repr=False)
    kind: Kind = field(default="mean", compare=False, repr=False)
    failed: Failed | None = None


NO_ESTIMATE = Estimate(float("nan"), float("nan"), float("nan"), 0)
"""The runs do not allow an estimate; the verdict is then inconclusive."""


def mean_over_seeds(values: np.ndarray | Sequence[float]) -> Estimate:
    """Mean (n,) with a bootstrap interval over seeds (9,999 resamples, fixed seed).

    The percentile interval of a small sample is too narrow by the factor sqrt((n - 1) / n) and by its normal quantiles;
    it is taken at the level that undoes both (the expanded percentile interval: Hesterberg 2015, The American
    Statistician 69:371, section 4). It still cannot leave the range of the values, so that of five normal seeds it
    covers 91 % and of three 76 % (simulated in the tests): a verdict also asks for `p_value`.

    Seeds without scatter have no interval: a seed that changes nothing is one observation, however often it is
    repeated.
    """
    from scipy import stats

    values = np.asarray(values, dtype=float)
    count = len(values)
    if count == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    mean, observations = float(values.mean()), tuple(values.tolist())
    if count < 2 or np.ptp(values) == 0:
        return Estimate(mean, float("nan"), float("nan"), count, observations)
    expanded = np.sqrt(count / (count - 1)) * stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)
    level = 1 - 2 * stats.norm.sf(expanded)
    interval = stats.bootstrap(
        (values,), np.mean, confidence_level=level, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return Estimate(mean, float(interval.low), float(interval.high), count, observations)


def median_over_starts(values: np.ndarray) -> Estimate:
    """Median (n,) with a percentile bootstrap interval (9,999 resamples, fixed seed), for hundreds of starts."""
    from scipy import stats

    values = np.asarray(values, dtype=float)
    median, observations = float(np.median(values)), tuple(values.tolist())
    if len(values) < 2 or np.ptp(values) == 0:
        return Estimate(median, median, median, len(values), observations, "median")
    interval = stats.bootstrap(
        (values,), np.median, confidence_level=CONFIDENCE, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return Estimate(median, float(interval.low), float(interval.high), len(values), observations, "median")


def share(successes: np.ndarray) -> Estimate:
    """Share of True among (n,) booleans with Wilson's interval."""
    from scipy import stats

    successes = np.asarray(successes, dtype=bool)
    interval = stats.binomtest(int(successes.sum()), len(successes)).proportion_ci(CONFIDENCE, method="wilson")
    observations = tuple(successes.astype(float).tolist())
    return Estimate(
        float(successes.mean()), float(interval.low), float(interval.high), len(successes), observations, "share"
    )


def p_value(estimate: Estimate, bound: float) -> float:
    """Two-sided p value of the hypothesis that the true value is `bound`; NaN where there is nothing to test.

    Student's t test for a mean over seeds (paired, where the observations are differences of pairs), the sign test for
    a median, the binomial test for a share. Seeds without any scatter test nothing.
    """
    from scipy import stats

    values = np.array(estimate.observations)
    if len(values) < 2:
        return float("nan")
    if estimate.kind == "share":
        return float(stats.binomtest(int(values.sum()), len(values), bound).pvalue)
    if estimate.kind == "median":
        above, below = int((values > bound).sum()), int((values < bound).sum())
        return float(stats.binomtest(above, above + below).pvalue) if above + below else 1.0
    if np.ptp(values) == 0:
        return float("nan")
    return float(stats.ttest_1samp(values, bound).pvalue)


def effect_size(estimate: Estimate, bound: float) -> float:
    """Distance from `bound` in the units of the kind's standard effect size; NaN where there is none.

    Cohen's d (mean distance over standard deviation) for a mean over seeds; for a median the dominance, the share of
    observations above the bound less that below; Cohen's h (difference of 2 arcsin sqrt) for a share.
    """
    values = np.array(estimate.observations)
    if len(values) < 2:
        return float("nan")
    if estimate.kind == "share":
        return float(2 * (np.arcsin(np.sqrt(estimate.value)) - np.arcsin(np.sqrt(bound))))
    if estimate.kind == "median":
        return float((values > bound).mean() - (values < bound).mean())
    deviation = values.std(ddof=1)
    return float((values.mean() - bound) / deviation) if deviation else float("nan")


def holm(p_values: Mapping[Any, float]) -> dict[Any, float]:
    """Holm's step-down correction (1979) of the p values of one family; NaN stay NaN and do not count.

    The k-th smallest of m is multiplied by m + 1 - k, made monotone and cut at 1, so that the chance of any false
    rejection in the family stays below the level.
    """
    tested = sorted((p, key) for key, p in p_values.items() if not np.isnan(p))
    corrected = dict.fromkeys(p_values, float("nan"))
    highest = 0.0
    for position, (p, key) in enumerate(tested):
        highest = max(highest, min(1.0, p * (len(tested) - position)))
        corrected[key] = highest
    return corrected
