"""Estimates with their uncertainty, and how a rule decides on them.

scipy.stats is slow to import. It is imported where it is used, so that ``--help`` does not wait for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

CONFIDENCE = 0.95

LEVEL = 1 - CONFIDENCE
"""Chance of a false decision, of a specification as of the family of the paper's claims."""

FEWEST = 5
"""Observations that a decision takes. Fewer seeds give pictures and tables, no verdicts."""

Kind = Literal["mean", "ratio", "median", "share", "halves", "fact"]
Side = Literal["above", "below"]
Decision = Literal["supports", "contradicts", "undecided"]


class NotRun(Exception):
    """The runs that a measurement needs are not part of the scale."""


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
        kind: how it summarises them: ``mean`` and geometric mean (``ratio``) over seeds, ``median`` over pairs, ``share``
            of successes, ``halves`` of the starts of a deterministic sweep, or a plain ``fact``.
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
"""The runs do not allow an estimate; nothing is decided then."""


def mean_over_seeds(values: np.ndarray | Sequence[float]) -> Estimate:
    """Mean (n,) with Student's t interval.

    Seeds without scatter have no interval: a seed that changes nothing is one observation, however often it is
    repeated.
    """
    values = np.asarray(values, dtype=float)
    if len(values) == 0:
        return NO_ESTIMATE
    mean, width = float(values.mean()), _half_width(values)
    return Estimate(mean, mean - width, mean + width, len(values), tuple(values.tolist()))


def ratio_over_seeds(ratios: np.ndarray | Sequence[float]) -> Estimate:
    """Geometric mean of ratios (n,) with Student's t interval of their logarithms. No estimate unless all are positive."""
    ratios = np.asarray(ratios, dtype=float)
    if not ((ratios > 0) & np.isfinite(ratios)).all():
        return NO_ESTIMATE
    logs = mean_over_seeds(np.log(ratios))
    value, low, high = np.exp([logs.value, logs.low, logs.high]).tolist()
    return Estimate(value, low, high, logs.count, tuple(ratios.tolist()), "ratio")


def _half_width(values: np.ndarray) -> float:
    """Half the width of Student's t interval of a mean; NaN where there is none."""
    from scipy import stats

    if len(values) < 2 or np.ptp(values) == 0:
        return float("nan")
    error = values.std(ddof=1) / np.sqrt(len(values))
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * error)


def median_over_pairs(values: np.ndarray) -> Estimate:
    """Median (n,) with the interval between two order statistics, as the sign test has it.

    Below six pairs there is no 95 % interval; the range of all pairs stands in, and `decide` decides nothing.
    """
    from scipy import stats

    ordered = np.sort(np.asarray(values, dtype=float))
    count = len(ordered)
    outside = int(stats.binom.ppf(LEVEL / 2, count, 0.5))  # so many may lie beyond either end
    low, high = ordered[max(0, outside - 1)], ordered[min(count - 1, count - outside)]
    return Estimate(float(np.median(ordered)), float(low), float(high), count, tuple(ordered.tolist()), "median")


def over_halves(values: np.ndarray | Sequence[float]) -> Estimate:
    """Median of what random halves of the starts say (n,), from the second lowest to the second highest.

    A sweep is deterministic arithmetic and has no sampling error. What varies is which starts choose the settings and
    which judge. Of 20 halves at least 19 lie on one side of a bound if and only if the whole interval does.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    if np.isnan(ordered).any() or len(ordered) < 3:
        return NO_ESTIMATE
    return Estimate(
        float(np.median(ordered)),
        float(ordered[1]),
        float(ordered[-2]),
        len(ordered),
        tuple(ordered.tolist()),
        "halves",
    )


def share(successes: np.ndarray) -> Estimate:
    """Share of True among (n,) booleans with Wilson's interval."""
    from scipy import stats

    successes = np.asarray(successes, dtype=bool)
    interval = stats.binomtest(int(successes.sum()), len(successes)).proportion_ci(CONFIDENCE, method="wilson")
    observations = tuple(successes.astype(float).tolist())
    return Estimate(
        float(successes.mean()), float(interval.low), float(interval.high), len(successes), observations, "share"
    )


def decide(kind: str, bound: float, estimate: Estimate) -> tuple[Decision, float]:
    """Decide whether an estimate supports or contradicts a rule; return that and its p value.

    Args:
        kind: ``above``, ``below`` or ``within``.
        bound: the bound; for ``within`` a ratio lies between its inverse and it, a difference between its negative and it.
        estimate: of a specification. A method with a run that diverged has failed and loses every comparison, unless the
            other failed too, and is not ``within`` any bound of a method that did not.

    Returns:
        The decision, and the p value: two-sided of the hypothesis that the true value is the bound, or of the nearer
        bound; the larger of two one-sided ones for equivalence (TOST); NaN where there is nothing to test, as in a sweep.
    """
    if estimate.failed is not None:
        side = estimate.failed.side
        if side is None or estimate.failed.runs < FEWEST:
            return "undecided", float("nan")
        return ("supports" if side == kind else "contradicts"), float("nan")
    fewest = {"fact": 1, "median": FEWEST + 1}.get(estimate.kind, FEWEST)
    if not estimate.low <= estimate.high or estimate.count < fewest:
        return "undecided", float("nan")
    if kind != "within":
        above, below = estimate.low > bound, estimate.high < bound
        decision: Decision = "undecided"
        if above or below:
            decision = "supports" if above == (kind == "above") else "contradicts"
        return decision, p_value(estimate, bound)
    lowest, highest = (1 / bound, bound) if estimate.kind in ("ratio", "halves") else (-bound, bound)
    if estimate.low > highest or estimate.high < lowest:
        return "contradicts", p_value(estimate, highest if estimate.low > highest else lowest)
    if estimate.kind == "halves":
        return ("supports" if lowest < estimate.low and estimate.high < highest else "undecided"), float("nan")
    p = max(_one_sided(estimate, lowest), _one_sided(estimate, highest))
    return ("supports" if p < LEVEL else "undecided"), p


def _one_sided(estimate: Estimate, bound: float) -> float:
    """P value of the hypothesis that the true mean is `bound`, against the side on which the estimate should lie.

    The estimate should lie above a bound below it, and below one above it; where it lies beyond, p exceeds a half.
    """
    two_sided = p_value(estimate, bound)
    inside = (estimate.value > bound) == (bound < (1 if estimate.kind == "ratio" else 0))
    return two_sided / 2 if inside else 1 - two_sided / 2


def p_value(estimate: Estimate, bound: float) -> float:
    """Two-sided p value of the hypothesis that the true value is `bound`; NaN where there is nothing to test.

    Student's t test for a mean over seeds (paired, where the observations are differences of pairs), of the logarithms of
    ratios, the sign test for a median, the binomial test for a share. Seeds without any scatter test nothing.
    """
    from scipy import stats

    values = np.array(estimate.observations)
    if len(values) < 2 or estimate.kind in ("halves", "fact"):
        return float("nan")
    if estimate.kind == "share":
        return float(stats.binomtest(int(values.sum()), len(values), bound).pvalue)
    if estimate.kind == "median":
        above, below = int((values > bound).sum()), int((values < bound).sum())
        return float(stats.binomtest(above, above + below).pvalue) if above + below else 1.0
    if estimate.kind == "ratio":
        values, bound = np.log(values), float(np.log(bound))
    if np.ptp(values) == 0:
        return float("nan")
    return float(stats.ttest_1samp(values, bound).pvalue)
