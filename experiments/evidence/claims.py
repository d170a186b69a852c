"""Measure and judge every claim of ``paper/claims.yaml`` under all its specifications: the ledger."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from experiments.evidence import reading
from experiments.evidence.specifications import (
    LEDGER,
    Cell,
    Claim,
    Ledger,
    Verdict,
    cells,
    corrected,
    load_ledger,
    main_estimate,
    verdict,
)
from experiments.evidence.statistics import Estimate
from experiments.evidence.summaries import columns_of
from experiments.evidence.tables import write_table
from experiments.runs.errors import UserError, run_main
from experiments.scale import ROOMS, Settings

ESTIMATED = ("measured", "measured_low", "measured_high", "observations", "failed_runs")

SPECIFIED = ("main", *ESTIMATED, "kind", "p", "decision")
"""Columns of ``specifications.csv`` beside the claim's id and the options."""


def judge(claims: list[Claim], ledger: Ledger, findings: Mapping[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure and judge claims.

    The claims of the paper are one family, corrected by Bonferroni's method: a specification is decided only if its p value
    times the number of claims that are tested is below the level. For one specification of each claim, named beforehand,
    the chance of any false decision then stays below the level. Sweeps have no p value and stand outside.

    Args:
        claims: what to judge.
        ledger: whose choices the claims are open to.
        findings: by room, an object whose methods are the measurements.

    Returns:
        One row a claim, and one row a specification.
    """
    measured: dict[str, list[Cell]] = {}
    not_run: dict[str, int] = {}
    for claim in claims:
        if claim.bound is not None:
            measured[claim.id], not_run[claim.id] = cells(claim, ledger.choices, findings[claim.room])
    family = [claim.id for claim in claims if claim.family == "paper" and claim.id in measured]
    tested = [name for name in family if any(not math.isnan(cell.p) for cell in measured[name])]
    factors = dict.fromkeys(family, 1) | dict.fromkeys(tested, len(tested))
    measured = {name: corrected(found, factors.get(name, 1)) for name, found in measured.items()}
    rows, specified = [], []
    for claim in claims:
        found = measured.get(claim.id, [])
        estimate = main_estimate(found)
        if claim.kind == "artefact":
            estimate = getattr(findings[claim.room], claim.measurement)(**claim.arguments)
        summary = _without_bound(claim, estimate) if claim.bound is None else verdict(found, ledger.names)
        factor = factors.get(claim.id, math.nan)
        rows.append(_row(claim, estimate, summary, found) | {"not_run": not_run.get(claim.id, 0), "factor": factor})
        for cell in found:
            options = {name: str(option) for name, option in cell.options.items()}  # 10 beside NaN would be 10.0
            columns = {"id": claim.id, **options, "main": cell.main, **_columns(cell.estimate)}
            specified.append(columns | {"kind": cell.estimate.kind, "p": cell.p, "decision": cell.decision})
    choices = [name for name in ledger.choices if any(name in row for row in specified)]
    return pd.DataFrame(rows), pd.DataFrame(specified, columns=["id", *choices, *SPECIFIED])


def _without_bound(claim: Claim, estimate: Estimate) -> Verdict:
    """The verdict on a claim whose rule has no bound on an interval."""
    if claim.kind == "not testable":
        return Verdict("not testable", "not testable")
    word = "artefact" if estimate.value < float(claim.rule["artefact"]) else "undecided"
    return Verdict(word, word)


def _columns(estimate: Estimate) -> dict[str, object]:
    failed = "" if estimate.failed is None else str(estimate.failed)
    return {**columns_of("measured", estimate), "observations": estimate.count, "failed_runs": failed}


def _row(claim: Claim, estimate: Estimate, summary: Verdict, measured: list[Cell]) -> dict[str, object]:
    values = [cell.estimate.value for cell in measured if not math.isnan(cell.estimate.value)]
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
        "lowest": min(values, default=math.nan),
        "highest": max(values, default=math.nan),
        "verdict": summary.word,
        "reading": summary.text,
        "figure": claim.figure,
    }


def judged_by(settings: Settings, claims: list[Claim]) -> list[Claim]:
    """The claims that a scale can judge: it has their experiment.

    A claim that nothing measures belongs to no experiment. Only scales with all experiments list it.
    """
    return [claim for claim in claims if (claim.room in settings.rooms if claim.room else settings.complete)]


def answered(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a ledger without the claims of which no specification was run. An empty ledger stays empty."""
    if table.empty:
        return table
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
    if table.empty:
        print(f"{LEDGER}: no claim is about the rooms of the scale {command.settings.scale}")
    else:
        print(table[["id", "measured", "measured_low", "measured_high", "reading"]].to_string(index=False))


if __name__ == "__main__":
    run_main(main)
