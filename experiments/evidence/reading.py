"""Read what runs left: run folders, and the rows that `experiments.evidence.rows` gathers from them.

Tables, claims and most figures are made from the rows alone, so that they can be made again from a committed table of
rows.
"""

import argparse
import contextlib
import functools
import importlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments import scale
from experiments.evidence import lineage
from experiments.runs.errors import UserError
from experiments.runs.files import ROOT
from experiments.runs.room import run_folder
from experiments.runs.validation import read_yaml

REFERENCE = Path("results/reference")
"""Folder of the committed results, one folder a scale."""


@dataclass(frozen=True)
class Command:
    """Scale, room and record that a command line asks for.

    Attributes:
        program: name of the command.
        settings: of the scale.
        what: the room; empty where the command works on all of them.
        config: file of the settings.
        parts: the files of a room that the command opens by name, as ``("findings",)``.
    """

    program: str
    settings: scale.Settings
    what: str
    config: str
    parts: tuple[str, ...] = ()

    def recorded(self) -> AbstractContextManager[None]:
        """Keep a record of what is read and written inside; see `lineage`."""
        words = [self.program, *([self.what] if self.what else [])]
        path = results(self.settings) / "lineage" / f"{'-'.join(words)}.json"
        line = f"python -m experiments.evidence.{' '.join(words)} --config {self.config}"
        rooms = [self.what] if self.what else list(self.settings.rooms)
        modules = [f"experiments.{room}.{part}" for room in rooms for part in self.parts if has_part(room, part)]
        return lineage.recording(path, line, self.config, [f"experiments.evidence.{self.program}", *modules])


def command_line(
    program: str,
    description: str,
    *,
    rooms: bool = False,
    complete: bool = False,
    parts: tuple[str, ...] = (),
    package: str = "evidence",
) -> Command:
    """Parse ``[ROOM] --config FILE``.

    Args:
        program: name of the command.
        description: what ``--help`` says first.
        rooms: whether the command works on one room.
        complete: whether the scale must have every room.
        parts: see `Command`.
        package: package of the command.

    Raises:
        UserError: if the scale leaves out a room that is needed.
    """
    parser = argparse.ArgumentParser(prog=f"python -m experiments.{package}.{program}", description=description)
    if rooms:
        parser.add_argument("what", choices=scale.ROOMS, help="the experiment", metavar="ROOM")
    parser.add_argument("--config", default=scale.DEFAULT, help="the scale's settings (default: %(default)s)")
    options = parser.parse_args()
    settings = scale.load(options.config)
    for room in [options.what] if rooms else scale.ROOMS if complete else []:
        settings.section(room)
    return Command(program, settings, getattr(options, "what", ""), lineage.name_of(options.config), parts)


def results(settings: scale.Settings) -> Path:
    """Folder of a scale's results."""
    return Path("results", settings.scale)


def figures(settings: scale.Settings) -> Path:
    """Folder of a scale's figures."""
    return Path("figures", settings.scale)


def has_part(room: str, part: str) -> bool:
    """Whether a room has the file ``findings`` or ``figures``."""
    return (ROOT / "experiments" / room / f"{part}.py").exists()


def open_room(room: str, part: str) -> Any:
    """Import ``findings`` or ``figures`` of a room by name; None if the room has no such file."""
    return importlib.import_module(f"experiments.{room}.{part}") if has_part(room, part) else None


def runs_of(settings: scale.Settings) -> list[tuple[str, str, int]]:
    """Every run of a scale: room, name of the run and seed."""
    return [
        (room, name, seed)
        for room, section in settings.rooms.items()
        for name in section.names()
        for seed in section.seeds_of(name)
    ]


def finished_runs(settings: scale.Settings) -> list[Path]:
    """Folders of the runs that a scale names, as far as they have a ``provenance.json``; others may lie beside them."""
    folders = [run_folder(settings.scale, *run) for run in runs_of(settings)]
    return sorted(folder for folder in folders if (folder / "provenance.json").exists())


PROVENANCE = {"commit", "dirty", "python", "versions", "system", "cpu", "gpu", "threads", "data", "times"}
"""Keys that every run's ``provenance.json`` has."""

MACHINE = ("cpu", "cpu_capability", "gpu", "threads", "system")
"""Keys of a run's ``provenance.json`` that tell its machine. Runs of before ``cpu_capability`` was noted lack that."""


def read_provenance(folder: Path) -> dict[str, Any]:
    """Where and with what the run in a folder was made. The run is noted as read; see `lineage`.

    Raises:
        UserError: if its ``provenance.json`` cannot be read or lacks something.
    """
    path = folder / "provenance.json"
    try:
        content = path.read_bytes()
        record = json.loads(content)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: damaged ({error}); remove {folder} and run the workflow again") from error
    lacking = sorted(PROVENANCE - record.keys()) if isinstance(record, dict) else ["keys and values"]
    if lacking:
        raise UserError(f"{path}: lacks {', '.join(lacking)}; remove {folder} and run the workflow again")
    lineage.noted_run(folder, content)
    return record


def on_one_thread(record: Mapping[str, Any]) -> bool:
    """Whether a run took one thread of a processor and no GPU, so that its time is one thread's."""
    return record["threads"] == 1 and record["gpu"] is None


def machine_name(record: Mapping[str, Any]) -> str:
    """The processor of a run, and its GPU if it had one."""
    return f"{record['cpu']} with {record['gpu']}" if record["gpu"] else str(record["cpu"])


def machine_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of `MACHINE` in a run's provenance; None for those that it lacks."""
    return {key: record.get(key) for key in MACHINE}


class Missing(UserError):
    """A run folder that is needed is not there, or not finished."""


class FinishedRun:
    """A finished run folder. Its files are read when they are asked for, each once.

    Args:
        folder: the run folder.

    Attributes:
        provenance: where and with what it was run.

    Raises:
        Missing: if the run is not complete.
        UserError: if its provenance is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (self.folder / "metrics.json").exists():
            raise Missing(
                f"{self.folder}: no finished run; run the workflow, or python -m experiments.{folder.parts[-3]}"
            )
        self.provenance = read_provenance(self.folder)

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """The resolved settings, with the fingerprint of the code."""
        with self._whole("config.yaml") as path:
            return read_yaml(path)

    @functools.cached_property
    def metrics(self) -> dict[str, Any]:
        """The final numbers."""
        with self._whole("metrics.json") as path:
            values = json.loads(path.read_bytes())
            if not isinstance(values, dict):
                raise ValueError(f"it holds a {type(values).__name__}")
            return values

    @functools.cached_property
    def history(self) -> pd.DataFrame:
        """The course of the run."""
        with self._whole("history.csv") as path:
            history = pd.read_csv(path)
            return history.astype(float) if history.empty else history  # else its columns would be of no numbers

    @functools.cached_property
    def samples(self) -> dict[str, np.ndarray]:
        """Arrays for the figures."""
        with self._whole("samples.npz") as path, np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)

    @contextlib.contextmanager
    def _whole(self, name: str) -> Iterator[Path]:
        """Yield the path of a file of the run. Errors from damaged bytes become a `UserError` that names it."""
        path = self.folder / name
        try:
            yield path
        except FileNotFoundError as error:
            raise UserError(f"{path}: missing; remove {self.folder} and run the workflow again") from error
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"{path}: damaged ({reason}); remove {self.folder} and run the workflow again") from error


IDENTITY = {
    "room": str,
    "run": str,
    "seed": int,
    "settings": str,
    "code": str,
    "commit": str,
    "machine": str,
    "verdict": str,
    "train_seconds": float,
}
"""Columns that the rows of every room have, each with its type. Text stays text: a method may be called ``1``."""


class Runs:
    """The runs of one room at one scale: rows from a table, arrays and courses from the run folders.

    Args:
        settings: of the scale.
        room: name of the room.
        table: file of the rows; by default the one that the workflow makes of the scale's run folders.

    Attributes:
        settings: of the scale.
        section: the room's settings.
    """

    def __init__(self, settings: scale.Settings, room: str, table: Path | None = None) -> None:
        self.settings, self.room = settings, room
        self.section: Any = settings.section(room)
        self._table = table or results(settings) / "rows" / f"{room}.csv"
        self._opened: dict[Path, FinishedRun] = {}

    @functools.cached_property
    def rows(self) -> pd.DataFrame:
        """The rows of all runs that the scale names; ``rows()`` in the room's ``findings.py`` says what a row holds.

        Raises:
            UserError: if the table is missing or damaged, or lacks a run.
        """
        table = read_rows(self._table)
        rows = table[table["room"] == self.room]
        there = set(zip(rows["run"], rows["seed"], strict=True))
        wanted = [(name, str(seed)) for name in self.section.names() for seed in self.section.seeds_of(name)]
        if lacking := [run for run in wanted if run not in there]:
            name, seed = lacking[0]
            raise UserError(
                f"{self._table}: lacks {len(lacking)} of {len(wanted)} runs of {self.room}, such as {name}, "
                f"seed {seed}; run the workflow again"
            )
        named = set(wanted)
        return typed(rows[[run in named for run in zip(rows["run"], rows["seed"], strict=True)]])

    def folder(self, name: str, seed: int) -> FinishedRun:
        """The finished run of a name and seed. It stays open, so that several figures read its files once.

        Raises:
            Missing: if there is none.
        """
        path = run_folder(self.settings.scale, self.room, name, seed)
        if path not in self._opened:
            self._opened[path] = FinishedRun(path)
        return self._opened[path]


def read_rows(path: Path) -> pd.DataFrame:
    """Read a table of rows as text, exactly as written.

    Raises:
        UserError: if the file is missing or damaged.
    """
    try:
        table = pd.read_csv(lineage.noted(path), dtype=str, keep_default_na=False)
    except FileNotFoundError as error:
        raise UserError(f"{path}: missing; run the workflow, which gathers it from the run folders") from error
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); remove it and run the workflow again") from error
    if lacking := [name for name in IDENTITY if name not in table]:
        raise UserError(f"{path}: lacks the column {lacking[0]}; remove it and run the workflow again")
    return table


def typed(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of one room as `read_rows` returns them, with numbers for text, and without the columns of other rooms."""
    kept = rows.loc[:, [name in IDENTITY or bool((rows[name] != "").any()) for name in rows]]
    numbers = {name: ["", "nan"] for name in kept if IDENTITY.get(name) is not str}
    text = io.StringIO(kept.to_csv(index=False))
    types: Any = IDENTITY
    return pd.read_csv(text, dtype=types, keep_default_na=False, na_values=numbers)


def packed(values: Sequence[Any] | np.ndarray) -> str:
    """Numbers (n,) as one cell of a table, separated by spaces, booleans as 0 and 1. `unpacked` reads them exactly."""
    array = np.asarray(values)
    return " ".join(map(str, (array.astype(int) if array.dtype == bool else array).tolist()))


def unpacked(cell: object) -> np.ndarray:
    """The numbers (n,) of a cell that `packed` wrote: int64 if all are whole, else float64."""
    words = str(cell).split()
    return np.array([float(word) if set(word) & set(".en") else int(word) for word in words])


def published() -> dict[str, Any]:
    """The paper's own numbers."""
    return read_yaml(lineage.noted("paper/published.yaml"))


def claims_of(path: Path) -> pd.DataFrame:
    """Read a ``claims.csv``. Empty cells are NaN; words such as ``nan`` stay words."""
    return pd.read_csv(lineage.noted(path), keep_default_na=False, na_values=[""])


def specifications_of(path: Path) -> pd.DataFrame:
    """Read a ``specifications.csv``. Options are text, and NaN where a claim is not open to the choice."""
    table = pd.read_csv(lineage.noted(path), dtype=str, keep_default_na=False, na_values=[""])
    numbers = ["measured", "measured_low", "measured_high", "observations", "p"]
    table[numbers] = table[numbers].astype(float)
    return table.assign(main=table["main"] == "True")


def findings_of(settings: scale.Settings) -> dict[str, Any]:
    """The findings of a scale by room, for the rooms that have a ``findings.py``."""
    modules = {room: open_room(room, "findings") for room in settings.rooms}
    return {room: module.Findings(Runs(settings, room)) for room, module in modules.items() if module}
