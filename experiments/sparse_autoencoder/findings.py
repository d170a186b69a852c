"""What the autoencoder runs say: the tuned lambda, the frontier of fixed lambdas, and every method's place beside it."""

from math import comb

import numpy as np
import pandas as pd

from experiments.scale import Settings

SOFTADAPT = "softadapt"
SOFTADAPT_MEAN = "softadapt-mean-error"

GROUPS = {"lambda-": "fixed lambda", "softadapt": "SoftAdapt", "rule-": "other rules named SoftAdapt", "": "rival"}
"""Prefix of a method's name -> its group."""


DEAD = 1e-3
"""L1 norm below which a code is dead: a single weak unit that fires for a few digits draws no frontier."""


def group_of(method: str) -> str:
    """The group of a method."""
    return next(group for prefix, group in GROUPS.items() if method.startswith(prefix))


def final(settings: Settings, history: pd.DataFrame) -> pd.DataFrame:
    """The last epoch of every run."""
    return history[history["epoch"] == settings.sparse_autoencoder.epochs]


def tuned_lambda(settings: Settings, history: pd.DataFrame) -> str:
    """The fixed method with the highest mean PCC on the validation digits at the last epoch."""
    last = final(settings, history)
    fixed = last[last["method"].str.startswith("lambda-")]
    return str(fixed.groupby("method", sort=False)["validation_pcc"].mean().idxmax())


def by_seed(history: pd.DataFrame, method: str, epoch: int, column: str) -> np.ndarray:
    """Values (seeds,) of a column for one method and epoch, in the order of the seeds."""
    rows = history[(history["method"] == method) & (history["epoch"] == epoch)]
    return rows.sort_values("seed")[column].to_numpy()


def beside_the_frontier(settings: Settings, history: pd.DataFrame) -> pd.DataFrame:
    """Every method's final place beside the frontier that the fixed lambdas of the same seed draw.

    Error and PCC of the frontier at a method's L1 norm are interpolated between the lambdas: the logarithm of the error,
    and the PCC, linearly in the logarithm of the L1 norm. Rows where the code is sparser or denser than on the whole grid
    have no frontier beside them and are NaN.

    Returns:
        columns method, seed, ``error_ratio`` (test error over the frontier's; below 1 is better) and ``pcc_gain``
        (test PCC minus the frontier's, percentage points).
    """
    parts = []
    for seed, rows in final(settings, history).groupby("seed"):
        line = rows[rows["method"].str.startswith("lambda-") & (rows["test_l1"] > DEAD)].sort_values("test_l1")
        log_l1 = np.log(line["test_l1"].to_numpy())
        with np.errstate(divide="ignore"):  # a dead code has the norm 0, which is beyond the grid
            ours = np.log(rows["test_l1"].to_numpy())
        error = np.exp(np.interp(ours, log_l1, np.log(line["test_mse"]), left=np.nan, right=np.nan))
        pcc = np.interp(ours, log_l1, line["test_pcc"], left=np.nan, right=np.nan)
        places = {"error_ratio": rows["test_mse"] / error, "pcc_gain": rows["test_pcc"] - pcc}
        parts.append(rows[["method"]].assign(seed=seed, **places))
    return pd.concat(parts, ignore_index=True)


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
    """Runs that a random search over the grid needs until its expected PCC is that of a method; None if it never is."""
    means = final(settings, history).groupby("method")[["validation_pcc", "test_pcc"]].mean()
    grid = means[means.index.str.startswith("lambda-")]
    chosen_by, judged_by = grid["validation_pcc"].to_numpy(), grid["test_pcc"].to_numpy()
    for trials in range(1, len(grid) + 1):
        if expected_best_of(trials, chosen_by, judged_by) >= means.loc[method, "test_pcc"]:
            return trials
    return None
