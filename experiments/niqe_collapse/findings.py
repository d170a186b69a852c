"""What the NIQE audit says: collapsed scores per set of images, and what the paper's likely tool would have printed."""

from typing import Any

import numpy as np
import pandas as pd

from experiments.evidence.reading import FinishedRun
from experiments.scale import Settings


def scores(settings: Settings, published: dict[str, Any]) -> pd.DataFrame:
    """One row per image of the audit; column ``published_tool`` is the closed form with that tool's constants."""
    run = FinishedRun(settings, "niqe_collapse", "default", settings.niqe_collapse.seed)
    history = run.history
    constants = published["introvae"]["niqe_collapse"]
    excess = 2 * (history["mean"] - constants["m0"]) ** 2 / (history["variance"] + constants["s"])
    pooled = run.metrics["pooled"]
    return history.assign(published_tool=np.sqrt(constants["c"] ** 2 + excess), pooled=history["set"].map(pooled))


def summary(settings: Settings, published: dict[str, Any]) -> pd.DataFrame:
    """Lowest, mean and highest score of each set, with LIVE's model and with the published tool's constants."""
    rows = []
    for name, group in scores(settings, published).groupby("set", sort=False):
        row: dict[str, object] = {"set": name, "images": len(group)}
        for column, label in (("score", "live_model"), ("published_tool", "published_tool")):
            row |= {
                label: group[column].mean(),
                f"{label}_low": group[column].min(),
                f"{label}_high": group[column].max(),
            }
        rows.append(row | {"pooled_niqe": group["pooled"].iloc[0]})
    return pd.DataFrame(rows)


def published_values(published: dict[str, Any]) -> list[float]:
    """All NIQE values in the paper: both tables, both methods, all epochs."""
    tables = published["introvae"]
    return [v for table in ("table_1", "table_2") for m in ("softadapt", "fixed") for v in tables[table][m]["niqe"]]
