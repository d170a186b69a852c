"""Gather a room's finished runs into rows: all that its tables, claims and most figures need, in one table.

Every row says which run it is of, with which settings, code, commit and machine the run was made, and how it ended.
What else a row holds is the business of the room: ``rows(run, section)`` in its ``findings.py``. A room without that
file keeps the final numbers of its runs.
"""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from experiments.evidence import lineage, reading
from experiments.runs.errors import run_main
from experiments.runs.files import write_text
from experiments.runs.room import run_folder
from experiments.scale import Settings


def gather(settings: Settings, room: str) -> list[dict[str, Any]]:
    """The rows of all runs of a room.

    Raises:
        UserError: if a run is not finished, or damaged.
    """
    section: Any = settings.section(room)
    findings = reading.open_room(room, "findings")
    rows = []
    for name in section.names():
        for seed in section.seeds_of(name):
            run = reading.FinishedRun(run_folder(settings.scale, room, name, seed))
            own = findings.rows(run, section) if findings else [final_numbers(run)]
            rows += [identity(run, room, name, seed) | row for row in own]
    return rows


def identity(run: reading.FinishedRun, room: str, name: str, seed: int) -> dict[str, Any]:
    """Which run a row is of, how it was made, and how it ended; see `reading.IDENTITY`."""
    record = run.provenance
    return {
        "room": room,
        "run": name,
        "seed": seed,
        "settings": record.get("config_hash", "")[:16],
        "code": run.config.get("code", ""),
        "commit": record["commit"],
        "machine": machine_text(reading.machine_of(record)),
        "verdict": run.metrics.get("verdict", ""),
        "train_seconds": record["times"].get("train"),
    }


def machine_text(machine: Mapping[str, Any]) -> str:
    """A machine in one line, without what is not known of it."""
    return "; ".join(f"{key} {value}" for key, value in machine.items() if value is not None)


def final_numbers(run: reading.FinishedRun) -> dict[str, Any]:
    """The final numbers of a run, without those that are nested."""
    return {key: value for key, value in run.metrics.items() if isinstance(value, int | float)}


def text_of(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV: floats in their shortest exact form, ``nan`` for NaN, nothing where a row has no such column."""
    rows = list(rows)
    text = io.StringIO()
    columns = dict.fromkeys([*reading.IDENTITY, *(key for row in rows for key in row)])
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write(settings: Settings, room: str) -> Path:
    """Gather the rows of a room and write its table; return the file."""
    path = reading.results(settings) / "rows" / f"{room}.csv"
    write_text(path, text_of(gather(settings, room)))
    lineage.wrote(path)
    return path


def concatenated(settings: Settings) -> str:
    """The written rows of all rooms of a scale as one CSV: what a reference keeps.

    Raises:
        UserError: if the rows of a room are missing or damaged.
    """
    tables = [reading.read_rows(reading.results(settings) / "rows" / f"{room}.csv") for room in settings.rooms]
    rows = [row for table in tables for row in table.to_dict("records")]
    return text_of({str(name): cell for name, cell in row.items() if cell != ""} for row in rows)


def main() -> None:
    """Entry point of ``python -m experiments.evidence.rows``."""
    command = reading.command_line(
        "rows", "Gather the finished runs of one experiment into one table.", rooms=True, parts=("findings",)
    )
    with command.recorded():
        write(command.settings, command.what)


if __name__ == "__main__":
    run_main(main)
