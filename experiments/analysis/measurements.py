"""The measurements that decide the claims: each returns an estimate with its interval.

A measurement is a function of `Evidence` and of the arguments that ``paper/claims.yaml`` gives it. It belongs to one
experiment, and a scale without that experiment leaves its claims out.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from experiments.analysis import autoencoder, collapse, descent, five_rules, reading
from experiments.analysis.statistics import Estimate, mean_over_seeds, share
from experiments.config import Settings

NO_ESTIMATE = Estimate(float("nan"), float("nan"), float("nan"), 0)
"""The runs do not allow one; the verdict is then inconclusive."""


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
    def tuned_lambda(self) -> str:
        """The fixed method of the autoencoder that SoftAdapt is held against."""
        return autoencoder.tuned_lambda(self.settings, self.autoencoder)


def descent_ratio(evidence: Evidence, *, function: str, step_rule: str, method: str) -> Estimate:
    """Steps of a method over steps of plain descent, each at its own best settings, median over the judged starts."""
    sweep = descent.Sweep(evidence.settings, function, step_rule)
    return descent.steps_ratio(sweep.tune(method), sweep.tune("plain"))


def descent_beta_ratio(evidence: Evidence, *, function: str, step_rule: str, method: str) -> Estimate:
    """Steps of a method at its best beta over its steps at the illustrated (default) beta."""
    sweep = descent.Sweep(evidence.settings, function, step_rule)
    return descent.steps_ratio(
        sweep.tune(method), sweep.tune(method, evidence.settings.gradient_descent.illustrated_beta)
    )


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

    return mean_over_seeds(loss(autoencoder.SOFTADAPT) - loss(tuned))


def autoencoder_pcc(evidence: Evidence, *, report: int) -> Estimate:
    """PCC on the test digits at a report epoch, SoftAdapt minus the tuned lambda, paired by seed."""
    epoch = evidence.settings.sparse_autoencoder.report_epochs[report]
    ours, theirs = (
        autoencoder.by_seed(evidence.autoencoder, method, epoch, "test_pcc")
        for method in (autoencoder.SOFTADAPT, evidence.tuned_lambda)
    )
    return mean_over_seeds(ours - theirs)


def autoencoder_frontier(evidence: Evidence) -> Estimate:
    """SoftAdapt's test error over that of the fixed lambdas at the same L1 norm, log-log interpolated, by seed."""
    settings = evidence.settings.sparse_autoencoder
    ratios = []
    last = evidence.autoencoder[evidence.autoencoder["epoch"] == settings.epochs]
    for seed in settings.seeds:
        rows = last[last["seed"] == seed].set_index("method")[["test_l1", "test_mse"]]
        line = rows[rows.index.str.startswith("lambda-") & (rows["test_l1"] > 0)].sort_values("test_l1")
        ours = rows.loc[autoencoder.SOFTADAPT]
        if not line["test_l1"].iloc[0] <= ours["test_l1"] <= line["test_l1"].iloc[-1]:
            return NO_ESTIMATE  # beyond the grid there is no frontier to compare with
        error = np.exp(np.interp(np.log(ours["test_l1"]), np.log(line["test_l1"]), np.log(line["test_mse"])))
        ratios.append(ours["test_mse"] / error)
    return mean_over_seeds(np.array(ratios))


def autoencoder_training_time(evidence: Evidence) -> Estimate:
    """Wall time of training, SoftAdapt over the tuned lambda, minus 1, paired by seed."""
    return _extra_training_time(evidence.autoencoder, evidence.tuned_lambda)


def introvae_training_time(evidence: Evidence) -> Estimate:
    """Wall time of training, SoftAdapt over fixed weights, minus 1, paired by seed."""
    return _extra_training_time(evidence.introvae, "fixed")


def _extra_training_time(history: pd.DataFrame, fixed: str) -> Estimate:
    """Pairs of which a run stopped early do not count: less training is not cheaper training."""
    tables = history.pivot_table(index="seed", columns="method", values=["train_seconds", "epoch"], aggfunc="max")
    whole = (tables["epoch"][["softadapt", fixed]] == history["epoch"].max()).all(axis=1)
    seconds = tables["train_seconds"][whole]
    return mean_over_seeds((seconds["softadapt"] / seconds[fixed] - 1).to_numpy())


def introvae_difference(
    evidence: Evidence, *, part: str, measure: str, report: int, ours: str = "softadapt", theirs: str = "fixed"
) -> Estimate:
    """A measure at a report epoch, method `ours` minus method `theirs`, paired by seed.

    No estimate if a run has diverged: the survivors' mean would speak for a method that fails.
    """
    settings = evidence.settings.introvae
    rows = evidence.introvae[evidence.introvae["epoch"] == settings.report_epochs[report]]
    values = rows.pivot_table(index="seed", columns="method", values=f"{part}_{measure}")
    values = values.reindex(index=settings.seeds, columns=[ours, theirs])
    if values.isna().any(axis=None):
        return NO_ESTIMATE
    return mean_over_seeds((values[ours] - values[theirs]).to_numpy())


def introvae_without_warmup(evidence: Evidence) -> Estimate:
    """Final PSNR of SoftAdapt on held-out images; no estimate if the scale trains with a warm-up or a run diverged."""
    settings = evidence.settings.introvae
    rows = evidence.introvae[evidence.introvae["epoch"] == settings.report_epochs[-1]]
    values = rows[rows["method"] == "softadapt"]["held_out_psnr"].dropna().to_numpy()
    if settings.warmup_epochs or len(values) < len(settings.seeds):
        return NO_ESTIMATE
    return mean_over_seeds(values)


def published_niqe_spread(evidence: Evidence) -> Estimate:
    """Highest minus lowest of all NIQE values in the paper, whatever the method, epoch or image set."""
    values = collapse.published_values(evidence.published)
    spread = max(values) - min(values)
    return Estimate(spread, spread, spread, len(values))


def order_disagreement(evidence: Evidence, *, rule: str, reference: str = five_rules.REFERENCE) -> Estimate:
    """Share of random histories whose two components `rule` orders otherwise than `reference`, by default equation 4."""
    return share(five_rules.Audit(evidence.settings).orders_otherwise(rule, reference))


MEASUREMENTS_OF: dict[str, tuple[Callable[..., Estimate], ...]] = {
    "gradient_descent": (descent_ratio, descent_beta_ratio, plain_diverged_share),
    "sparse_autoencoder": (autoencoder_loss, autoencoder_pcc, autoencoder_frontier, autoencoder_training_time),
    "introvae": (introvae_difference, introvae_without_warmup, introvae_training_time),
    "niqe_collapse": (published_niqe_spread,),  # reads no run; the audit is what explains its verdict
    "five_rules": (order_disagreement,),
}
"""Experiment -> the measurements of its runs."""

MEASUREMENTS = {function.__name__: function for functions in MEASUREMENTS_OF.values() for function in functions}
EXPERIMENT_OF = {function.__name__: name for name, functions in MEASUREMENTS_OF.items() for function in functions}
