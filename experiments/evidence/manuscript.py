"""Compile the manuscript: gather the numbers that its sentences quote, then let Typst insert them and the figures."""

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.evidence import lineage, reading
from experiments.evidence.specifications import LEDGER, load_ledger
from experiments.runs.errors import UserError, run_main
from experiments.runs.files import atomic_path, write_json
from experiments.runs.jobs import results_named_in
from experiments.scale import Settings

MANUSCRIPT = Path("paper/paper.typ")

LARGER = ("full", "introvae-rivals")
"""The scales with more runs, whose committed ledgers stand beside the manuscript's own. They share no claim."""


def numbers(settings: Settings) -> dict[str, Any]:
    """Everything the manuscript's sentences quote, by name."""
    claims = reading.claims_of(reading.results(settings) / "claims.csv")
    classifier = reading.Runs(settings, "digit_classifier").rows.iloc[0]
    runs = [reading.read_provenance(folder) for folder in reading.finished_runs(settings)]
    machines = " and ".join(sorted({reading.machine_name(run) for run in runs}))
    larger = [path for scale in LARGER if (path := reading.REFERENCE / scale / "claims.csv").exists()]
    paper = claims[claims["family"] == "paper"]
    found: dict[str, Any] = {
        "scale": settings.scale,
        "settings": settings.model_dump(mode="json"),
        "claims": _quoted(claims),
        "full": {name: row for path in larger for name, row in _quoted(reading.claims_of(path)).items()},
        "headlines": [claim.id for claim in load_ledger().claims if claim.headline],
        "verdicts": Counter(paper["verdict"]),
        "paper_claims": len(paper),
        "our_claims": len(claims) - len(paper),
        "classifier_accuracy": float(classifier["test_accuracy"]),
        "runs": len(runs),
        "training_minutes": sum(run["times"]["total"] for run in runs) / 60,
        "one_thread": all(reading.on_one_thread(run) for run in runs),
        "provenance": {
            "commits": sorted({str(run["commit"]) for run in runs}),
            "dirty": any(run["dirty"] for run in runs),
            "machines": machines,
            "python": runs[0]["python"],
            "versions": runs[0]["versions"],
        },
    }
    for findings in reading.findings_of(settings).values():
        if hasattr(findings, "numbers"):
            found |= findings.numbers()
    return _plain(found)


def _quoted(claims: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The columns of the ledger that the manuscript quotes, by claim id."""
    estimate = ["measured", "measured_low", "measured_high", "observations", "failed_runs"]
    columns = [*estimate, "specifications", "lowest", "highest", "verdict", "reading"]
    return {row["id"]: {key: row.get(key) for key in columns} for row in claims.to_dict("records")}


def _plain(value: Any) -> Any:
    """`value` with None for every NaN and infinity, which JSON does not know. The manuscript reads it as ``none``."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def readable_by_typst(settings: Settings) -> Iterator[Path]:
    """Yield the files that the manuscript may open. Typst does not say which it opened, so all tables and figures count."""
    yield from (MANUSCRIPT, *map(Path, (LEDGER, "paper/published.yaml", "paper/references.bib")))
    yield reading.results(settings) / "claims.csv"
    yield from sorted((reading.results(settings) / "tables").glob("[!.]*.csv"))
    yield from sorted(reading.figures(settings).glob("[!.]*.pdf"))
    yield from map(Path, results_named_in(MANUSCRIPT))


def compile_manuscript(settings: Settings) -> None:
    """Write ``numbers.json`` and ``paper.pdf``.

    Raises:
        UserError: if Typst finds a mistake in the manuscript.
    """
    import typst

    folder = reading.results(settings)
    write_json(folder / "numbers.json", numbers(settings))
    lineage.wrote(folder / "numbers.json")
    for path in readable_by_typst(settings):
        lineage.noted(path)
    inputs = {"results": f"/{folder.as_posix()}", "figures": f"/{reading.figures(settings).as_posix()}"}
    with atomic_path(folder / "paper.pdf") as temporary:
        try:
            typst.compile(str(MANUSCRIPT), output=str(temporary), root=".", sys_inputs=inputs, format="pdf")
        except typst.TypstError as error:
            raise UserError(f"{MANUSCRIPT}: {' '.join(str(error).split())}") from error
    lineage.wrote(folder / "paper.pdf")


def main() -> None:
    """Entry point of ``python -m experiments.evidence.manuscript``."""
    command = reading.command_line(
        "manuscript", "Compile the manuscript from a scale's results.", complete=True, parts=("findings",)
    )
    with command.recorded():
        compile_manuscript(command.settings)


if __name__ == "__main__":
    run_main(main)
