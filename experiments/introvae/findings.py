"""Tables and measurements of IntroVAE: reconstructions by epoch, how runs ended, and differences between methods."""

from collections import Counter
from collections.abc import Hashable
from dataclasses import replace
from functools import cached_property

import pandas as pd

from experiments.evidence.reading import Runs
from experiments.evidence.statistics import NO_ESTIMATE, Estimate, Failed, NotRun, mean_over_seeds
from experiments.evidence.summaries import (
    at_epochs,
    by_method_and_epoch,
    failure,
    mean_of_all,
    methods_of,
    training_rows,
)
from experiments.introvae.settings import IntroVAESettings

LOSSES = ("reconstruction",)
"""Columns of every epoch that are finite as long as a run has not diverged."""

MEASURES = (
    *("validation_psnr", "validation_ssim", "validation_swd", "prior_swd", "prior_niqe"),
    *("kl_real", "kl_sampled", "beyond_margin_share"),
)
"""Columns of the table of how runs ended, as far as the runs have them."""

TOLERATED_DB = 0.25
"""Decibels of PSNR that a setting may lie below the best one and still be chosen for its samples."""

rows = training_rows


def chosen(methods: pd.DataFrame) -> Hashable | None:
    """Label of the settings to choose among some trials: the best samples among those that reconstruct well.

    Reconstructions alone would favour the weakest adversary, whose samples are the worst.

    Args:
        methods: a row for each setting, with the columns ``validation_psnr`` (dB) and ``validation_swd``, the distance of
            samples from validation images. A setting without a number, as after a run that diverged, is not chosen.

    Returns:
        The label of the row with the lowest distance among those whose PSNR is within `TOLERATED_DB` of the highest;
        None if no row has both numbers.
    """
    judged = methods.dropna(subset=["validation_psnr", "validation_swd"])
    near = judged[judged["validation_psnr"] >= judged["validation_psnr"].max() - TOLERATED_DB]
    return None if near.empty else near["validation_swd"].idxmin()


def _counted(verdicts: pd.Series) -> str:
    """Count verdicts, the most frequent first, as ``trained 3, order inverted 2``; a single verdict stands without its number."""
    counts = Counter(verdicts).most_common()
    return counts[0][0] if len(counts) == 1 else ", ".join(f"{verdict} {count}" for verdict, count in counts)


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
        measures = [measure for measure in MEASURES if measure in self.rows]
        ends = by_method_and_epoch(last, [*measures, "train_seconds"])
        if "margin" in self.rows:
            ends.insert(2, "margin", ends["method"].map(last.groupby("method")["margin"].mean()))
        verdicts = last.groupby("method", sort=False)["verdict"].agg(_counted)
        ends["verdict"] = ends["method"].map(verdicts)
        if "validation_swd" in ends:
            rules = ends["method"].map(lambda method: self.settings.methods[method].encoder["rule"])
            trials = [group for _, group in ends.groupby(rules) if len(group) > 1]
            best = {chosen(group) for group in trials}
            ends["chosen"] = ["yes" if label in best else "" for label in ends.index]
        return tables | {"introvae_methods": ends}

    def difference(
        self, *, part: str, measure: str, report: int, weights: str = "two", tuning: str = "published"
    ) -> Estimate | None:
        """A measure at a report epoch, SoftAdapt minus fixed weights, paired by seed.

        No estimate if a run has no value, as NIQE has none for constant images.

        Raises:
            NotRun: if the scale does not train both.
        """
        ours, theirs = self._softadapt(weights, tuning), self._method("fixed", tuning)
        if failed := failure(self.rows, "below" if measure == "niqe" else "above", ours, theirs):
            return failed
        reported = self.rows[self.rows["epoch"] == self.settings.report_epochs[report]]
        values = reported.pivot_table(index="seed", columns="method", values=f"{part}_{measure}")
        values = values.reindex(index=self.settings.seeds, columns=[ours, theirs])
        return mean_of_all(values[ours] - values[theirs])

    def _method(self, name: str, tuning: str) -> str:
        """Name of a method with its published settings, or with those that were chosen for it by trials."""
        name += {"published": "", "trials": "-tuned"}[tuning]
        if name not in self.settings.methods:
            raise NotRun
        return name

    def _softadapt(self, weights: str, tuning: str) -> str:
        """Name of SoftAdapt with two or three adapted weights."""
        return self._method({"two": "softadapt", "three": "softadapt-three"}[weights], tuning)

    def without_warmup(self, *, weights: str = "two", tuning: str = "published") -> Estimate | None:
        """Final PSNR of SoftAdapt on held-out images.

        A run has failed unless its verdict is ``trained``: without an adversary, or with the order of the divergences
        inverted, what it trained is no IntroVAE.

        Raises:
            NotRun: if the scale trains with a warm-up, or does not train the method.
        """
        last = self._last(self._softadapt(weights, tuning))
        if self.settings.warmup_epochs:
            raise NotRun
        if failed := int((last["verdict"] != "trained").sum()):
            return replace(NO_ESTIMATE, failed=Failed(failed, 0, len(last), "above"))
        return mean_over_seeds(last["held_out_psnr"].to_numpy())

    def order(self, *, weights: str = "two", tuning: str = "published") -> Estimate | None:
        """KL of samples minus KL of real images at the last epoch, nats."""
        ours = self._softadapt(weights, tuning)
        last = self._last(ours)
        if failed := failure(self.rows, "above", ours):
            return failed
        return mean_over_seeds((last["kl_sampled"] - last["kl_real"]).to_numpy())

    def _last(self, method: str) -> pd.DataFrame:
        """The last row of every run of a method."""
        return self.rows[self.rows["method"] == method].drop_duplicates("seed", keep="last")
