"""What the autoencoder runs say: which fixed lambda is the tuned one, and SoftAdapt against it, seed by seed."""

import numpy as np
import pandas as pd

from experiments.config import Settings

SOFTADAPT = "softadapt"
SOFTADAPT_MEAN = "softadapt-mean-error"


def tuned_lambda(settings: Settings, history: pd.DataFrame) -> str:
    """The fixed method with the highest mean PCC on the validation digits at the last epoch."""
    last = history[history["epoch"] == settings.sparse_autoencoder.epochs]
    fixed = last[last["method"].str.startswith("lambda-")]
    return str(fixed.groupby("method", sort=False)["validation_pcc"].mean().idxmax())


def by_seed(history: pd.DataFrame, method: str, epoch: int, column: str) -> np.ndarray:
    """Values (seeds,) of a column for one method and epoch, in the order of the seeds."""
    rows = history[(history["method"] == method) & (history["epoch"] == epoch)]
    return rows.sort_values("seed")[column].to_numpy()
