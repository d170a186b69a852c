"""Measure and judge every claim of ``paper/claims.yaml`` under all its specifications: the ledger."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from experiments.evidence import reading
from experiments.evidence.specifications import LEDGER, Cell, Claim, Ledger, Verdict, cells, load_ledger, verdict
from experiments.evidence.specifications import main_estimate as main_of
from experiments.evidence.statistics import LEVEL, Estimate, holm
from experiments.evidence.tables import write_table
from experiments.runs.errors import UserError, run_main
from experiments.scale import ROOMS, Settings


def judge(claims: list[Claim], ledger: Ledger, findings: Mapping[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure and judge claims.

    P values are corrected by Holm's method over the claims of the paper; a claim whose corrected p value is not small
    enough is undecided.

    Args:
        claims: what to judge.
        ledger: whose choices the claims are open to.
        findings: by room, an object whose methods are the measurements.

    Returns:
        One row a claim, and one row a specification.
    """
    measured: dict[str, tuple[list[Cell], int]] = {}
    verdicts: dict[str, Verdict] = {}
    for claim in claims:
        if claim.bound is None:
            verdicts[claim.id] = _without_bound(claim, findings)
        else:
            measured[claim.id] = cells(claim, ledger.choices, findings[claim.room])
            verdicts[claim.id] = verdict(measured[claim.id][0])
    corrected = holm({claim.id: verdicts[claim.id].p for claim in claims if claim.family == "paper"})
    rows = [
        _row(claim, *measured.get(claim.id, ([], 0)), verdicts[claim.id], corrected.get(claim.id, math.nan), findings)
        for claim in claims
    ]
    specified = [
        {"id": claim.id, **cell.options, "main": cell.main, **_columns(cell.estimate), "p": cell.p}
        | {"decision": cell.decision}
        for claim in claims
        for cell in measured.get(claim.id, ([], 0))[0]
    ]
    first = ["id", *ledger.choices]
    table = pd.DataFrame(specified)
    return pd.DataFrame(rows), table[[name for name in first if name in table] + [c for c in table if c not in first]]


def _without_bound(claim: Claim, findings: Mapping[str, Any]) -> Verdict:
    """The verdict on a claim whose rule has no bound on an interval."""
    if claim.kind == "not testable":
        return Verdict("not testable", "not testable")
    value = _fact(claim, findings).value
    word = "artefact" if value < float(claim.rule["artefact"]) else "undecided"
    return Verdict(word, word)


def _fact(claim: Claim, findings: Mapping[str, Any]) -> Estimate:
    estimate: Estimate = getattr(findings[claim.room], claim.measurement)(**next(iter(claim.measure.values())))
    return estimate


def _columns(estimate: Estimate) -> dict[str, object]:
    return {
        "measured": estimate.value,
        "measured_low": estimate.low,
        "measured_high": estimate.high,
        "observations": estimate.count,
        "failed_runs": "" if estimate.failed is None else str(estimate.failed),
    }


def _row(
    claim: Claim, measured: list[Cell], not_run: int, found: Verdict, corrected: float, findings: Mapping[str, Any]
) -> dict[str, object]:
    estimate = _fact(claim, findings) if claim.kind == "artefact" else main_of(measured)
    values = [cell.estimate.value for cell in measured if not math.isnan(cell.estimate.value)]
    decided = found.word in ("supported", "contradicted", "hinges")
    if decided and corrected >= LEVEL:  # NaN, as of a sweep, is not
        found = Verdict("undecided", "undecided after correction", found.p)
    return {
        "id": claim.id,
        "family": claim.family,
        "where": claim.where,
        "statement": claim.statement,
        "published": "; ".join(f"{key} {value:g}" for key, value in claim.published.items()),
        **_columns(estimate),
        "unit": claim.unit,
        "rule": "; ".join(f"{key} {value}" for key, value in claim.rule.items()),
        "specifications": len(measured),
        "supporting": sum(cell.decision == "supports" for cell in measured),
        "contradicting": sum(cell.decision == "contradicts" for cell in measured),
        "not_run": not_run,
        "lowest": min(values, default=math.nan),
        "highest": max(values, default=math.nan),
        "corrected_p": corrected,
        "verdict": found.word,
        "reading": found.text,
        "figure": claim.figure,
    }


def judged_by(settings: Settings, claims: list[Claim]) -> list[Claim]:
    """The claims that a scale can judge: it has their experiment.

    A claim that nothing measures belongs to no experiment. Only scales with all experiments list it.
    """
    return [claim for claim in claims if (claim.room in settings.rooms if claim.room else settings.complete)]


def answered(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a ledger without the claims of which no specification was run."""
    return table[(table["specifications"] > 0) | (table["not_run"] == 0)].reset_index(drop=True)


def load_claims(path: str = LEDGER) -> Ledger:
    """Read and check the ledger's entries.

    Raises:
        UserError: one line naming the file and the key.
    """
    ledger = load_ledger(path)
    for claim in ledger.claims:
        if claim.measure:
            known = measurements(claim.room) if claim.room in ROOMS else []
            if claim.measurement not in known:
                names = (
                    ", ".join(f"{claim.room}.{name}" for name in known)
                    or f"a room, one of {', '.join(ROOMS)}, and a name"
                )
                raise UserError(
                    f"{path}: {claim.id}: measure: no measurement {claim.room}.{claim.measurement}; known are {names}"
                )
    return ledger


def measurements(room: str) -> list[str]:
    """Names of a room's measurements: the public methods of its ``Findings`` that return an `Estimate`."""
    module = reading.open_room(room, "findings")
    found = vars(module.Findings).items() if module else []
    return [
        name
        for name, method in found
        if not name.startswith("_")
        and getattr(method, "__annotations__", {}).get("return") in (Estimate, Estimate | None)
    ]


def write(settings: Settings, findings: Mapping[str, Any]) -> pd.DataFrame:
    """Judge the claims that a scale can judge; write its ledger and its specifications. Return the ledger."""
    ledger = load_claims()
    table, specified = judge(judged_by(settings, ledger.claims), ledger, findings)
    table = answered(table)
    write_table(table, reading.results(settings), "claims")
    write_table(specified, reading.results(settings), "specifications")
    return table


def main() -> None:
    """Entry point of ``python -m experiments.evidence.claims``."""
    command = reading.command_line("claims", "Measure and judge the claims of paper/claims.yaml.", parts=("findings",))
    with command.recorded():
        table = write(command.settings, reading.findings_of(command.settings))
    print(table[["id", "measured", "measured_low", "measured_high", "corrected_p", "reading"]].to_string(index=False))


if __name__ == "__main__":
    run_main(main)
