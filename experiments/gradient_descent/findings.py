"""What the descent sweeps say: each method at its own best settings, judged on starts on which it was not tuned."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from experiments.evidence.reading import FinishedRun, Runs, packed, unpacked
from experiments.evidence.statistics import Estimate, median_over_starts, share
from experiments.evidence.summaries import columns_of
from experiments.gradient_descent.settings import DIVERGED, METHODS, MINIMISERS, STEP_RULES, GradientDescentSettings

QUARTILES = (0.25, 0.5, 0.75)


def rows(run: FinishedRun, section: GradientDescentSettings) -> list[dict[str, Any]]:
    """Rows of a sweep, in three kinds.

    ``starts`` holds the starts ``x`` and ``y`` and whether each ``chooses``. ``tuned`` holds, for every method and
    beta, the ``step_size`` with the fewest mean steps over the choosing starts, and the ``steps`` of every start with
    it. ``grid`` holds, for every method and step size of the grid, the quartiles over the judged starts at the beta
    (not 0) that is best for that step size over the choosing starts, and for plain descent the ``steps`` of every
    start. Steps are codes: `NOT_CONVERGED`, `DIVERGED`, or a count.
    """
    samples, limit = run.samples, section.max_steps + 1
    chooses, grid = samples["chooses"].astype(bool), samples["step_sizes"]
    x, y = samples["starts"].T
    kept: list[dict[str, Any]] = [{"kind": "starts", "x": packed(x), "y": packed(y), "chooses": packed(chooses * 1)}]
    for method in METHODS:
        codes = samples[f"steps_{method}"]  # betas, step sizes, starts
        every = np.concatenate((codes, samples[f"fine_steps_{method}"]), axis=1)
        for index, beta in enumerate(section.betas if method != "plain" else [0.0]):
            sizes = np.concatenate((grid, samples[f"fine_step_sizes_{method}"][index]))
            best = int(counted(every[index], limit)[:, chooses].mean(-1).argmin())
            row = {"kind": "tuned", "method": method, "beta": beta, "step_size": float(sizes[best])}
            kept.append(row | {"steps": packed(every[index, best])})
        steps = counted(codes, limit)
        may_be_chosen = np.array([method == "plain" or beta != 0 for beta in section.betas[: len(codes)]])
        best_betas = np.where(may_be_chosen[:, None], steps[:, :, chooses].mean(-1), np.inf).argmin(0)
        for position, (size, beta) in enumerate(zip(grid, best_betas, strict=True)):
            low, median, high = np.quantile(steps[beta, position, ~chooses], QUARTILES)
            row = {"kind": "grid", "method": method, "step_size": float(size)}
            row |= {"steps_low": low, "steps_median": median, "steps_high": high}
            kept.append(row | ({"steps": packed(codes[0, position])} if method == "plain" else {}))
    return kept


def counted(codes: np.ndarray, limit: int) -> np.ndarray:
    """Numbers of steps, float; `limit` where the minimum was not reached."""
    return np.where(codes >= 0, codes, limit).astype(float)


@dataclass(frozen=True)
class Tuned:
    """One method at its best step size, and at its best beta unless that was given.

    Attributes:
        beta: NaN for plain descent.
        step_size: the step, or its upper bound.
        steps: (starts,) float, steps of every start; those that never arrive count as max_steps + 1.
        converged: (starts,) bool.
        judged: (starts,) bool, the starts that played no part in the choice.
    """

    beta: float
    step_size: float
    steps: np.ndarray
    converged: np.ndarray
    judged: np.ndarray


class Sweep:
    """One function and step rule: every method at every beta.

    Args:
        rows: the rows of the run.
        limit: steps that count where the minimum was not reached.
    """

    def __init__(self, rows: pd.DataFrame, limit: int) -> None:
        starts = rows[rows["kind"] == "starts"].iloc[0]
        self.limit = limit
        self.starts = np.stack((unpacked(starts["x"]), unpacked(starts["y"])), axis=1)
        self.judged = unpacked(starts["chooses"]) == 0
        self._tuned = rows[rows["kind"] == "tuned"]
        self._grid = rows[rows["kind"] == "grid"]

    def tune(self, method: str, beta: float | None = None) -> Tuned:
        """The method at the beta (not 0) with the fewest mean steps over the choosing starts, or at the one given.

        With a beta of 0 the original rule is plain descent: it is judged only when asked for.
        """
        rows = self._tuned[self._tuned["method"] == method]
        if method != "plain":
            rows = rows[rows["beta"] == beta] if beta is not None else rows[rows["beta"] != 0]
        steps = [counted(unpacked(cell), self.limit) for cell in rows["steps"]]
        best = int(np.argmin([values[~self.judged].mean() for values in steps]))
        chosen = rows.iloc[best]
        return Tuned(
            beta=float("nan") if method == "plain" else float(chosen["beta"]),
            step_size=float(chosen["step_size"]),
            steps=steps[best],
            converged=steps[best] < self.limit,
            judged=self.judged,
        )

    def quartiles(self, method: str) -> pd.DataFrame:
        """By step size of the grid: columns ``step_size``, ``steps_low``, ``steps_median``, ``steps_high``."""
        return self._grid[self._grid["method"] == method]

    def plain_codes(self) -> tuple[np.ndarray, np.ndarray]:
        """Step sizes (E,) of the grid, and the codes (E, starts) of plain descent."""
        rows = self._grid[self._grid["method"] == "plain"]
        return rows["step_size"].to_numpy(), np.stack([unpacked(cell) for cell in rows["steps"]])


def steps_ratio(method: Tuned, baseline: Tuned) -> Estimate:
    """Median over the judged starts of steps(method) / steps(baseline), with its interval; below 1 is faster."""
    return median_over_starts((np.maximum(method.steps, 1) / np.maximum(baseline.steps, 1))[method.judged])


class Findings:
    """Tables and measurements of the descent.

    Args:
        runs: the room's runs.
    """

    def __init__(self, runs: Runs) -> None:
        self._rows, self._limit = runs.rows, runs.section.max_steps + 1
        self.sweep = cache(self._sweep)

    def _sweep(self, function: str, step_rule: str) -> Sweep:
        """One sweep."""
        return Sweep(self._rows[self._rows["run"] == f"{function}-{step_rule}"], self._limit)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Steps to the minimum, each method at its own best step size and beta, on starts not used to choose them."""
        table = []
        for function in MINIMISERS:
            for step_rule in STEP_RULES:
                sweep = self.sweep(function, step_rule)
                plain = sweep.tune("plain")
                for method in METHODS:
                    tuned = sweep.tune(method)
                    steps = median_over_starts(tuned.steps[tuned.judged])
                    row: dict[str, object] = {"function": function, "step_rule": step_rule, "method": method}
                    row |= {"beta": tuned.beta, "step_size": tuned.step_size}
                    row |= columns_of("median_steps", steps)
                    row |= columns_of("steps_ratio_to_plain", steps_ratio(tuned, plain))
                    row |= columns_of("converged_share", share(tuned.converged[tuned.judged]))
                    table.append(row | {"starts": steps.count})
        return {"gradient_descent": pd.DataFrame(table)}

    def ratio(self, *, function: str, step_rule: str, method: str, beta: float | None = None) -> Estimate:
        """Steps of a method over steps of plain descent, median over the judged starts.

        Each at its own best step size, and the method at its best beta unless that is given.
        """
        sweep = self.sweep(function, step_rule)
        return steps_ratio(sweep.tune(method, beta), sweep.tune("plain"))

    def beta_ratio(self, *, function: str, step_rule: str, method: str, than: float) -> Estimate:
        """Steps of a method at its best beta over its steps at the beta `than`, each at its own best step size."""
        sweep = self.sweep(function, step_rule)
        return steps_ratio(sweep.tune(method), sweep.tune(method, than))

    def plain_diverged_share(self, *, function: str, smallest_step: float) -> Estimate:
        """Share of starts from which plain descent diverges at every fixed step of at least `smallest_step`."""
        step_sizes, codes = self.sweep(function, "fixed").plain_codes()
        return share((codes[step_sizes >= smallest_step * (1 - 1e-9)] == DIVERGED).all(0))
