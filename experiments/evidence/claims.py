"""Measure and judge every claim of ``paper/claims.yaml``: the ledger."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import AfterValidator, Field

from experiments.evidence import lineage, reading
from experiments.evidence.statistics import CONFIDENCE, NO_ESTIMATE, Estimate, effect_size, holm, p_value
from experiments.evidence.tables import write_table
from experiments.runs.errors import UserError, run_main
from experiments.runs.room import Strict
from experiments.runs.validation import read_yaml, validate
from experiments.scale import ROOMS, Settings

Verdict = Literal["reproduced", "not reproduced", "inconclusive", "not testable", "artefact"]


class Claim(Strict):
    """One entry of the ledger, as written in ``paper/claims.yaml``."""

    id: str
    where: str
    statement: str
    published: dict[str, float] = {}
    measure: Annotated[dict[str, dict[str, Any]], Field(max_length=1)] = {}
    rule: Annotated[dict[Literal["above", "below", "artefact", "not testable"], float | str], Field(min_length=1)]
    unit: str = ""
    figure: str = ""
    headline: bool = False

    @property
    def bound(self) -> float | None:
        """The bound that the measurement is compared with; None if the rule has no bound on an interval."""
        (kind, value), *_ = self.rule.items()
        return float(value) if kind in ("above", "below") else None


EFFECT_NAMES = {"mean": "Cohen's d", "median": "dominance", "share": "Cohen's h"}
"""Kind of an estimate -> the name of its effect size."""


MOST_HEADLINES = 10
"""How many claims the summary in the README may quote."""


def _few_headlines(claims: list[Claim]) -> list[Claim]:
    count = sum(claim.headline for claim in claims)
    if count > MOST_HEADLINES:
        raise ValueError(f"at most {MOST_HEADLINES} claims may be headlines, got {count}")
    return claims


class Ledger(Strict):
    """All claims, and the committed scales that vary what the paper leaves open."""

    sensitivity: dict[str, str] = {}
    claims: Annotated[list[Claim], AfterValidator(_few_headlines)]


LEVEL = 1 - CONFIDENCE
"""Chance of any false verdict among the claims of one experiment."""


def judge(rule: Mapping[Any, Any], estimate: Estimate | None, corrected: float = 0.0) -> Verdict:
    """Turn a measurement into a verdict.

    ``above`` and ``below`` ask that the interval lie wholly on the claimed side of the bound, and that the p value
    `corrected` for the number of claims be below `LEVEL`. A single observation has no interval and is inconclusive by
    definition. A method with a run that diverged has failed and loses every comparison, unless the other failed as
    well.
    """
    (kind, bound), *_ = rule.items()
    if kind == "not testable" or estimate is None:
        return "not testable"
    if kind == "artefact":
        return "artefact" if estimate.value < bound else "inconclusive"
    if estimate.failed is not None:
        if (side := estimate.failed.side) is None:
            return "inconclusive"
        return "reproduced" if side == kind else "not reproduced"
    if estimate.count < 2 or math.isnan(estimate.low) or math.isnan(estimate.high):
        return "inconclusive"
    above, below = estimate.low > bound, estimate.high < bound
    if (above or below) and not corrected >= LEVEL:
        return "reproduced" if above == (kind == "above") else "not reproduced"
    return "inconclusive"


def measurement(claim: Claim) -> tuple[str, str, dict[str, Any]] | None:
    """Room, name and arguments of a claim's measurement, None where there is none."""
    for name, arguments in claim.measure.items():
        room, _, function = name.partition(".")
        return room, function, arguments
    return None


def ledger(claims: list[Claim], findings: Mapping[str, Any]) -> pd.DataFrame:
    """Measure and judge all claims, one row each. P values are corrected by Holm's method within each experiment.

    Args:
        claims: what to judge.
        findings: by room, an object whose methods are the measurements.
    """
    estimates: dict[str, Estimate | None] = {}
    p_values: dict[str, dict[str, float]] = {}
    for claim in claims:
        estimates[claim.id] = None
        if measured := measurement(claim):
            room, function, arguments = measured
            estimates[claim.id] = estimate = getattr(findings[room], function)(**arguments)
            if claim.bound is not None:
                p_values.setdefault(room, {})[claim.id] = p_value(estimate, claim.bound)
    corrected = {key: p for family in p_values.values() for key, p in holm(family).items()}
    return pd.DataFrame([_row(claim, estimates[claim.id], corrected.get(claim.id, math.nan)) for claim in claims])


def _row(claim: Claim, estimate: Estimate | None, corrected: float) -> dict[str, object]:
    measured = estimate or NO_ESTIMATE
    return {
        "id": claim.id,
        "where": claim.where,
        "statement": claim.statement,
        "published": "; ".join(f"{key} {value:g}" for key, value in claim.published.items()),
        "measured": measured.value,
        "measured_low": measured.low,
        "measured_high": measured.high,
        "observations": measured.count,
        "failed_runs": "" if measured.failed is None else str(measured.failed),
        "unit": claim.unit,
        "effect": math.nan if claim.bound is None else effect_size(measured, claim.bound),
        "effect_measure": EFFECT_NAMES[measured.kind] if measured.observations and claim.bound is not None else "",
        "corrected_p": corrected,
        "rule": "; ".join(f"{key} {value}" for key, value in claim.rule.items()),
        "verdict": judge(claim.rule, estimate, corrected),
        "figure": claim.figure,
    }


def judged_by(settings: Settings, claims: list[Claim]) -> list[Claim]:
    """The claims that a scale can judge: it has their experiment, with the methods that they compare.

    A claim that nothing measures belongs to no experiment. Only scales with all experiments list it.
    """

    def has(claim: Claim) -> bool:
        measured = measurement(claim)
        if measured is None:
            return settings.complete
        room, _, arguments = measured
        if room not in settings.rooms:
            return False
        compared = {arguments[key] for key in ("ours", "theirs") if key in arguments}
        return not compared or compared <= set(settings.rooms[room].names())

    return [claim for claim in claims if has(claim)]


def load_claims(path: str = "paper/claims.yaml") -> list[Claim]:
    """Read and check the ledger's entries.

    Raises:
        UserError: one line naming the file and the key.
    """
    claims = load_ledger(path).claims
    for claim in claims:
        if measured := measurement(claim):
            room, function, _ = measured
            known = measurements(room) if room in ROOMS else []
            if function not in known:
                names = (
                    ", ".join(f"{room}.{name}" for name in known) or f"a room, one of {', '.join(ROOMS)}, and a name"
                )
                raise UserError(f"{path}: {claim.id}: measure: no measurement {room}.{function}; known are {names}")
    return claims


def measurements(room: str) -> list[str]:
    """Names of a room's measurements: the public methods of its ``Findings`` that return an `Estimate`."""
    module = reading.open_room(room, "findings")
    found = vars(module.Findings).items() if module else []
    return [
        name
        for name, method in found
        if not name.startswith("_") and getattr(method, "__annotations__", {}).get("return") is Estimate
    ]


def load_ledger(path: str = "paper/claims.yaml") -> Ledger:
    """Read the file of the ledger.

    Raises:
        UserError: one line naming the file and the key.
    """
    return validate(Ledger, read_yaml(lineage.noted(path)), path)


def write(settings: Settings, findings: Mapping[str, Any]) -> pd.DataFrame:
    """Judge the claims that a scale can judge, and write its ledger. Return it."""
    table = ledger(judged_by(settings, load_claims()), findings)
    write_table(table, reading.results(settings), "claims")
    return table


def main() -> None:
    """Entry point of ``python -m experiments.evidence.claims``."""
    command = reading.command_line("claims", "Measure and judge the claims of paper/claims.yaml.", parts=("findings",))
    with command.recorded():
        table = write(command.settings, reading.findings_of(command.settings))
    print(table[["id", "measured", "measured_low", "measured_high", "corrected_p", "verdict"]].to_string(index=False))


if __name__ == "__main__":
    run_main(main)
