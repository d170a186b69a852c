"""Estimates with their uncertainty.

scipy.stats, slow to import, is imported where it is used, so that ``--help`` of the analysis need not wait for it.
"""

from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value, its 95 % interval and the number of independent observations behind it.

    With one observation there is no interval: `low` and `high` are NaN; with none there is no value either.
    """

    value: float
    low: float
    high: float
    count: int


def mean_over_seeds(values: np.ndarray) -> Estimate:
    """Mean (n,) with Student's t interval.

    With three to five seeds a bootstrap interval cannot leave the range of the values and covers far less than it
    promises, so the t interval is used, which assumes that seeds scatter normally.
    """
    from scipy import stats

    values = np.asarray(values, dtype=float)
    if len(values) == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    mean = float(values.mean())
    if len(values) < 2:
        return Estimate(mean, float("nan"), float("nan"), len(values))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * stats.sem(values))
    return Estimate(mean, mean - half, mean + half, len(values))


def median_over_starts(values: np.ndarray) -> Estimate:
    """Median (n,) with a percentile bootstrap interval (9,999 resamples, fixed seed), for hundreds of starts."""
    from scipy import stats

    values = np.asarray(values, dtype=float)
    median = float(np.median(values))
    if len(values) < 2 or np.ptp(values) == 0:
        return Estimate(median, median, median, len(values))
    interval = stats.bootstrap(
        (values,), np.median, confidence_level=CONFIDENCE, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return Estimate(median, float(interval.low), float(interval.high), len(values))


def share(successes: np.ndarray) -> Estimate:
    """Share of True among (n,) booleans with Wilson's interval."""
    from scipy import stats

    successes = np.asarray(successes, dtype=bool)
    interval = stats.binomtest(int(successes.sum()), len(successes)).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(float(successes.mean()), float(interval.low), float(interval.high), len(successes))
