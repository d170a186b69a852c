"""The ledger: every claim of ``paper/claims.yaml``, measured and judged."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import Field

from experiments.analysis import reading
from experiments.analysis.measurements import EXPERIMENT_OF, MEASUREMENTS, Evidence
from experiments.analysis.statistics import Estimate
from experiments.analysis.tables import write_table
from experiments.config import SOURCES, Settings, Strict, read_yaml, validate
from experiments.errors import run_main

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


class Ledger(Strict):
    """All claims."""

    claims: list[Claim]


def judge(rule: Mapping[Any, Any], estimate: Estimate | None) -> Verdict:
    """Turn a measurement into a verdict.

    ``above`` and ``below`` ask that the interval lie wholly on the claimed side of the bound. A single observation
    has no interval and is inconclusive by definition.
    """
    (kind, bound), *_ = rule.items()
    if kind == "not testable" or estimate is None:
        return "not testable"
    if kind == "artefact":
        return "artefact" if estimate.value < bound else "inconclusive"
    if estimate.count < 2 or math.isnan(estimate.low) or math.isnan(estimate.high):
        return "inconclusive"
    above, below = estimate.low > bound, estimate.high < bound
    if above or below:
        return "reproduced" if above == (kind == "above") else "not reproduced"
    return "inconclusive"


def ledger(claims: list[Claim], evidence: Evidence) -> pd.DataFrame:
    """Measure and judge all claims, one row each."""
    rows = []
    for claim in claims:
        estimate = None
        for name, arguments in claim.measure.items():
            estimate = MEASUREMENTS[name](evidence, **arguments)
        rows.append(
            {
                "id": claim.id,
                "where": claim.where,
                "statement": claim.statement,
                "published": "; ".join(f"{key} {value:g}" for key, value in claim.published.items()),
                "measured": estimate.value if estimate else float("nan"),
                "measured_low": estimate.low if estimate else float("nan"),
                "measured_high": estimate.high if estimate else float("nan"),
                "observations": estimate.count if estimate else 0,
                "unit": claim.unit,
                "rule": "; ".join(f"{key} {value}" for key, value in claim.rule.items()),
                "verdict": judge(claim.rule, estimate),
                "figure": claim.figure,
            }
        )
    return pd.DataFrame(rows)


def judged_by(settings: Settings, claims: list[Claim]) -> list[Claim]:
    """The claims that a scale speaks of: those whose experiment it has, with the methods that they compare.

    A claim that nothing measures is of no experiment, and stands in the ledgers of scales that have them all.
    """

    def spoken_of(claim: Claim) -> bool:
        experiments = {EXPERIMENT_OF[name] for name in claim.measure} or set(SOURCES)
        compared = {a[key] for a in claim.measure.values() for key in ("ours", "theirs") if key in a}
        return experiments <= set(settings.experiments) and (
            not compared or compared <= settings.introvae.methods.keys()
        )

    return [claim for claim in claims if spoken_of(claim)]


def load_claims(path: str = "paper/claims.yaml") -> list[Claim]:
    """Read and check the ledger's entries.

    Raises:
        UserError: one line naming the file and the key.
    """
    claims = validate(Ledger, read_yaml(path), path).claims
    validate(Measured, {"measurements": [name for claim in claims for name in claim.measure]}, path)
    return claims


class Measured(Strict):
    """The measurements that claims may name."""

    measurements: list[Literal[tuple(MEASUREMENTS)]]  # type: ignore[valid-type]


def main() -> None:
    """Entry point of ``python -m experiments.analysis.claims``."""
    settings, _ = reading.command_line("claims", "Measure and judge the claims of paper/claims.yaml.")
    table = ledger(judged_by(settings, load_claims()), Evidence(settings, read_yaml("paper/published.yaml")))
    write_table(table, reading.results(settings), "claims")
    print(table[["id", "measured", "measured_low", "measured_high", "verdict"]].to_string(index=False))


if __name__ == "__main__":
    run_main(main)
