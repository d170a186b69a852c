"""The specification curve: measure a claim under every combination of the choices that it is open to, and sum up.

Sources: specification curve analysis, Simonsohn, Simmons and Nelson (2020); multiverse, Steegen et al. (2016).
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from experiments.evidence import lineage
from experiments.evidence.statistics import LEVEL, NO_ESTIMATE, Decision, Estimate, NotRun, decide
from experiments.runs.room import Strict
from experiments.runs.validation import read_yaml, validate

LEDGER = "paper/claims.yaml"

Option = str | int

Added = Literal["", "after the runs"]
"""Says so where a claim, or a choice with all its options but the first, was thought of after the runs."""


class Choice(Strict):
    """A choice that the paper leaves open, with its defensible options. The first option is the main specification's.

    `name` is how verdicts and figures call it, if not by its key.
    """

    name: str = ""
    open: str
    options: Annotated[dict[Option, str | float], Field(min_length=2)]
    added: Added = ""


class Claim(Strict):
    """One entry of the ledger, as written in ``paper/claims.yaml``."""

    id: str
    family: Literal["paper", "ours"]
    where: str
    statement: str
    published: dict[str, float] = {}
    measure: Annotated[dict[str, dict[str, Any]], Field(max_length=1)] = {}
    over: list[str] = []
    rule: Annotated[
        dict[Literal["above", "below", "within", "artefact", "not testable"], float | str],
        Field(min_length=1, max_length=1),
    ]
    unit: str = ""
    figure: str = ""
    headline: bool = False
    added: Added = ""

    @model_validator(mode="after")
    def _check(self) -> "Claim":
        ((kind, bound),) = self.rule.items()
        if kind == "not testable":
            return self
        if isinstance(bound, str):
            raise ValueError(f"{self.id}: rule: {kind} needs a number, got {bound!r:.100}")
        if kind == "within" and bound <= 0:
            raise ValueError(f"{self.id}: rule: within needs a number above 0, got {bound:g}")
        if not self.measure:
            raise ValueError(f"{self.id}: measure: missing; {kind} {bound:g} decides on a measurement")
        return self

    @property
    def kind(self) -> str:
        """Kind of the rule."""
        return next(iter(self.rule))

    @property
    def bound(self) -> float | None:
        """The bound that the measurement is compared with; None if the rule has no bound on an interval."""
        return float(self.rule[self.kind]) if self.kind in ("above", "below", "within") else None  # type: ignore[index]

    @property
    def room(self) -> str:
        """Room of the measurement; empty for a claim that nothing measures."""
        return next(iter(self.measure), "").partition(".")[0]

    @property
    def measurement(self) -> str:
        """Name of the measurement in the room's ``findings.py``; empty for a claim that nothing measures."""
        return next(iter(self.measure), "").partition(".")[2]

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of the measurement, without the options."""
        return next(iter(self.measure.values()), {})


class Ledger(Strict):
    """All claims, and the choices that they are open to."""

    choices: dict[str, Choice] = {}
    claims: list[Claim]

    @property
    def names(self) -> dict[str, str]:
        """Choice -> how verdicts call it."""
        return {key: choice.name or key.replace("_", " ") for key, choice in self.choices.items()}

    @model_validator(mode="after")
    def _check(self) -> "Ledger":
        names = [claim.id for claim in self.claims]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"claims: {repeated[0]} stands there twice; give every claim its own id")
        for claim in self.claims:
            if unknown := [name for name in claim.over if name not in self.choices]:
                raise ValueError(f"{claim.id}: over: {unknown[0]} is no choice; known are {', '.join(self.choices)}")
        return self


@dataclass(frozen=True)
class Cell:
    """A claim under one specification.

    Attributes:
        options: choice -> the option taken.
        main: whether it is the main specification, or stands in for it where that was not run.
        estimate: the measurement.
        decision: what it says about the claim.
        p: the p value behind that; NaN where there is none.
        repeated: options of the other specifications with the same numbers.
    """

    options: dict[str, Option]
    main: bool
    estimate: Estimate
    decision: Decision
    p: float
    repeated: tuple[dict[str, Option], ...] = ()


@dataclass(frozen=True)
class Verdict:
    """The verdict on a claim, from all its cells.

    Attributes:
        word: ``supported``, ``contradicted``, ``hinges``, ``undecided``, ``not testable`` or ``artefact``.
        text: the same for readers, as ``supported in 8 of 10`` or ``hinges on secant``.
    """

    word: str
    text: str


def load_ledger(path: str = LEDGER) -> Ledger:
    """Read the file of the ledger.

    Raises:
        UserError: one line naming the file and the key.
    """
    return validate(Ledger, read_yaml(lineage.noted(path)), path)


def cells(claim: Claim, choices: Mapping[str, Choice], findings: Any) -> tuple[list[Cell], int]:
    """Measure a claim under all its specifications.

    Args:
        claim: it has a rule with a bound.
        choices: what the names in ``claim.over`` stand for.
        findings: the room's measurements. One returns None for a combination that means nothing or repeats another, and
            raises `NotRun` for one that the scale's runs do not answer.

    Returns:
        The cells, those with the same numbers counted once, and the number of combinations that were not run.
    """
    assert claim.bound is not None, claim.id
    measure = getattr(findings, claim.measurement)
    found: dict[tuple[float | None, ...], Cell] = {}
    not_run = 0
    for number, combination in enumerate(itertools.product(*(choices[name].options for name in claim.over))):
        options = dict(zip(claim.over, combination, strict=True))
        try:
            estimate = measure(**claim.arguments, **options)
        except NotRun:
            not_run += 1
            continue
        if estimate is None:
            continue
        numbers = (estimate.value, estimate.low, estimate.high)
        key: tuple[float | None, ...] = (number,)  # as no value is that of another
        if not math.isnan(estimate.value):
            key = tuple(None if math.isnan(each) else each for each in numbers)
        if key in found:
            found[key] = replace(found[key], repeated=(*found[key].repeated, options))
        else:
            found[key] = Cell(options, not found, estimate, *decide(claim.kind, claim.bound, estimate))
    return list(found.values()), not_run


def corrected(measured: Sequence[Cell], factor: float) -> list[Cell]:
    """The cells; one whose p value times the factor of its claim reaches the level becomes undecided."""
    return [replace(cell, decision="undecided") if cell.p * factor >= LEVEL else cell for cell in measured]


def verdict(measured: Sequence[Cell], names: Mapping[str, str] | None = None) -> Verdict:
    """Sum up the cells of a claim. `names` are those of its choices; one without a name has its key."""
    decided = [cell.decision for cell in measured if cell.decision != "undecided"]
    if not decided:
        return Verdict("undecided", "undecided")
    if len(set(decided)) == 2:
        return Verdict("hinges", hinge(measured, names or {}))
    word = "supported" if decided[0] == "supports" else "contradicted"
    count = "" if len(decided) == len(measured) else f" in {len(decided)} of {len(measured)}"
    return Verdict(word, word + count)


def hinge(measured: Sequence[Cell], names: Mapping[str, str]) -> str:
    """Name the smallest set of choices whose options tell the supporting cells from the contradicting ones.

    Several sets of that size are joined by *or*; if more than two choices are needed, the shares are given instead.
    """
    decided = [cell for cell in measured if cell.decision != "undecided"]
    choices = list(decided[0].options)
    for size in (1, 2):
        separating = [subset for subset in itertools.combinations(choices, size) if _separates(subset, decided)]
        if separating:
            words = [" and ".join(names.get(name, name) for name in subset) for subset in separating]
            return f"hinges on {' or '.join(words)}"
    supporting = sum(cell.decision == "supports" for cell in measured)
    contradicting = sum(cell.decision == "contradicts" for cell in measured)
    return f"hinges on several choices: supported in {supporting}, contradicted in {contradicting} of {len(measured)}"


def _separates(names: Iterable[str], decided: Iterable[Cell]) -> bool:
    """Whether specifications with the same options of these choices always decide alike."""
    found: dict[tuple[Option, ...], Decision] = {}
    return all(
        found.setdefault(tuple(options[name] for name in names), cell.decision) == cell.decision
        for cell in decided
        for options in (cell.options, *cell.repeated)
    )


def main_estimate(measured: Sequence[Cell]) -> Estimate:
    """The measurement of the main specification."""
    return next((cell.estimate for cell in measured if cell.main), NO_ESTIMATE)
