"""Tables and measurements of the descent. Settings are chosen on a half of the starts and judged on the other half."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import pandas as pd

from experiments.evidence.reading import FinishedRun, Runs, packed, unpacked
from experiments.evidence.statistics import Estimate, NotRun, over_halves
from experiments.evidence.summaries import columns_of
from experiments.gradient_descent.settings import (
    DEFAULT_BETA,
    METHODS,
    MINIMISERS,
    STEP_RULES,
    SUMS_TO_ONE,
    GradientDescentSettings,
    of_size,
)

QUARTILES = (0.25, 0.5, 0.75)

BETAS: Mapping[str, str | float] = {"default": DEFAULT_BETA, "best": "best", "zero": 0.0}
"""Option of the choice ``beta`` -> what `Sweep.chosen` takes."""

COMPONENTWISE = "component_steps"
"""Name, in rows, of plain descent with a step size for every component."""


def expected_steps(codes: np.ndarray, limit: int) -> np.ndarray:
    """Expected running time over starts (..., S): all steps taken over the number of arrivals; infinite without any.

    A start that does not arrive costs `limit` steps (Hansen et al. 2010, section 3.4; COCO's expected running time).
    """
    arrived = (codes >= 0).sum(-1)
    with np.errstate(divide="ignore"):
        return np.asarray(counted(codes, limit).sum(-1) / arrived)


def median_steps(codes: np.ndarray, limit: int) -> np.ndarray:
    """Median over starts (..., S), where a start that does not arrive counts as `limit`."""
    return np.asarray(np.median(counted(codes, limit), axis=-1))


def mean_steps(codes: np.ndarray, limit: int) -> np.ndarray:
    """Mean over starts (..., S), where a start that does not arrive counts as `limit`."""
    return np.asarray(counted(codes, limit).mean(-1))


TUNED: Mapping[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "expected": expected_steps,
    "median": median_steps,
    "mean": mean_steps,
}
"""Criterion -> the score (...) of codes (..., S): by what settings are chosen, and then judged."""


def counted(codes: np.ndarray, limit: int) -> np.ndarray:
    """Numbers of steps, float; `limit` where the minimum was not reached. A start at the minimum counts as one step."""
    return np.where(codes >= 0, np.maximum(codes, 1), limit).astype(float)


def rows(run: FinishedRun, section: GradientDescentSettings) -> list[dict[str, Any]]:
    """Rows of a sweep, in four kinds. A setting is a method with a beta.

    ``starts`` holds the starts ``x`` and ``y``, and for every half which starts choose (``half_0``, ...).
    ``choice`` holds, for every setting and criterion ``tuned``, the step size chosen on each half, and last on all starts:
    its own best (``best_for`` own), or the one of the grid that is best for plain descent (plain).
    ``steps`` holds the codes of every start with a step size that was chosen.
    ``grid`` holds, for every method and step size of the grid, the quartiles of the steps of all starts and the share
    that arrives, at the beta (not 0) with the fewest expected steps; for plain descent also the codes.
    Codes of steps are `NOT_CONVERGED`, `DIVERGED`, or a count.
    """
    samples, limit = run.samples, section.max_steps + 1
    halves = [*samples["halves"].astype(bool), np.ones(len(samples["starts"]), dtype=bool)]
    x, y = samples["starts"].T
    kept: list[dict[str, Any]] = [{"kind": "starts", "x": packed(x), "y": packed(y)}]
    kept[0] |= {f"half_{number}": packed(half) for number, half in enumerate(halves[:-1])}
    grid = samples["step_sizes"]
    of_plain = {tuned: _chosen(samples["steps_plain"][0], score, halves, limit) for tuned, score in TUNED.items()}
    for method, beta, sizes, codes in _settings(samples):
        choices = {}
        for tuned, score in TUNED.items():
            if method not in SUMS_TO_ONE:
                choices[tuned, "own"] = _chosen(codes, score, halves, limit)
            if method != COMPONENTWISE:
                choices[tuned, "plain"] = of_plain[tuned]
        shown = [" ".join(map(repr, size)) if isinstance(size, tuple) else float(size) for size in sizes]
        for (tuned, step_size), positions in choices.items():
            row = {"kind": "choice", "method": method, "beta": beta, "tuned": tuned, "best_for": step_size}
            kept.append(row | {"sizes": ";".join(str(shown[position]) for position in positions)})
        for position in sorted({position for positions in choices.values() for position in positions}):
            row = {"kind": "steps", "method": method, "beta": beta, "sizes": str(shown[position])}
            kept.append(row | {"steps": packed(codes[position])})
    for method in METHODS:
        codes = samples[f"steps_{method}"]
        may_be_chosen = np.array([method == "plain" or beta != 0 for beta in samples["betas"][: len(codes)]])
        best = np.where(may_be_chosen[:, None], expected_steps(codes, limit), np.inf).argmin(0)
        for position, (size, beta) in enumerate(zip(grid, best, strict=True)):
            low, median, high = np.quantile(counted(codes[beta, position], limit), QUARTILES)
            row = {"kind": "grid", "method": method, "sizes": str(float(size))}
            row |= {"steps_low": low, "steps_median": median, "steps_high": high}
            row |= {"arrived": float((codes[beta, position] >= 0).mean())}
            kept.append(row | ({"steps": packed(codes[0, position])} if method == "plain" else {}))
    return kept


def _settings(samples: Mapping[str, np.ndarray]) -> Any:
    """Yield method, beta, step sizes (E,) and codes (E, starts) of everything that was swept."""
    for name in samples:
        if name.startswith("steps_"):
            method = name.removeprefix("steps_")
            betas = samples["betas"] if method != "plain" else [0.0]
            for index, beta in enumerate(betas):
                sizes, codes = samples["step_sizes"], samples[name][index]
                if f"fine_{name}" in samples:
                    sizes = np.concatenate((sizes, samples[f"fine_step_sizes_{method}"][index]))
                    codes = np.concatenate((codes, samples[f"fine_{name}"][index]))
                yield method, float(beta), sizes, codes
    if COMPONENTWISE in samples:
        grid = [tuple(sizes) for sizes in samples["component_step_sizes"].tolist()]
        yield COMPONENTWISE, 0.0, grid, samples[COMPONENTWISE]


def _chosen(
    codes: np.ndarray, score: Callable[[np.ndarray, int], np.ndarray], halves: list[np.ndarray], limit: int
) -> list[int]:
    """For every half of the starts, the position of the step size with the best score; `codes` (E, first starts)."""
    return [int(score(codes[:, half[: codes.shape[1]]], limit).argmin()) for half in halves]


@dataclass(frozen=True)
class Chosen:
    """A method with its settings, and what they give.

    Attributes:
        beta: NaN for plain descent.
        step_size: the step, or its upper bound.
        codes: (S,) codes of the steps of every start.
    """

    beta: float
    step_size: float
    codes: np.ndarray


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
        count = sum(str(name).startswith("half_") and pd.notna(starts[name]) for name in rows)
        self.halves = [unpacked(starts[f"half_{number}"]).astype(bool) for number in range(count)]
        steps = rows[rows["kind"] == "steps"]
        keys = zip(steps["method"], steps["beta"], steps["sizes"], strict=True)
        self._codes = {key: unpacked(cell) for key, cell in zip(keys, steps["steps"], strict=True)}
        choices = rows[rows["kind"] == "choice"]
        self._choices: dict[tuple[str, str, str], dict[float, list[str]]] = {}
        for row in choices.itertuples():
            key = (row.method, row.tuned, row.best_for)
            self._choices.setdefault(key, {})[row.beta] = str(row.sizes).split(";")
        self._grid = rows[rows["kind"] == "grid"].astype({"sizes": float}).rename(columns={"sizes": "step_size"})

    def chosen(self, method: str, tuned: str, step_size: str, beta: str | float, half: int) -> Chosen:
        """A method at the settings chosen on a half of the starts, or on all of them.

        Args:
            method: name of the method.
            tuned: a key of `TUNED`.
            step_size: ``own`` or ``plain``, see `rows`.
            beta: a number, or ``best``: the one, not 0, with the best score on the half.
            half: number of the half; the number of halves stands for all starts.

        Raises:
            NotRun: if the sweep lacks the method or the beta.
        """
        sizes = self._choices.get((method, tuned, step_size), {})
        if isinstance(beta, str):
            chooses = self.chooses(half)
            betas = [value for value in sizes if value != 0 or method in ("plain", COMPONENTWISE)]
            scores = {}
            for value in betas:
                codes = self._codes[method, value, sizes[value][half]]
                scores[value] = float(TUNED[tuned](codes[chooses[: len(codes)]], self.limit))
            beta = min(scores, key=scores.__getitem__, default=math.nan)
        if beta not in sizes:
            raise NotRun
        size = sizes[beta][half]
        shown = float(size) if " " not in size else math.nan
        known = math.nan if method in ("plain", COMPONENTWISE) else float(beta)
        return Chosen(known, shown, self._codes[method, beta, size])

    def chooses(self, half: int) -> np.ndarray:
        """Mask (S,) of the starts on which settings are chosen."""
        return self.halves[half] if half < len(self.halves) else np.ones(len(self.starts), dtype=bool)

    def scores(
        self, method: str, tuned: str, step_size: str, beta: str | float, starts: int | None = None
    ) -> np.ndarray:
        """Score (halves,) on the starts that did not choose; of the first `starts` of them, if given."""
        found = []
        for half in range(len(self.halves)):
            codes = self.chosen(method, tuned, step_size, beta, half).codes
            judged = ~self.chooses(half)[: len(codes)]
            found.append(TUNED[tuned](codes[:starts][judged[:starts]], self.limit))
        return np.array(found)

    def starts_of(self, method: str) -> int:
        """Number of starts that a method was swept from."""
        return next(len(codes) for (name, _, _), codes in self._codes.items() if name == method)

    def quartiles(self, method: str) -> pd.DataFrame:
        """By step size of the grid: columns ``step_size``, ``steps_low``, ``steps_median``, ``steps_high``, ``arrived``."""
        return self._grid[self._grid["method"] == method]

    def plain_codes(self) -> tuple[np.ndarray, np.ndarray]:
        """Step sizes (E,) of the grid, and the codes (E, S) of plain descent."""
        grid = self.quartiles("plain")
        return grid["step_size"].to_numpy(), np.stack([unpacked(cell) for cell in grid["steps"]])


class Findings:
    """Tables and measurements of the descent.

    Args:
        runs: the room's runs.
    """

    def __init__(self, runs: Runs) -> None:
        self._rows, self.settings = runs.rows, runs.section
        self.sweep = cache(self._sweep)

    def _sweep(self, function: str, step_rule: str) -> Sweep:
        """One sweep."""
        return Sweep(self._rows[self._rows["run"] == f"{function}-{step_rule}"], self.settings.max_steps + 1)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Steps to the minimum, each method at its own best step size and beta by expected steps over all starts."""
        table = []
        for function in MINIMISERS:
            for step_rule in STEP_RULES:
                sweep = self.sweep(function, step_rule)
                for method in METHODS:
                    chosen = sweep.chosen(method, "expected", "own", "best", len(sweep.halves))
                    low, median, high = np.quantile(counted(chosen.codes, sweep.limit), QUARTILES)
                    row: dict[str, object] = {"function": function, "step_rule": step_rule, "method": method}
                    row |= {"beta": chosen.beta, "step_size": chosen.step_size}
                    row |= {"quartile_steps": median, "quartile_steps_low": low, "quartile_steps_high": high}
                    row |= {"expected_steps": float(expected_steps(chosen.codes, sweep.limit))}
                    row |= {"arrived_share": float((chosen.codes >= 0).mean())}
                    ours = sweep.scores(method, "expected", "own", "best")
                    ratio = ratio_over_halves(ours, sweep.scores("plain", "expected", "own", 0.0))
                    row |= columns_of("expected_ratio_to_plain", ratio)
                    table.append(row | {"starts": len(chosen.codes)})
        return {"gradient_descent": pd.DataFrame(table)}

    def speed(
        self,
        *,
        function: str,
        step_rule: str,
        method: str,
        tuned: str,
        step_size: str,
        beta: str,
        total: str,
        secant: str = "weighted",
    ) -> Estimate | None:
        """Steps of a method over those of plain descent, over the halves of the starts."""
        sweep = self.sweep(function, _with_secant(step_rule, secant))
        if method == "original" and beta == "zero":
            return None  # plain descent by another name
        ours = self._scores(sweep, method, tuned, step_size, beta, total)
        return None if ours is None else ratio_over_halves(ours, sweep.scores("plain", tuned, step_size, 0.0))

    def beta_gain(
        self,
        *,
        function: str,
        step_rule: str,
        method: str,
        than: str,
        tuned: str,
        step_size: str,
        total: str,
        secant: str = "weighted",
        beta: str = "best",
    ) -> Estimate | None:
        """Steps of a method with one beta over its steps with another (`than`)."""
        sweep = self.sweep(function, _with_secant(step_rule, secant))
        ours, theirs = (self._scores(sweep, method, tuned, step_size, each, total) for each in (beta, than))
        return None if ours is None or theirs is None else ratio_over_halves(ours, theirs)

    def _scores(
        self, sweep: Sweep, method: str, tuned: str, step_size: str, beta: str, total: str
    ) -> np.ndarray | None:
        """Score (halves,) of a specification; None if it is another one by arithmetic."""
        if total == "one":
            if step_size == "own":
                return None  # the scale of the weights is that of the step
            method = f"{method}_sums_to_one"
        return sweep.scores(method, tuned, step_size, BETAS[beta])

    def against_component_steps(self, *, function: str, tuned: str, beta: str) -> Estimate | None:
        """Steps of loss-weighted SoftAdapt over those of plain descent with a constant step size for every component."""
        sweep = self.sweep(function, "fixed")
        starts = sweep.starts_of(COMPONENTWISE)
        ours = sweep.scores("loss_weighted", tuned, "own", BETAS[beta], starts)
        return ratio_over_halves(ours, sweep.scores(COMPONENTWISE, tuned, "own", 0.0, starts))

    @cached_property
    def plane_sizes(self) -> list[float]:
        """Exponents of the losses that were swept, in order."""
        return sorted([0.0, 1.0, *self.settings.plane_sizes])

    def plane(self, function: str, size: float, beta: float) -> np.ndarray:
        """Expected steps (halves,) with an exponent and a sharpness, at the best fixed step size."""
        return self.sweep(function, "fixed").scores(of_size(size), "expected", "own", beta)

    def knob(self, *, function: str, range: str, lowest: float = -math.inf) -> Estimate | None:
        """Span of the expected steps over exponents, over their span over sharpnesses; both are logarithms of ratios.

        Exponents below `lowest` are left out. Expected steps are infinite where no start arrives; they are capped at their
        value for a single arrival.
        """
        sizes = [0.0, 1.0] if range == "paper" else self.plane_sizes
        betas = [0.0, DEFAULT_BETA] if range == "paper" else list(self.settings.betas)
        if range == "whole" and len(sizes) == 2:
            raise NotRun
        spans = []
        for values in (
            [self.plane(function, size, DEFAULT_BETA) for size in sizes if size >= lowest],
            [self.plane(function, 1.0, beta) for beta in betas],
        ):
            finite = np.minimum(values, len(self.sweep(function, "fixed").starts) / 2 * self.settings.max_steps)
            spans.append(np.log(finite.max(axis=0) / finite.min(axis=0)))
        return over_halves(spans[0] / np.maximum(spans[1], 1e-9))

    def lost_or_slow(self, *, function: str, smallest_step: float, long: int) -> Estimate:
        """Share of start and step pairs, with fixed steps of at least `smallest_step`, that plain descent loses or takes long on.

        Lost is diverged or not arrived; long is more than `long` steps. Over the halves of the starts.
        """
        sweep = self.sweep(function, "fixed")
        step_sizes, codes = sweep.plain_codes()
        large = step_sizes >= smallest_step * (1 - 1e-9)
        if not large.any():
            raise NotRun
        lost = (codes[large] < 0) | (codes[large] > long)
        return over_halves([float(lost[:, ~half].mean()) for half in sweep.halves])


def _with_secant(step_rule: str, secant: str) -> str:
    """The step rule with a secant; a fixed step has none."""
    return "frozen_secant" if step_rule == "barzilai_borwein" and secant == "frozen" else step_rule


def ratio_over_halves(ours: np.ndarray, theirs: np.ndarray) -> Estimate:
    """Ratio of two scores over the halves. Where only one never arrives it loses without bound; where both do, 1."""
    with np.errstate(invalid="ignore"):
        ratios = ours / theirs
    return over_halves(np.where(np.isinf(ours) & np.isinf(theirs), 1.0, ratios))
