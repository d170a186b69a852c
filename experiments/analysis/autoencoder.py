"""What the autoencoder runs say: the tuned lambda, the frontier of fixed lambdas, and every method's place beside it."""

from math import comb

import numpy as np
import pandas as pd

from experiments.analysis import reading
from experiments.config import Settings
from experiments.errors import UserError

SOFTADAPT = "softadapt"
SOFTADAPT_MEAN = "softadapt-mean-error"

GROUPS = {"lambda-": "fixed lambda", "softadapt": "SoftAdapt", "rule-": "other rules named SoftAdapt", "": "rival"}
"""Prefix of a method's name -> its group."""


LOSSES = ("train_mse", "validation_mse")
"""Columns of every epoch that are finite as long as a run has not diverged."""

DEAD = 1e-3
"""L1 norm below which a code is dead: a single weak unit that fires for a few digits draws no frontier."""


def group_of(method: str) -> str:
    """The group of a method."""
    return next(group for prefix, group in GROUPS.items() if method.startswith(prefix))


def final(settings: Settings, history: pd.DataFrame) -> pd.DataFrame:
    """The last epoch of every run; of NaN for those that diverged."""
    return reading.at_epochs(history, [settings.sparse_autoencoder.epochs], LOSSES)


def final_means(settings: Settings, history: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds of every number at the last epoch, by method; NaN for a method with a run that diverged."""
    last = final(settings, history)
    numbers = last.select_dtypes("number").columns.drop(["seed", "epoch"])
    return last.groupby("method", sort=False)[list(numbers)].agg(lambda values: values.mean(skipna=False))


def tuned_lambda(settings: Settings, history: pd.DataFrame) -> str:
    """The fixed method with the highest mean PCC on the validation digits at the last epoch, of those that never diverge.

    Raises:
        UserError: if every fixed lambda diverges.
    """
    means = final_means(settings, history)["validation_pcc"].dropna()
    fixed = means[means.index.str.startswith("lambda-")]
    if fixed.empty:
        raise UserError(f"{reading.results(settings)}: every fixed lambda has a run that diverged; choose another grid")
    return str(fixed.idxmax())


def by_seed(history: pd.DataFrame, method: str, epoch: int, column: str) -> np.ndarray:
    """Values (seeds,) of a column for one method and epoch, in the order of the seeds."""
    rows = history[(history["method"] == method) & (history["epoch"] == epoch)]
    return rows.sort_values("seed")[column].to_numpy()


def beside_the_frontier(settings: Settings, history: pd.DataFrame) -> pd.DataFrame:
    """Every method's final place beside the frontier that the fixed lambdas of the same seed draw.

    Error and PCC of the frontier at a method's L1 norm are interpolated between the lambdas: the logarithm of the error,
    and the PCC, linearly in the logarithm of the L1 norm. Rows where the code is sparser or denser than on the whole grid
    have no frontier beside them and are NaN, and so are runs that diverged. The run of a lambda that diverged draws no part
    of the frontier of its seed.

    Returns:
        columns method, seed, ``error_ratio`` (test error over the frontier's; below 1 is better), ``pcc_gain`` (test PCC
        minus the frontier's, percentage points) and ``left_out`` (the lambdas of the seed that diverged, in words).
    """
    parts = []
    for seed, rows in final(settings, history).groupby("seed"):
        fixed = rows["method"].str.startswith("lambda-")
        line = rows[fixed & (rows["test_l1"] > DEAD)].sort_values("test_l1")
        log_l1 = np.log(line["test_l1"].to_numpy())
        with np.errstate(divide="ignore"):  # a dead code has the norm 0, which is beyond the grid
            ours = np.log(rows["test_l1"].to_numpy())
        error = np.exp(_interpolated(ours, log_l1, np.log(line["test_mse"].to_numpy())))
        pcc = _interpolated(ours, log_l1, line["test_pcc"].to_numpy())
        places = {"error_ratio": rows["test_mse"] / error, "pcc_gain": rows["test_pcc"] - pcc}
        places["left_out"] = ", ".join(rows[fixed & (rows["verdict"] == reading.DIVERGED)]["method"])
        parts.append(rows[["method"]].assign(seed=seed, **places))
    return pd.concat(parts, ignore_index=True)


def _interpolated(x: np.ndarray, line_x: np.ndarray, line_y: np.ndarray) -> np.ndarray:
    """Linear interpolation; NaN beyond the line, and where there is none."""
    if len(line_x) == 0:
        return np.full(len(x), np.nan)
    return np.interp(x, line_x, line_y, left=np.nan, right=np.nan)


def expected_best_of(trials: int, chosen_by: np.ndarray, judged_by: np.ndarray) -> float:
    """Expected score of the best of so many different lambdas drawn from the grid.

    The one with the highest score of `chosen_by` (G,) is chosen, and its score of `judged_by` (G,) counts. Exact: of the
    C(G, n) draws, the lambda of rank r (0 is the best) is the best in C(G - 1 - r, n - 1).
    """
    size = len(chosen_by)
    ranked = judged_by[np.argsort(-chosen_by, kind="stable")]
    shares = [comb(size - 1 - rank, trials - 1) / comb(size, trials) for rank in range(size)]
    return float(np.dot(shares, ranked))


def trials_to_match(settings: Settings, history: pd.DataFrame, method: str) -> int | None:
    """Runs that a random search over the grid needs until its expected PCC is that of a method; None if it never is.

    A method with a run that diverged scores 0: it reconstructs nothing that could be classified.
    """
    means = final_means(settings, history)[["validation_pcc", "test_pcc"]].fillna(0.0)
    grid = means[means.index.str.startswith("lambda-")]
    chosen_by, judged_by = grid["validation_pcc"].to_numpy(), grid["test_pcc"].to_numpy()
    for trials in range(1, len(grid) + 1):
        if expected_best_of(trials, chosen_by, judged_by) >= means.loc[method, "test_pcc"]:
            return trials
    return None
