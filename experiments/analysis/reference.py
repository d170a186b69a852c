"""Keep the small results of a full run under ``results/reference`` and ``figures/reference``, and in the README."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.analysis import reading
from experiments.analysis.tables import readable
from experiments.config import Settings
from experiments.errors import UserError, run_main
from experiments.files import write_json, write_text

README = Path("README.md")
START, END = "<!-- claims: begin -->", "<!-- claims: end -->"


def provenance(settings: Settings) -> dict[str, Any]:
    """One summary of all runs of a scale: commits, versions, hardware, data and time.

    Raises:
        UserError: if the runs were made by different commits or with local changes.
    """
    files = sorted((reading.results(settings) / "runs").glob("*/*/*/provenance.json"))
    runs = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    same = ("commit", "dirty", "versions", "python", "cpu", "system")
    first = {key: runs[0][key] for key in same}
    differing = [str(file) for file, run in zip(files, runs, strict=True) if {k: run[k] for k in same} != first]
    if differing or first["dirty"]:
        reason = f"{differing[0]} differs from {files[0]}" if differing else "they were made with uncommitted changes"
        raise UserError(
            f"{reading.results(settings)}: not one reproducible set of runs ({reason}); run on a clean clone"
        )
    data = {name: checksum for run in runs for name, checksum in run["data"].items()}
    return first | {
        "scale": settings.scale,
        "runs": len(runs),
        "data": data,
        "one_thread_minutes": round(sum(run["times"]["total"] for run in runs) / 60, 1),
    }


def claims_table(folder: Path) -> str:
    """The ledger as the README shows it: statement, measurement, verdict."""
    claims = pd.read_csv(folder / "claims.csv", keep_default_na=False, na_values=[""])
    shown = readable(claims[["statement", "measured", "measured_low", "measured_high", "verdict"]])
    units = claims["unit"].fillna("")
    lines = ["| claim of the paper | measured, 95 % interval | verdict |", "| --- | --- | --- |"]
    for row, unit in zip(shown.to_dict("records"), units, strict=True):
        measured = f"{row['measured']} ({unit})" if row["measured"] else ""
        lines.append(f"| {row['statement']} | {measured} | **{row['verdict']}** |")
    return "\n".join(lines) + "\n"


def keep(settings: Settings) -> None:
    """Copy tables, claims, figures (PNG) and provenance to the reference folders; put the claims in the README."""
    source = reading.results(settings)
    target, pictures = Path("results/reference", settings.scale), Path("figures/reference", settings.scale)
    summary = provenance(settings)
    for folder in (target, pictures):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    shutil.copytree(source / "tables", target / "tables")
    for name in ("claims.csv", "claims.md", "claims.tex", "numbers.json"):
        shutil.copy(source / name, target / name)
    for picture in sorted(reading.figures(settings).glob("*.png")):
        shutil.copy(picture, pictures / picture.name)
    write_json(target / "provenance.json", summary)
    text = README.read_text(encoding="utf-8")
    before, after = text.split(START)[0], text.split(END)[1]
    write_text(README, f"{before}{START}\n{claims_table(target)}{END}{after}")


def main() -> None:
    """Entry point of ``python -m experiments.analysis.reference``."""
    settings, _ = reading.command_line("reference", "Keep a finished scale as the committed reference.")
    keep(settings)


if __name__ == "__main__":
    run_main(main)
