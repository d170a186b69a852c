"""Tables and measurements of the autoencoder: the optimal lambda by several criteria, and errors at equal sparsity."""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from experiments.evidence.reading import Runs
from experiments.evidence.statistics import NO_ESTIMATE, Estimate, NotRun, ratio_over_seeds
from experiments.evidence.summaries import (
    DIVERGED,
    at_epochs,
    by_method_and_epoch,
    columns_of,
    failure,
    mean_of_all,
    methods_of,
    training_rows,
)
from experiments.runs.errors import UserError
from experiments.sparse_autoencoder.settings import (
    LAMBDA,
    SparseAutoencoderSettings,
    fixed_lambda,
    in_units,
    in_variant,
    size_and_rate,
    warm_up,
)

SOFTADAPT = "softadapt"

GROUPS = {LAMBDA: "fixed lambda", "softadapt": "SoftAdapt", "rule-": "other rules named SoftAdapt", "": "rival"}
"""Prefix of a method's name -> its group."""

LOSSES = ("train_mse", "validation_mse")
"""Columns of every epoch that are finite as long as a run has not diverged."""

YARDSTICKS = {
    "active_share": "share of active units",
    "l1": "L1 norm of the code",
    "l1_decoder": "L1 norm times decoder norm",
    "hoyer": "Hoyer's sparsity",
}
"""Measure of sparsity, a column of the rows -> its name in figures."""

DEAD = 1e-3
"""L1 norm below which a code is dead: a single weak unit that fires for a few digits draws no curve."""

PIXELS = 784

PUBLISHED_PCC = 82.0
"""PCC of the optimal lambda in the paper's Table 3."""

DEFAULT_RATE = 0.1
"""The paper's beta."""

rows = training_rows


def group_of(method: str) -> str:
    """The group of a method."""
    return next(group for prefix, group in GROUPS.items() if method.startswith(prefix))


def value_of(method: str) -> float:
    """The lambda of a fixed method, a warm-up, or a fixed method of a variant."""
    return float(method.rpartition(LAMBDA)[2])


class Findings:
    """Tables and measurements of the autoencoder.

    Args:
        runs: the room's runs.
    """

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self.settings: SparseAutoencoderSettings = runs.section
        self.methods = runs.section.names()

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The report epochs and the last epoch of all methods and seeds."""
        return methods_of(self._runs)

    @cached_property
    def _by_epoch(self) -> dict[tuple[str, int], pd.DataFrame]:
        """Method and report epoch -> rows by seed; of NaN for runs that diverged."""
        epochs = sorted({*self.settings.report_epochs, self.settings.epochs})
        groups = at_epochs(self.rows, epochs, LOSSES).groupby(["method", "epoch"], sort=False)
        return {(str(m), int(e)): rows.set_index("seed").sort_index() for (m, e), rows in groups}

    def at(self, method: str, epoch: int | None = None) -> pd.DataFrame:
        """Rows of a method by seed, at a report epoch, or the last one.

        Raises:
            NotRun: if the scale does not train the method.
        """
        found = self._by_epoch.get((method, epoch or self.settings.epochs))
        if found is None:
            raise NotRun
        return found

    @cached_property
    def final_means(self) -> pd.DataFrame:
        """Mean over seeds of every number at the last epoch, by method; NaN for a method with a run that diverged."""
        means = {method: self.at(method).select_dtypes("number").mean(skipna=False) for method in self.methods}
        return pd.DataFrame(means).T

    def lambdas(self, variant: str = "") -> list[float]:
        """The grid of fixed lambdas, increasing."""
        return sorted(self.settings.variant_lambdas if variant else self.settings.lambdas)

    def line(
        self, seeds: Sequence[int], columns: Sequence[str], epoch: int | None = None, variant: str = "", warm: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Measurements of the fixed lambdas, or of lambdas that rise over `warm` epochs. A lambda with a diverged run is left out.

        Returns:
            Logarithms of the lambdas (L,), increasing, and the columns (L, seeds, columns).

        Raises:
            NotRun: if the scale does not train them.
        """
        values = sorted(self.settings.warm_up_lambdas) if warm else self.lambdas(variant)
        named = {
            value: warm_up(warm, value) if warm else in_variant(variant, fixed_lambda(value))
            for value in values
            if value > 0
        }
        found = {math.log(value): self.at(name, epoch).reindex(seeds)[list(columns)] for value, name in named.items()}
        sound = {value: table.to_numpy(float) for value, table in found.items() if table.notna().all(axis=None)}
        return np.array(list(sound)), np.array(list(sound.values())).reshape(len(sound), len(seeds), len(columns))

    @cached_property
    def tuned_lambda(self) -> str:
        """The fixed method with the highest mean PCC on validation digits at the last epoch, if no run of it diverged."""
        return fixed_lambda(self._best_by_pcc(""))

    def _best_by_pcc(self, variant: str) -> float:
        """The lambda with the highest mean PCC on validation digits.

        Raises:
            NotRun: if the variant has no fixed lambdas.
            UserError: if every fixed lambda diverges.
        """
        names = {value: in_variant(variant, fixed_lambda(value)) for value in self.lambdas(variant) if value > 0}
        if variant and not names:
            raise NotRun
        scores = {value: self.at(name)["validation_pcc"].mean(skipna=False) for value, name in names.items()}
        sound = {value: score for value, score in scores.items() if not np.isnan(score)}
        if not sound:
            raise UserError(
                "sparse_autoencoder.lambdas: every fixed lambda has a run that diverged; choose another grid"
            )
        return max(sound, key=sound.__getitem__)

    def optimal_lambda(self, criterion: str, ours: str, variant: str = "") -> np.ndarray:
        """Logarithm (seeds,) of the lambda that is optimal by a criterion; NaN where the grid does not reach it.

        Args:
            criterion: an option of the choice ``optimal_lambda``.
            ours: the method that is compared with it, for criteria of equal sparsity.
            variant: of both.
        """
        table = self.at(ours)
        seeds = table.index.to_list()
        if criterion == "best_pcc":
            return np.full(len(seeds), math.log(self._best_by_pcc(variant)))
        if criterion.startswith("pcc_82_at_"):
            epoch = int(criterion.rpartition("_")[2])
            if epoch not in self.settings.report_epochs:
                raise NotRun
            logs, values = self.line(seeds, ["test_pcc"], epoch, variant)
            return np.full(len(seeds), _crossing(logs, values[:, :, 0].mean(1), PUBLISHED_PCC))
        column = f"test_{criterion.removeprefix('equal_')}"
        logs, values = self.line(seeds, [column], None, variant)
        wanted = table[column].to_numpy()
        return np.array([_crossing(logs, values[:, k, 0], wanted[k]) for k in range(len(seeds))])

    def reference(
        self, at: np.ndarray, column: str, seeds: Sequence[int], epoch: int | None = None, variant: str = ""
    ) -> np.ndarray:
        """A measurement of fixed lambdas (seeds,), interpolated linearly at the logarithms `at` (seeds,).

        Errors are interpolated by their logarithm.
        """
        logs, values = self.line(seeds, [column], epoch, variant)
        by_log = column.endswith("_mse")
        lines = np.log(values[:, :, 0]) if by_log else values[:, :, 0]
        found = np.array([_interpolated(at[k], logs, lines[:, k]) for k in range(len(seeds))])
        return np.exp(found) if by_log else found

    def trained(self, training: str) -> tuple[str, str]:
        """Name of SoftAdapt, and the variant of the fixed lambdas beside it, for an option of the choice ``training``."""
        if training in self.settings.variants:
            return in_variant(training, SOFTADAPT), training
        return (SOFTADAPT if training == "main" else f"{SOFTADAPT}-{training}"), ""

    def loss(self, *, part: str, optimal_lambda: str, training: str, loss: str = "total") -> Estimate | None:
        """Final loss of SoftAdapt over that of the optimal fixed lambda: with that lambda on the L1 norm, or the error."""
        ours, variant = self.trained(training)
        table = self.at(ours)
        if failed := failure(self.rows, "below", ours):
            return failed
        seeds, at = table.index.to_list(), self.optimal_lambda(optimal_lambda, ours, variant)

        def total(error: np.ndarray, norm: np.ndarray) -> np.ndarray:
            return error if loss == "error" else error + np.exp(at) * norm

        one = total(*(table[f"{part}_{name}"].to_numpy() for name in ("mse", "l1")))
        other = total(*(self.reference(at, f"{part}_{name}", seeds, None, variant) for name in ("mse", "l1")))
        return ratio_over_seeds(one / other)

    def pcc(self, *, report: int, optimal_lambda: str, training: str) -> Estimate | None:
        """PCC on test digits at a report epoch, SoftAdapt minus the optimal fixed lambda; paired by seed."""
        ours, variant = self.trained(training)
        epoch, table = self.settings.report_epochs[report], self.at(ours)
        if failed := failure(self.rows, "above", ours):
            return failed
        at = self.optimal_lambda(optimal_lambda, ours, variant)
        reference = self.reference(at, "test_pcc", table.index.to_list(), epoch, variant)
        return mean_of_all(self.at(ours, epoch)["test_pcc"] - reference)

    def place(self, method: str, yardstick: str, variant: str = "", warm: int = 0) -> pd.Series:
        """Test error of a method over that of fixed lambdas of equal sparsity, by seed; below 1 is better.

        The logarithm of the error is interpolated linearly in the yardstick, or in its logarithm where that is a size.
        NaN where the code is sparser or denser than on the whole grid, and for runs that diverged.

        Args:
            method: its name, with that of the variant.
            yardstick: a key of `YARDSTICKS`.
            variant: of the fixed lambdas.
            warm: epochs over which the lambdas rise, for a curve of warm-ups.
        """
        table, column = self.at(method), f"test_{yardstick}"
        seeds = table.index.to_list()
        _, values = self.line(seeds, [column, "test_mse", "test_l1"], None, variant, warm)
        ratios = []
        for k, (sparsity, error) in enumerate(table[[column, "test_mse"]].to_numpy(float)):
            alive = values[:, k][values[:, k, 2] > DEAD]
            ordered = alive[np.lexsort((alive[:, 1], alive[:, 0]))]
            with np.errstate(divide="ignore", invalid="ignore"):  # a dead code has the norm 0, which is beyond the grid
                x, at = (v if yardstick == "hoyer" else np.log(v) for v in (ordered[:, 0], sparsity))
            ratios.append(error / math.exp(_interpolated(float(at), x, np.log(ordered[:, 1]))))
        return pd.Series(ratios, index=seeds)

    def frontier(
        self, *, yardstick: str, ours: str = SOFTADAPT, theirs: str = "", training: str = "main"
    ) -> Estimate | None:
        """Test error at equal sparsity, over that of fixed lambdas, or of another method (a quotient of both places).

        No estimate if a run lies beyond the grid, where there is no curve to compare with.
        """
        variant = ""
        if training != "main":
            ours, variant = self.trained(training)
        places = self.place(ours, yardstick, variant)
        others = self.place(theirs, yardstick, variant) if theirs else pd.Series(1.0, index=places.index)
        if failed := failure(self.rows, "below", ours, theirs):
            return failed
        seeds = places.index.intersection(others.index)
        return ratio_over_seeds((places[seeds] / others[seeds]).to_numpy())

    def normalized(self, *, variant: str, yardstick: str) -> Estimate | None:
        """Test error at equal sparsity with normalized slopes, over that with plain ones."""
        theirs = {"original": f"{SOFTADAPT}-original", "loss_weighted": SOFTADAPT}[variant]
        return self.frontier(yardstick=yardstick, ours=f"{theirs}-normalized", theirs=theirs)

    def against_warm_up(self, *, warm_up: int, yardstick: str) -> Estimate | None:
        """Test error of SoftAdapt over that of lambdas that rise linearly, at equal sparsity."""
        if warm_up not in self.settings.warm_ups:
            raise NotRun
        if failed := failure(self.rows, "below", SOFTADAPT):
            return failed
        return ratio_over_seeds(self.place(SOFTADAPT, yardstick, warm=warm_up).to_numpy())

    def rules(self) -> list[str]:
        """The rules that keep some units alive, or diverge: without fixed lambdas, controls and variants."""
        units = self.final_means["test_active_share"] * self.settings.hidden_units
        dead = set(units.index[units <= 1])  # NaN, as of a rule with a run that diverged, is not
        return [name for name, method in self.settings.methods.items() if not method.replays and name not in dead]

    def share_on_the_curve(self, *, yardstick: str, within: float) -> Estimate | None:
        """Share of the rules whose mean error at equal sparsity is that of fixed lambdas, up to the factor `within`.

        The interval goes from the share of rules whose whole interval lies within it to that of those which touch it, or
        have none, as with one seed. A rule beyond the grid lies on no curve, nor does one with a run that diverged.
        """
        rules = self.rules()
        if len(rules) < 10:
            raise NotRun
        ratios = [ratio_over_seeds(self.place(rule, yardstick).to_numpy()) for rule in rules]
        low, high = 1 / within, within
        value = np.mean([low < ratio.value < high for ratio in ratios])
        least = np.mean([low < ratio.low and ratio.high < high for ratio in ratios])
        most = np.mean([ratio.count > 0 and not (ratio.low >= high or ratio.high <= low) for ratio in ratios])
        return Estimate(float(value), float(least), float(most), len(rules), kind="fact")

    def prediction(self, *, setting: str) -> Estimate | None:
        """L1 norm of SoftAdapt over the one that the fixed lambdas predict.

        Equation 4 at small beta weighs by size, so that lambda = f_2 / f_1 along the run. The prediction is the fixed
        lambda that ends at this ratio of its own losses. With the error times c, lambda = f_2 / (c^2 f_1).
        """
        units, variant = 1.0, ""
        if setting.startswith("units-"):
            units = float(setting.removeprefix("units-"))
            ours = in_units(units)
        else:
            ours, variant = self.trained(setting)
        table = self.at(ours)
        if failed := failure(self.rows, "below", ours):
            return failed
        seeds = table.index.to_list()
        logs, values = self.line(seeds, ["train_mse", "train_l1", "test_l1"], None, variant)
        predicted = []
        for k in range(len(seeds)):
            error, norm, tested = values[:, k].T
            alive = np.minimum(norm, tested) > DEAD
            # lambda weighs the mean error; of the summed one it is PIXELS times as large, as is the error
            excess = logs[alive] + 2 * math.log(units) - np.log(norm[alive] / (PIXELS**2 * error[alive]))
            at = _crossing(logs[alive], excess, 0.0)
            predicted.append(math.exp(_interpolated(at, logs[alive], np.log(tested[alive]))))
        return ratio_over_seeds(table["test_l1"].to_numpy() / np.array(predicted))

    def other_units(self, *, units: str) -> Estimate | None:
        """PCC of SoftAdapt with the error in other units, minus that with the summed error."""
        theirs = self.at(SOFTADAPT)["test_pcc"]
        ours = self.at(in_units(float(units)))["test_pcc"]
        if failed := failure(self.rows, "above", in_units(float(units)), SOFTADAPT):
            return failed
        return mean_of_all(ours - theirs.reindex(ours.index))

    def knob(self, *, range: str) -> Estimate | None:
        """Span of the test error over exponents, over its span over sharpnesses; both are logarithms of ratios."""
        plane = self.settings.plane
        sizes = [0.0, 1.0] if range == "paper" else plane.sizes
        rates = [0.0, DEFAULT_RATE] if range == "paper" else plane.rates
        spans = []
        for cells in ([(size, DEFAULT_RATE) for size in sizes], [(1.0, rate) for rate in rates]):
            errors = [self.at(size_and_rate(*cell))["test_mse"].to_numpy() for cell in cells]
            if not errors:
                raise NotRun
            spans.append(np.log(np.max(errors, axis=0) / np.min(errors, axis=0)))
        with np.errstate(divide="ignore", invalid="ignore"):  # without any span over sharpnesses there is no estimate
            return ratio_over_seeds(spans[0] / spans[1])

    def tables(self) -> dict[str, pd.DataFrame]:
        """Table 3 with what a single score hides, and every method's place beside the curve of fixed lambdas."""
        sparsities = [f"test_{name}" for name in YARDSTICKS]
        measures = ["test_pcc", "test_mse", "validation_mse", "train_mse", *sparsities, "train_seconds"]
        reported = at_epochs(self.rows, self.settings.report_epochs, LOSSES)
        return {
            "sparse_autoencoder": by_method_and_epoch(reported, measures, self.tuned_lambda, ["test_pcc"]),
            "autoencoder_methods": self._methods(),
        }

    def _methods(self) -> pd.DataFrame:
        """At the end of training: scores, and the error at equal sparsity by every yardstick."""
        last = at_epochs(self.rows, [self.settings.epochs], LOSSES)
        measures = ["test_pcc", "test_mse", "test_l1", "test_active_share", "train_seconds"]
        table = by_method_and_epoch(last, measures).drop(columns="epoch")
        table.insert(1, "group", [self._group(method) for method in table["method"]])
        for yardstick in YARDSTICKS:
            places = [
                columns_of(f"error_at_equal_{yardstick}", self._place(name, yardstick)) for name in table["method"]
            ]
            table = table.join(pd.DataFrame(places))
        return table

    def _group(self, method: str) -> str:
        variant, name = self.settings.variant_of(method)
        rule = self.settings.methods.get(name)
        group = group_of(name) if name.startswith(LAMBDA) or (rule and not rule.replays) else "control"
        return f"{variant}: {group}" if variant else group

    def _place(self, method: str, yardstick: str) -> Estimate:
        """A method's place beside the fixed lambdas of its variant; none for those, which draw the curve."""
        variant, name = self.settings.variant_of(method)
        if name.startswith(LAMBDA):
            return NO_ESTIMATE
        return ratio_over_seeds(self.place(method, yardstick, variant).to_numpy())

    def numbers(self) -> dict[str, Any]:
        """The numbers that the manuscript quotes, by name."""
        named = {"tuned": self.tuned_lambda, "softadapt": SOFTADAPT, "mean": f"{SOFTADAPT}-mean-error"}
        measures = ["test_mse", "test_l1", "test_active_share", "test_pcc"]
        means = {
            name: self.final_means.loc[method, measures].astype(float).to_dict()
            for name, method in named.items()
            if method in self.methods
        }
        optimal = {}
        for criterion in ("pcc_82_at_30", "pcc_82_at_15", "equal_active_share", "equal_l1"):
            try:
                found = np.exp(self.optimal_lambda(criterion, SOFTADAPT).mean())
                optimal[criterion] = float(found)
            except NotRun:
                continue
        diverged = sorted(self.rows[self.rows["verdict"] == DIVERGED]["method"].unique())
        return {
            "tuned_method": self.tuned_lambda,
            "tuned_lambda": value_of(self.tuned_lambda),
            "autoencoder": {"optimal_lambda": optimal, "diverged": diverged, **means},
        }


def _interpolated(x: float, line_x: np.ndarray, line_y: np.ndarray) -> float:
    """Linear interpolation; NaN beyond the line, and where there is none."""
    if len(line_x) == 0 or np.isnan(x):
        return math.nan
    return float(np.interp(x, line_x, line_y, left=np.nan, right=np.nan))


def _crossing(x: np.ndarray, y: np.ndarray, level: float) -> float:
    """The last x at which a line through points crosses a level; NaN if it does not."""
    for k in range(len(x) - 2, -1, -1):
        low, high = sorted((y[k], y[k + 1]))
        if low <= level <= high and low < high:
            return float(x[k] + (level - y[k]) / (y[k + 1] - y[k]) * (x[k + 1] - x[k]))
    return math.nan
