"""Gather a room's finished runs into rows: all that its tables, claims and most figures need, in one table.

Every row says which run it is of, with which settings, code, commit and machine the run was made, and how it ended. What
else a row holds is the room's own business: ``rows(run, section)`` in its ``findings.py``; a room without one keeps its
final numbers.
"""

from typing import Any

import pandas as pd

from experiments.evidence import lineage, reading
from experiments.runs.errors import run_main
from experiments.runs.files import write_text
from experiments.runs.room import run_folder
from experiments.runs.validation import read_yaml
from experiments.scale import Settings

MACHINE = ("cpu", "cpu_capability", "gpu", "threads", "system")
"""Entries of a run's provenance that say on what machine it was made."""


def gather(settings: Settings, room: str) -> pd.DataFrame:
    """The rows of all runs of a room.

    Raises:
        UserError: if a run is not finished, or damaged.
    """
    section: Any = settings.section(room)
    findings = reading.open_room(room, "findings")
    rows = []
    for name in section.names():
        for seed in section.all_seeds():
            run = reading.FinishedRun(run_folder(settings.scale, room, name, seed))
            own = findings.rows(run, section) if findings else [final_numbers(run)]
            rows += [identity(run, room, name, seed) | row for row in own]
    return pd.DataFrame(rows)


def identity(run: reading.FinishedRun, room: str, name: str, seed: int) -> dict[str, Any]:
    """Which run a row is of, how it was made, and how it ended."""
    record = run.provenance
    config = read_yaml(lineage.noted(run.folder / "config.yaml"))
    return {
        "room": room,
        "run": name,
        "seed": seed,
        "settings": record["config_hash"][:16],
        "code": config["code"],
        "commit": record["commit"],
        "machine": "; ".join(str(record[key]) for key in MACHINE if record.get(key) is not None),
        "verdict": run.metrics.get("verdict", ""),
        "train_seconds": record["times"].get("train"),
    }


def final_numbers(run: reading.FinishedRun) -> dict[str, Any]:
    """The final numbers of a run, without those that are nested."""
    return {key: value for key, value in run.metrics.items() if isinstance(value, int | float)}


def text_of(rows: pd.DataFrame) -> str:
    """Rows as CSV."""
    return rows.to_csv(index=False, lineterminator="\n")


def main() -> None:
    """Entry point of ``python -m experiments.evidence.rows``."""
    command = reading.command_line("rows", "Gather the finished runs of one experiment into one table.", rooms=True)
    path = reading.results(command.settings) / "rows" / f"{command.what}.csv"
    with command.recorded():
        write_text(path, text_of(gather(command.settings, command.what)))
        lineage.wrote(path)


if __name__ == "__main__":
    run_main(main)
