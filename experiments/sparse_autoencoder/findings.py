"""What the autoencoder runs say: the tuned lambda, the frontier of fixed lambdas, and each method's place beside it."""

from functools import cached_property
from math import comb
from typing import Any

import numpy as np
import pandas as pd

from experiments.evidence.reading import Runs
from experiments.evidence.statistics import CONFIDENCE, Estimate, holm, mean_over_seeds, p_value
from experiments.evidence.summaries import (
    DIVERGED,
    at_epochs,
    by_method_and_epoch,
    failure,
    mean_of_all,
    methods_of,
    training_rows,
)
from experiments.runs.errors import UserError
from experiments.sparse_autoencoder.settings import LAMBDA, SparseAutoencoderSettings

SOFTADAPT = "softadapt"
SOFTADAPT_MEAN = "softadapt-mean-error"

GROUPS = {LAMBDA: "fixed lambda", "softadapt": "SoftAdapt", "rule-": "other rules named SoftAdapt", "": "rival"}
"""Prefix of a method's name -> its group."""

LOSSES = ("train_mse", "validation_mse")
"""Columns of every epoch that are finite as long as a run has not diverged."""

DEAD = 1e-3
"""L1 norm below which a code is dead: a single weak unit that fires for a few digits draws no frontier."""

rows = training_rows


def group_of(method: str) -> str:
    """The group of a method."""
    return next(group for prefix, group in GROUPS.items() if method.startswith(prefix))


def value_of(method: str) -> float:
    """The lambda of a fixed method."""
    return float(method.removeprefix(LAMBDA))


class Findings:
    """Tables and measurements of the autoencoder.

    Args:
        runs: the room's runs.
    """

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self.settings: SparseAutoencoderSettings = runs.section

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The report epochs and the last epoch of all methods and seeds."""
        return methods_of(self._runs)

    @cached_property
    def final(self) -> pd.DataFrame:
        """The last epoch of every run; of NaN for those that diverged."""
        return at_epochs(self.rows, [self.settings.epochs], LOSSES)

    @cached_property
    def final_means(self) -> pd.DataFrame:
        """Mean over seeds of every number at the last epoch, by method; NaN for a method with a run that diverged."""
        numbers = self.final.select_dtypes("number").columns.drop(["seed", "epoch"])
        return self.final.groupby("method", sort=False)[list(numbers)].agg(lambda values: values.mean(skipna=False))

    @cached_property
    def tuned_lambda(self) -> str:
        """The fixed method with the highest mean PCC on validation digits at the last epoch, if no run of it diverged.

        Raises:
            UserError: if every fixed lambda diverges.
        """
        means = self.final_means["validation_pcc"].dropna()
        fixed = means[means.index.str.startswith(LAMBDA)]
        if fixed.empty:
            raise UserError(
                "sparse_autoencoder.lambdas: every fixed lambda has a run that diverged; choose another grid"
            )
        return str(fixed.idxmax())

    def by_seed(self, method: str, epoch: int, column: str) -> np.ndarray:
        """Values (seeds,) of a column for one method and epoch, in the order of the seeds."""
        chosen = self.rows[(self.rows["method"] == method) & (self.rows["epoch"] == epoch)]
        return chosen.sort_values("seed")[column].to_numpy()

    @cached_property
    def beside_the_frontier(self) -> pd.DataFrame:
        """Every method's final place beside the frontier that the fixed lambdas of the same seed draw.

        Error and PCC of the frontier at a method's L1 norm are interpolated between the lambdas: the logarithm of the
        error, and the PCC, linearly in the logarithm of the L1 norm. Rows where the code is sparser or denser than on
        the whole grid have no frontier beside them and are NaN, and so are runs that diverged. The run of a lambda that
        diverged draws no part of the frontier of its seed.

        Columns: method, seed, ``error_ratio`` (test error over the frontier's; below 1 is better), ``pcc_gain`` (test
        PCC minus the frontier's, percentage points) and ``left_out`` (the lambdas of the seed that diverged, in words).
        """
        parts = []
        for seed, runs in self.final.groupby("seed"):
            fixed = runs["method"].str.startswith(LAMBDA)
            line = runs[fixed & (runs["test_l1"] > DEAD)].sort_values("test_l1")
            log_l1 = np.log(line["test_l1"].to_numpy())
            with np.errstate(divide="ignore"):  # a dead code has the norm 0, which is beyond the grid
                ours = np.log(runs["test_l1"].to_numpy())
            error = np.exp(_interpolated(ours, log_l1, np.log(line["test_mse"].to_numpy())))
            pcc = _interpolated(ours, log_l1, line["test_pcc"].to_numpy())
            places = {"error_ratio": runs["test_mse"] / error, "pcc_gain": runs["test_pcc"] - pcc}
            places["left_out"] = ", ".join(runs[fixed & (runs["verdict"] == DIVERGED)]["method"])
            parts.append(runs[["method"]].assign(seed=seed, **places))
        return pd.concat(parts, ignore_index=True)

    def trials_to_match(self, method: str) -> int | None:
        """Runs that a random search over the grid needs until its expected PCC is a method's; None if it never is.

        A method with a run that diverged scores 0: it reconstructs nothing that could be classified.
        """
        means = self.final_means[["validation_pcc", "test_pcc"]].fillna(0.0)
        grid = means[means.index.str.startswith(LAMBDA)]
        chosen_by, judged_by = grid["validation_pcc"].to_numpy(), grid["test_pcc"].to_numpy()
        for trials in range(1, len(grid) + 1):
            if expected_best_of(trials, chosen_by, judged_by) >= means.loc[method, "test_pcc"]:
                return trials
        return None

    def loss(self, *, part: str) -> Estimate:
        """Final loss at the tuned lambda, the same function of error and sparsity for both, SoftAdapt minus fixed."""
        tuned, epoch = self.tuned_lambda, self.settings.epochs

        def loss(method: str) -> np.ndarray:
            error, norm = (self.by_seed(method, epoch, f"{part}_{name}") for name in ("mse", "l1"))
            return error + value_of(tuned) * norm

        if failed := failure(self.rows, "below", SOFTADAPT):  # no run of the tuned lambda diverged
            return failed
        return mean_over_seeds(loss(SOFTADAPT) - loss(tuned))

    def pcc(self, *, report: int, ours: str = SOFTADAPT, theirs: str = "") -> Estimate:
        """PCC on test digits at a report epoch, `ours` minus `theirs`, by default the tuned lambda; paired by seed."""
        epoch, theirs = self.settings.report_epochs[report], theirs or self.tuned_lambda
        if failed := failure(self.rows, "above", ours, theirs):
            return failed
        one, other = (self.by_seed(method, epoch, "test_pcc") for method in (ours, theirs))
        return mean_over_seeds(one - other)

    def one_trial(self) -> Estimate:
        """Final PCC of SoftAdapt minus the mean over the grid: what one run with a lambda drawn from it can expect.

        A lambda's run that diverged scores 0 in that mean: it reconstructs nothing that could be classified.
        """
        if failed := failure(self.rows, "above", SOFTADAPT):
            return failed
        last = self.final.set_index("seed")
        grid = last[last["method"].str.startswith(LAMBDA)]
        drawn = grid["test_pcc"].where(grid["verdict"] != DIVERGED, 0.0).groupby("seed").mean()
        ours = last[last["method"] == SOFTADAPT]["test_pcc"]
        return mean_over_seeds((ours - drawn).to_numpy())

    def frontier(self, *, measure: str = "error_ratio", ours: str = SOFTADAPT, theirs: str = "") -> Estimate:
        """A method's final place beside the frontier of fixed lambdas, by seed (see `beside_the_frontier`).

        With `theirs`, compared with another method's place: as a quotient of error ratios, or a difference of PCC
        gains. No estimate if a run lies beyond the grid, where there is no frontier to compare with.
        """
        if failed := failure(self.rows, "below" if measure == "error_ratio" else "above", ours, theirs):
            return failed
        places = self.beside_the_frontier.pivot_table(index="seed", columns="method", values=measure, dropna=False)
        values = places[ours]
        if theirs:
            values = values / places[theirs] if measure == "error_ratio" else values - places[theirs]
        return mean_of_all(values)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Table 3 with what a single score hides, and every method's place beside the frontier of fixed lambdas."""
        measures = [
            "test_pcc",
            "test_mse",
            "validation_mse",
            "train_mse",
            "test_l1",
            "test_active_share",
            "train_seconds",
        ]
        reported = at_epochs(self.rows, self.settings.report_epochs, LOSSES)
        return {
            "sparse_autoencoder": by_method_and_epoch(reported, measures, self.tuned_lambda, ["test_pcc"]),
            "autoencoder_methods": self._methods(),
        }

    def _methods(self) -> pd.DataFrame:
        """At the end of training: scores, place beside the frontier, and what a method costs, its trials included."""
        last = self.final.merge(self.beside_the_frontier, on=["method", "seed"])
        measures = ["test_pcc", "test_mse", "test_l1", "error_ratio", "pcc_gain", "train_seconds"]
        table = by_method_and_epoch(last, measures, self.tuned_lambda, ["test_pcc"]).drop(columns="epoch")
        ratios = {str(method): mean_of_all(runs["error_ratio"]) for method, runs in last.groupby("method")}
        compared = {method: p_value(ratio, 1.0) for method, ratio in ratios.items() if not method.startswith(LAMBDA)}
        corrected = holm(compared)
        table.insert(1, "group", [group_of(method) for method in table["method"]])
        table["place"] = [
            "diverged" if failed else _place(ratios[method], corrected.get(method))
            for method, failed in zip(table["method"], table["failed"], strict=True)
        ]
        searched = table["method"] == self.tuned_lambda
        table["trials"] = searched.map({True: len(self.settings.lambdas), False: 1})
        grid = last[last["method"].str.startswith(LAMBDA)].groupby("seed")["train_seconds"].sum().mean()
        table["training_bill_seconds"] = table["train_seconds"].mask(searched, grid)
        return table

    def numbers(self) -> dict[str, Any]:
        """What the manuscript quotes."""
        tuned, nearest = self.tuned_lambda, self._nearest_lambda()
        named = {"tuned": tuned, "softadapt": SOFTADAPT, "mean": SOFTADAPT_MEAN, "nearest": nearest}
        measures = ["test_mse", "test_l1", "test_active_share", "test_pcc"]
        means = {name: self.final_means.loc[method, measures].astype(float).to_dict() for name, method in named.items()}
        return {
            "tuned_method": tuned,
            "tuned_lambda": value_of(tuned),
            "autoencoder": {
                "trials_to_match": self.trials_to_match(SOFTADAPT),
                "nearest_lambda": value_of(nearest),
                **means,
            },
        }

    def _nearest_lambda(self) -> str:
        """The fixed method with the L1 norm nearest to SoftAdapt's by logarithm; the tuned one if SoftAdapt diverged."""
        norms = self.final_means["test_l1"]
        if np.isnan(norms[SOFTADAPT]):
            return self.tuned_lambda
        fixed = norms[norms.index.str.startswith(LAMBDA) & (norms > DEAD)]
        return str((np.log(fixed) - np.log(norms[SOFTADAPT])).abs().idxmin())


def _interpolated(x: np.ndarray, line_x: np.ndarray, line_y: np.ndarray) -> np.ndarray:
    """Linear interpolation; NaN beyond the line, and where there is none."""
    if len(line_x) == 0:
        return np.full(len(x), np.nan)
    return np.interp(x, line_x, line_y, left=np.nan, right=np.nan)


def expected_best_of(trials: int, chosen_by: np.ndarray, judged_by: np.ndarray) -> float:
    """Expected score of the best of so many different lambdas drawn from the grid.

    The one with the highest score of `chosen_by` (G,) is chosen, and its score of `judged_by` (G,) counts. Exact: of
    the C(G, n) draws, the lambda of rank r (0 is the best) is the best in C(G - 1 - r, n - 1).
    """
    size = len(chosen_by)
    ranked = judged_by[np.argsort(-chosen_by, kind="stable")]
    shares = [comb(size - 1 - rank, trials - 1) / comb(size, trials) for rank in range(size)]
    return float(np.dot(shares, ranked))


def _place(ratio: Estimate, corrected: float | None) -> str:
    """Better than the frontier, on it, worse, or beyond the grid; p values are corrected over all methods."""
    if corrected is None:
        return "draws it"
    if np.isnan(ratio.value):
        return "beyond the grid"
    if not corrected < 1 - CONFIDENCE or ratio.low <= 1 <= ratio.high:
        return "on it"
    return "better" if ratio.high < 1 else "worse"
