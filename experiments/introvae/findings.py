"""What the IntroVAE runs say: reconstructions by epoch, how runs ended, and differences between methods."""

from functools import cached_property

import pandas as pd

from experiments.evidence.reading import Runs
from experiments.evidence.statistics import NO_ESTIMATE, Estimate, mean_over_seeds
from experiments.evidence.summaries import at_epochs, by_method_and_epoch, failure, methods_of, training_rows
from experiments.introvae.settings import IntroVAESettings

LOSSES = ("reconstruction",)
"""Columns of every epoch that are finite as long as a run has not diverged."""

rows = training_rows


class Findings:
    """Tables and measurements of IntroVAE.

    Args:
        runs: the room's runs.
    """

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self.settings: IntroVAESettings = runs.section

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The report epochs of all methods and seeds."""
        return methods_of(self._runs)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Tables 1 and 2, reconstructions of training and of held-out images, and how the methods' runs ended."""
        reported = at_epochs(self.rows, self.settings.report_epochs, LOSSES)
        tables = {
            f"introvae_{part}": by_method_and_epoch(
                reported.rename(columns={f"{part}_{measure}": measure for measure in ("psnr", "ssim", "niqe")}),
                ["psnr", "ssim", "niqe"],
                "fixed",
                ["psnr", "ssim"],
            )
            for part in ("train", "held_out")
        }
        last = at_epochs(self.rows, [self.settings.epochs], LOSSES)
        measures = ["validation_psnr", "validation_ssim", "prior_niqe", "kl_real", "kl_sampled", "beyond_margin_share"]
        measures = [measure for measure in measures if measure in self.rows]
        ends = by_method_and_epoch(last, [*measures, "train_seconds"])
        ends.insert(2, "margin", [self.settings.methods[method].margin for method in ends["method"]])
        verdicts = last.groupby("method", sort=False)["verdict"].agg(lambda column: ", ".join(sorted(set(column))))
        ends["verdict"] = ends["method"].map(verdicts)
        return tables | {"introvae_methods": ends}

    def difference(
        self, *, part: str, measure: str, report: int, ours: str = "softadapt", theirs: str = "fixed"
    ) -> Estimate:
        """A measure at a report epoch, method `ours` minus method `theirs`, paired by seed.

        No estimate if a run has no value, as NIQE has none for constant images.
        """
        if failed := failure(self.rows, "below" if measure == "niqe" else "above", ours, theirs):
            return failed
        reported = self.rows[self.rows["epoch"] == self.settings.report_epochs[report]]
        values = reported.pivot_table(index="seed", columns="method", values=f"{part}_{measure}")
        values = values.reindex(index=self.settings.seeds, columns=[ours, theirs])
        if values.isna().any(axis=None):
            return NO_ESTIMATE
        return mean_over_seeds((values[ours] - values[theirs]).to_numpy())

    def without_warmup(self) -> Estimate:
        """Final PSNR of SoftAdapt on held-out images; no estimate if the scale trains with a warm-up."""
        if self.settings.warmup_epochs:
            return NO_ESTIMATE
        if failed := failure(self.rows, "above", "softadapt"):
            return failed
        last = self.rows[self.rows["epoch"] == self.settings.report_epochs[-1]]
        return mean_over_seeds(last[last["method"] == "softadapt"]["held_out_psnr"].to_numpy())
