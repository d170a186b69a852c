"""Keep the small results of a full run under ``results/reference`` and ``figures/reference``, and in the README."""

import shutil
from pathlib import Path
from typing import Any

from experiments.evidence import lineage, reading
from experiments.evidence.tables import readable
from experiments.runs.errors import UserError, run_main
from experiments.runs.files import sha256, write_json, write_text
from experiments.runs.validation import read_yaml
from experiments.scale import Settings

README = Path("README.md")
SHOWN_SCALE = "laptop"
"""The scale whose claims the README shows."""

START, END = "<!-- claims: begin -->", "<!-- claims: end -->"

WITHHELD_OF_CELEBA = ("figure_3_train_faces", "prior_samples")
"""CelebA may not be redistributed: the eight faces of one figure are all that is kept."""


def provenance(settings: Settings) -> dict[str, Any]:
    """One summary of all runs of a scale: commits by experiment, versions, hardware, data and time.

    Raises:
        UserError: if runs were made with local changes, a method's runs by different code, or any run on another
            machine or with other versions.
    """
    files = sorted((reading.results(settings) / "runs").glob("*/*/*/provenance.json"))
    runs = [reading.read_provenance(file.parent) for file in files]
    same = ("python", "cpu", "system")
    versions: dict[str, str] = {}
    code: dict[str, str] = {}
    commits: dict[str, set[str]] = {}
    for file, run in zip(files, runs, strict=True):
        experiment, method, fingerprint = *file.parts[3:5], read_yaml(file.with_name("config.yaml"))["code"]
        differing = [key for key in same if run[key] != runs[0][key]]
        differing += [
            name for name, version in run["versions"].items() if versions.setdefault(name, version) != version
        ]
        if code.setdefault(f"{experiment}/{method}", fingerprint) != fingerprint:  # the rules of methods differ
            differing.append("code")
        if differing or run["dirty"]:
            reason = f"{', '.join(differing)} differ" if differing else "made with uncommitted changes"
            raise UserError(f"{file}: no part of one reproducible set of runs ({reason}); run on a clean clone")
        commits.setdefault(experiment, set()).add(run["commit"])
    data = {name: checksum for run in runs for name, checksum in run["data"].items()}
    return {key: runs[0][key] for key in same} | {
        "versions": versions,
        "scale": settings.scale,
        "runs": len(runs),
        "run_provenance": {"/".join(file.parts[3:6]): sha256(file) for file in files},
        "code": code,
        "commits": {experiment: sorted(hashes) for experiment, hashes in commits.items()},
        "data": data,
        "one_thread_minutes": round(sum(run["times"]["total"] for run in runs) / 60, 1),
    }


def claims_table(folder: Path, figures: Path) -> str:
    """The ledger as the README shows it: statement, published value, measurement, effect, verdict, link to the figure."""
    claims = reading.claims_of(folder / "claims.csv")
    shown = readable(claims[["statement", "measured", "measured_low", "measured_high", "effect", "verdict"]])
    lines = [
        "| claim | published | measured, 95 % interval | effect | verdict | |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    columns = ["published", "unit", "effect_measure", "figure", "failed_runs"]
    texts = claims.reindex(columns=columns).astype(object).fillna("").to_dict("records")
    for row, text in zip(shown.to_dict("records"), texts, strict=True):
        measured = f"{row['measured']} ({text['unit']})" if row["measured"] else ""
        if text["failed_runs"]:
            measured = f"diverged: {text['failed_runs']} runs"
        effect = f"{text['effect_measure']} {row['effect']}" if row["effect"] else ""
        link = f"[figure]({(figures / text['figure']).as_posix()}.png)" if text["figure"] else ""
        cells = [row["statement"], text["published"], measured, effect, f"**{row['verdict']}**", link]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def kept_files(settings: Settings, folders: list[Path]) -> dict[str, Any]:
    """Kept file -> its SHA-256, and what the record of the file that it is a copy of says: command, time, code, runs."""
    copied_from = {
        "results": reading.results(settings),
        "figures": reading.figures(settings),
    }
    files: dict[str, Any] = {}
    for folder in folders:
        for path in sorted(file for file in folder.rglob("*") if file.is_file()):
            entry: dict[str, Any] = {"sha256": sha256(path)}
            record = lineage.record_of(str(copied_from[folder.parts[0]] / path.relative_to(folder)))
            if record is not None:
                entry |= {"command": record.command, "time": record.time, "made_on": record.made_on}
                entry["runs"] = lineage.counts(record.runs)
            files[path.as_posix()] = entry
    return files


def keep(settings: Settings) -> None:
    """Copy tables, claims, figures (PNG) and provenance to the reference folders; the README shows one scale's claims.

    The manuscript's ``numbers.json`` is kept of scales that have every experiment, as the manuscript needs.
    """
    source = reading.results(settings)
    target, pictures = Path("results/reference", settings.scale), Path("figures/reference", settings.scale)
    summary = provenance(settings)
    for folder in (target, pictures):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    shutil.copytree(source / "tables", target / "tables")
    for name in ("claims.csv", "claims.md", "claims.tex", *(["numbers.json"] if settings.complete else [])):
        shutil.copy(source / name, target / name)
    celeba = settings.introvae is not None and settings.introvae.dataset == "celeba"
    for picture in sorted(reading.figures(settings).glob("*.png")):
        if not (celeba and picture.stem in WITHHELD_OF_CELEBA):
            shutil.copy(picture, pictures / picture.name)
    write_json(target / "provenance.json", summary | {"files": kept_files(settings, [target, pictures])})
    if settings.scale == SHOWN_SCALE:
        text = README.read_text(encoding="utf-8")
        before, after = text.split(START)[0], text.split(END)[1]
        write_text(README, f"{before}{START}\n{claims_table(target, pictures)}{END}{after}")


def main() -> None:
    """Entry point of ``python -m experiments.provenance.reference``."""
    keep(reading.command_line("reference", "Keep a finished scale as the committed reference.").settings)


if __name__ == "__main__":
    run_main(main)
