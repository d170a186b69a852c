"""Check that nothing has changed: hash a scale's data, runs and outputs, and compare with the records.

*Drift* is a file that differs from its record, is missing, or was made from something that has changed since. It can no
longer be traced to what made it. Each is named with a remedy, and the exit code is 1.

A *notice* tells the reader something that no file contradicts. The exit code stays 0. Notices are: runs made by other
code than is here now, runs made with uncommitted changes, files from before files were hashed or records were kept,
files without a record, and leftovers of a write that was cut off. Other code is no drift, because the run is whole and
says which code made it; otherwise every edit of a training script would condemn intact results. The workflow, which
compares code too, makes such runs anew.
"""

import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from experiments.evidence import lineage, reading
from experiments.runs.errors import UserError, run_main
from experiments.runs.files import leftovers, sha256
from experiments.runs.progress import progress_bar
from experiments.runs.room import rules_of, run_folder
from experiments.runs.sources import code_fingerprint
from experiments.runs.validation import read_yaml
from experiments.scale import ROOMS, Settings

DIGITS = 12
"""Digits of a checksum that are shown."""


@dataclass(frozen=True)
class Check:
    """A file and the SHA-256 that it should have."""

    path: Path
    expected: str
    remedy: str


@dataclass
class Report:
    """Files to hash, and findings."""

    config: str
    checks: list[Check] = field(default_factory=list)
    drift: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    notes: dict[tuple[str, str, str], int] = field(default_factory=dict)

    @property
    def rerun(self) -> str:
        """The command that makes missing or stale files anew."""
        return f"snakemake --configfile {self.config} --cores 2"

    def note(self, place: str, what: str, remedy: str = "") -> None:
        """Count a notice, which several runs or files of one place may share."""
        self.notes[place, what, remedy] = self.notes.get((place, what, remedy), 0) + 1

    def hash_all(self) -> None:
        """Hash every file once, and compare the hash with all that are expected."""
        paths = list(dict.fromkeys(check.path for check in self.checks))
        found: dict[Path, str | None] = {}
        with progress_bar(len(paths), "hashing", "file") as bar:
            for path in paths:
                found[path] = sha256(path) if path.is_file() else None
                bar.update()
        for check in dict.fromkeys(self.checks):
            digest = found[check.path]
            if digest is None:
                self.drift.append(f"{check.path}: missing (expected {check.expected[:DIGITS]}); {check.remedy}")
            elif digest != check.expected:
                expected, actual = check.expected[:DIGITS], digest[:DIGITS]
                self.drift.append(f"{check.path}: expected {expected}, found {actual}; {check.remedy}")


def verify(settings: Settings, config: str) -> Report:
    """Check one scale.

    Raises:
        UserError: if nothing of it has been run, or a record is damaged.
    """
    if not reading.results(settings).is_dir():
        raise UserError(
            f"{reading.results(settings)}: no results to verify; run snakemake --configfile {config} --cores 2"
        )
    report = Report(config)
    known = known_data(settings)
    data = dict(known)
    for folder in _run_folders(settings, report):
        _run(folder, report, data)
    for name, checksum in data.items():
        fetched = f"remove it and run python -m experiments.data fetch {name.split('/')[0]}"
        fetched += f" --data-dir {shlex.quote(settings.data_dir)}" if settings.data_dir != "data" else ""
        remedy = fetched if name in known else f"restore it, or remove the runs that read it and run {report.rerun}"
        report.checks.append(Check(Path(settings.data_dir, name), checksum, remedy))
    _lineage(settings, report)
    _reference(settings, report)
    _leftovers(settings, report)
    report.hash_all()
    for (place, what, remedy), count in report.notes.items():
        report.notices.append(f"{place}: {what}: {count}{'; ' if remedy else ''}{remedy}")
    return report


def data_sets(settings: Settings) -> list[str]:
    """The data sets that a scale uses, by the names that ``python -m experiments.data`` knows."""
    return sorted({name for section in settings.rooms.values() for name in section.data()})


def known_data(settings: Settings) -> dict[str, str]:
    """Files of the data sets in use -> published SHA-256. Image folders have none; what their runs saw counts instead."""
    from experiments.data import mnist, orl_faces

    known = {f"mnist/{name}": checksum for name, checksum in mnist.CHECKSUMS.items()}
    known["orl-faces/images.npy"] = orl_faces.CHECKSUM
    return {name: checksum for name, checksum in known.items() if name.split("/")[0] in data_sets(settings)}


def _run_folders(settings: Settings, report: Report) -> list[Path]:
    """The finished run folders. Those that are missing are drift."""
    expected = {run_folder(settings.scale, *run) for run in reading.runs_of(settings)}
    there = {path.parent for path in (reading.results(settings) / "runs").glob("*/*/*/config.yaml")}
    for folder in sorted(expected | there):
        finished = all((folder / name).exists() for name in ("metrics.json", "provenance.json", "config.yaml"))
        if not finished:
            there.discard(folder)
        if folder not in expected:
            report.note(str(folder.parent), f"runs that {report.config} does not name", "remove what is not wanted")
        elif not finished:
            report.drift.append(f"{folder}: expected a finished run, found none; run {report.rerun}")
    return sorted(there)


def _run(folder: Path, report: Report, data: dict[str, str]) -> None:
    """Add the checks of one run. Data without a published checksum are added to `data` as the run saw them."""
    from experiments.runs.folder import config_hash

    place = str(folder.parent.parent)
    remedy = f"remove {folder} and run {report.rerun}"
    provenance, config = _provenance(folder, report), _config(folder, report)
    if provenance is None or config is None:
        return
    if "files" in provenance:
        report.checks += [Check(folder / name, digest, remedy) for name, digest in sorted(provenance["files"].items())]
        accounted = {*provenance["files"], "provenance.json"}
        for path in sorted(folder.iterdir()):
            if path.name not in accounted and not path.name.startswith((".", "checkpoint")):
                report.note(
                    place,
                    f"runs with {path.name}, which is not in their provenance",
                    "remove what is not wanted",
                )
    else:
        report.note(
            place, "runs made before files were hashed, not to be verified", f"remove them and run {report.rerun}"
        )
    recorded = provenance.get("config_hash")
    if recorded is not None and recorded != (found := config_hash(config)):
        report.drift.append(
            f"{folder / 'config.yaml'}: expected settings {recorded[:DIGITS]}, found {found[:DIGITS]}; {remedy}"
        )
    for name, checksum in provenance["data"].items():
        if data.setdefault(name, checksum) != checksum:
            report.drift.append(
                f"{folder / 'provenance.json'}: expected {name} {data[name][:DIGITS]}, "
                f"found {checksum[:DIGITS]}; {remedy}"
            )
    if provenance["dirty"]:
        report.note(place, "runs made with uncommitted changes")
    present = _fingerprint(config["experiment"], tuple(rules_of(config)))
    if config["code"] != present:
        report.note(
            place, f"runs made by other code ({config['code']}, here is {present})", f"{report.rerun} renews them"
        )


def _provenance(folder: Path, report: Report) -> dict[str, Any] | None:
    try:
        return reading.read_provenance(folder)
    except UserError as error:
        report.drift.append(str(error))
        return None


def _config(folder: Path, report: Report) -> dict[str, Any] | None:
    try:
        return read_yaml(folder / "config.yaml")
    except UserError as error:
        report.drift.append(f"{error}; remove {folder} and run {report.rerun}")
        return None


@cache
def _fingerprint(room: str, rules: tuple[str, ...]) -> str:
    """Fingerprint of the present code of a run; ``none`` if the room or a rule is gone."""
    try:
        return code_fingerprint(room, rules) if room in ROOMS else "none"
    except FileNotFoundError:
        return "none"


def _lineage(settings: Settings, report: Report) -> None:
    """Add the checks of every record; note outputs without a record."""
    recorded: set[str] = set()
    for record in lineage.records(settings.scale).values():
        recorded |= record.outputs.keys()
        again = f"run {record.command}"
        report.checks += [Check(Path(name), digest, again) for name, digest in record.outputs.items()]
        stale = f"changed since it was read, so {again}"
        report.checks += [Check(Path(name), digest, stale) for name, digest in record.inputs.items()]
        report.checks += [Check(Path(run, "provenance.json"), digest, stale) for run, digest in record.runs.items()]
        place = str(reading.results(settings) / "lineage")
        if record.code != (present := lineage.code_fingerprint(record.modules)):
            report.note(place, f"records of other code ({record.code}, here is {present})", f"run {report.rerun}")
        if record.made_on["dirty"]:
            report.note(place, "records of outputs made with uncommitted changes")
    for path in made(settings):
        if path.as_posix() not in recorded:
            report.note(str(path.parent), "files without a record of how they were made", f"run {report.rerun}")


def made(settings: Settings) -> Iterator[Path]:
    """The files that the commands of `experiments.evidence` write, as far as they are there."""
    folder = reading.results(settings)
    names = ("claims.*", "specifications.*", "numbers.json", "paper.pdf")
    yield from sorted(path for name in names for path in folder.glob(name))
    yield from sorted((folder / "rows").glob("[!.]*.csv"))
    yield from sorted((folder / "tables").glob("[!.]*.*"))
    yield from sorted([*reading.figures(settings).glob("[!.]*.p[dn][fg]")])


def _reference(settings: Settings, report: Report) -> None:
    """Add the checks of the scale's committed reference, against its own summary."""
    summary = reading.REFERENCE / settings.scale / "provenance.json"
    if not summary.exists():
        return
    files = json.loads(summary.read_text(encoding="utf-8")).get("files")
    if files is None:
        report.notices.append(f"{summary}: made before files were hashed, the reference cannot be verified")
        return
    for name, kept in files.items():
        report.checks.append(Check(Path(name), kept["sha256"], f"run git checkout -- {name}"))


def _leftovers(settings: Settings, report: Report) -> None:
    for root in (reading.results(settings), reading.figures(settings)):
        for folder in (root, *sorted(path for path in root.rglob("*") if path.is_dir())):
            for path in leftovers(folder):
                report.notices.append(f"{path}: left by a write that was cut off; remove it if nothing is running")


def main() -> None:
    """Entry point of ``python -m experiments.provenance.verify``."""
    from experiments.data.__main__ import MODULES

    command = reading.command_line(
        "verify", "Hash a scale's data, runs and outputs, and compare with their records.", package="provenance"
    )
    report = verify(command.settings, command.config)
    for line in report.drift:
        print(f"drift   {line}")
    for line in report.notices:
        print(f"notice  {line}")
    unused = sorted(MODULES.keys() - set(data_sets(command.settings)))
    print(f"data sets that this scale does not use, not looked at: {', '.join(unused) or 'none'}")
    files = len({check.path for check in report.checks})
    print(f"{files} files hashed: {len(report.drift)} drifted, {len(report.notices)} notices")
    if report.drift:
        sys.exit(1)


if __name__ == "__main__":
    run_main(main)
