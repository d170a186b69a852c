"""The measurements that decide the claims: each returns an estimate with its interval.

A measurement is a function of `Evidence` and of the arguments that ``paper/claims.yaml`` gives it. It belongs to one
experiment, and a scale without that experiment leaves its claims out.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from experiments.analysis import autoencoder, collapse, cost, descent, five_rules, reading
from experiments.analysis.statistics import Estimate, Failed, Side, mean_over_seeds, share
from experiments.config import Settings

NO_ESTIMATE = Estimate(float("nan"), float("nan"), float("nan"), 0)
"""The runs do not allow one; the verdict is then inconclusive."""


def _failure(history: pd.DataFrame, better: Side, ours: str, theirs: str = "") -> Estimate | None:
    """What stands in for the estimate of a method, or of two, if runs have diverged: the survivors would speak for it.

    Args:
        history: what `reading.histories` returned.
        better: the side of a bound on which `ours` is the better method.
        ours: the method that is measured.
        theirs: the method that it is measured against, if any.
    """
    one, other = (reading.failed_runs(history, method) for method in (ours, theirs))
    if not one and not other:
        return None
    failed = Failed(one, other, history["seed"].nunique(), better)
    return Estimate(float("nan"), float("nan"), float("nan"), 0, failed=failed)


class Evidence:
    """The runs of one scale and the published numbers, each read once.

    Args:
        settings: of the scale.
        published: content of ``paper/published.yaml``.
    """

    def __init__(self, settings: Settings, published: dict[str, Any]) -> None:
        self.settings = settings
        self.published = published

    @cached_property
    def autoencoder(self) -> pd.DataFrame:
        """Histories of the autoencoder runs."""
        return reading.histories(self.settings, "sparse_autoencoder")

    @cached_property
    def introvae(self) -> pd.DataFrame:
        """Histories of the IntroVAE runs."""
        return reading.histories(self.settings, "introvae")

    @cached_property
    def beside_the_frontier(self) -> pd.DataFrame:
        """Every autoencoder method's place beside the frontier of fixed lambdas."""
        return autoencoder.beside_the_frontier(self.settings, self.autoencoder)

    @cached_property
    def tuned_lambda(self) -> str:
        """The fixed method of the autoencoder that SoftAdapt is held against."""
        return autoencoder.tuned_lambda(self.settings, self.autoencoder)


def descent_ratio(
    evidence: Evidence, *, function: str, step_rule: str, method: str, beta: float | None = None
) -> Estimate:
    """Steps of a method over steps of plain descent, median over the judged starts.

    Each at its own best step size, and the method at its best beta unless that is given.
    """
    sweep = descent.Sweep(evidence.settings, function, step_rule)
    return descent.steps_ratio(sweep.tune(method, beta), sweep.tune("plain"))


def descent_beta_ratio(evidence: Evidence, *, function: str, step_rule: str, method: str, than: float) -> Estimate:
    """Steps of a method at its best beta over its steps at the beta `than`, each at its own best step size."""
    sweep = descent.Sweep(evidence.settings, function, step_rule)
    return descent.steps_ratio(sweep.tune(method), sweep.tune(method, than))


def plain_diverged_share(evidence: Evidence, *, function: str, smallest_step: float) -> Estimate:
    """Share of starts from which plain descent diverges at every fixed step of at least `smallest_step`."""
    sweep = descent.Sweep(evidence.settings, function, "fixed")
    large = sweep.step_sizes >= smallest_step * (1 - 1e-9)
    return share((sweep.samples["steps_plain"][0][large] == descent.DIVERGED).all(0))


def autoencoder_loss(evidence: Evidence, *, part: str) -> Estimate:
    """Final loss at the tuned lambda, the same function of error and sparsity for both, SoftAdapt minus fixed."""
    tuned, epoch = evidence.tuned_lambda, evidence.settings.sparse_autoencoder.epochs
    value = float(tuned.removeprefix("lambda-"))

    def loss(method: str) -> np.ndarray:
        columns = [autoencoder.by_seed(evidence.autoencoder, method, epoch, f"{part}_{name}") for name in ("mse", "l1")]
        return columns[0] + value * columns[1]

    if failure := _failure(evidence.autoencoder, "below", autoencoder.SOFTADAPT, tuned):
        return failure
    return mean_over_seeds(loss(autoencoder.SOFTADAPT) - loss(tuned))


def autoencoder_pcc(
    evidence: Evidence, *, report: int, ours: str = autoencoder.SOFTADAPT, theirs: str = ""
) -> Estimate:
    """PCC on the test digits at a report epoch, `ours` minus `theirs` (the tuned lambda if not named), paired by seed."""
    epoch = evidence.settings.sparse_autoencoder.report_epochs[report]
    theirs = theirs or evidence.tuned_lambda
    if failure := _failure(evidence.autoencoder, "above", ours, theirs):
        return failure
    one, other = (autoencoder.by_seed(evidence.autoencoder, method, epoch, "test_pcc") for method in (ours, theirs))
    return mean_over_seeds(one - other)


def autoencoder_one_trial(evidence: Evidence) -> Estimate:
    """Final PCC of SoftAdapt minus the mean over the grid: what one run with a lambda drawn from it can expect.

    A lambda's run that diverged scores 0 in that mean: it reconstructs nothing that could be classified.
    """
    if failure := _failure(evidence.autoencoder, "above", autoencoder.SOFTADAPT):
        return failure
    last = autoencoder.final(evidence.settings, evidence.autoencoder).set_index("seed")
    grid = last[last["method"].str.startswith("lambda-")]
    drawn = grid["test_pcc"].where(grid["verdict"] != reading.DIVERGED, 0.0).groupby("seed").mean()
    ours = last[last["method"] == autoencoder.SOFTADAPT]["test_pcc"]
    return mean_over_seeds((ours - drawn).to_numpy())


def autoencoder_frontier(
    evidence: Evidence, *, measure: str = "error_ratio", ours: str = autoencoder.SOFTADAPT, theirs: str = ""
) -> Estimate:
    """A method's final place beside the frontier of fixed lambdas, by seed (see `autoencoder.beside_the_frontier`).

    With `theirs`, compared with another method's place: as a quotient of error ratios, or a difference of PCC gains. No
    estimate if a run lies beyond the grid, where there is no frontier to compare with.
    """
    if failure := _failure(evidence.autoencoder, "below" if measure == "error_ratio" else "above", ours, theirs):
        return failure
    places = evidence.beside_the_frontier.pivot_table(index="seed", columns="method", values=measure, dropna=False)
    values = places[ours]
    if theirs:
        values = values / places[theirs] if measure == "error_ratio" else values - places[theirs]
    return NO_ESTIMATE if values.isna().any() else mean_over_seeds(values.to_numpy())


def introvae_difference(
    evidence: Evidence, *, part: str, measure: str, report: int, ours: str = "softadapt", theirs: str = "fixed"
) -> Estimate:
    """A measure at a report epoch, method `ours` minus method `theirs`, paired by seed.

    No estimate if a run has no value, as NIQE has none for constant images.
    """
    settings = evidence.settings.introvae
    if failure := _failure(evidence.introvae, "below" if measure == "niqe" else "above", ours, theirs):
        return failure
    rows = evidence.introvae[evidence.introvae["epoch"] == settings.report_epochs[report]]
    values = rows.pivot_table(index="seed", columns="method", values=f"{part}_{measure}")
    values = values.reindex(index=settings.seeds, columns=[ours, theirs])
    if values.isna().any(axis=None):
        return NO_ESTIMATE
    return mean_over_seeds((values[ours] - values[theirs]).to_numpy())


def introvae_without_warmup(evidence: Evidence) -> Estimate:
    """Final PSNR of SoftAdapt on held-out images; no estimate if the scale trains with a warm-up."""
    settings = evidence.settings.introvae
    if settings.warmup_epochs:
        return NO_ESTIMATE
    if failure := _failure(evidence.introvae, "above", "softadapt"):
        return failure
    rows = evidence.introvae[evidence.introvae["epoch"] == settings.report_epochs[-1]]
    return mean_over_seeds(rows[rows["method"] == "softadapt"]["held_out_psnr"].to_numpy())


def published_niqe_spread(evidence: Evidence) -> Estimate:
    """Highest minus lowest of all NIQE values in the paper, whatever the method, epoch or image set."""
    values = collapse.published_values(evidence.published)
    spread = max(values) - min(values)
    return Estimate(spread, spread, spread, len(values))


def order_disagreement(evidence: Evidence, *, rule: str, reference: str = five_rules.REFERENCE) -> Estimate:
    """Share of random histories whose two components `rule` orders otherwise than `reference`, by default equation 4."""
    return share(five_rules.Audit(evidence.settings).orders_otherwise(rule, reference))


def step_overhead(evidence: Evidence, *, experiment: str, by: cost.By) -> Estimate:
    """What SoftAdapt adds to a training step of an experiment, as a share of the step with fixed weights."""
    return cost.overhead(cost.timings(evidence.settings), experiment, by)


MEASUREMENTS_OF: dict[str, tuple[Callable[..., Estimate], ...]] = {
    "gradient_descent": (descent_ratio, descent_beta_ratio, plain_diverged_share),
    "sparse_autoencoder": (
        autoencoder_loss,
        autoencoder_pcc,
        autoencoder_one_trial,
        autoencoder_frontier,
    ),
    "introvae": (introvae_difference, introvae_without_warmup),
    "niqe_collapse": (published_niqe_spread,),  # reads no run; the audit is what explains its verdict
    "five_rules": (order_disagreement,),
    "step_cost": (step_overhead,),
}
"""Experiment -> the measurements of its runs."""

MEASUREMENTS = {function.__name__: function for functions in MEASUREMENTS_OF.values() for function in functions}
EXPERIMENT_OF = {function.__name__: name for name, functions in MEASUREMENTS_OF.items() for function in functions}
