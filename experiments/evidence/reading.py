"""Reading what runs left: run folders, and the rows that `experiments.evidence.rows` gathers from them.

Tables, claims and most figures are made from the rows alone, so that a committed table of rows is enough to make them again.
"""

import argparse
import contextlib
import functools
import importlib
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments import scale
from experiments.evidence import lineage
from experiments.runs.errors import UserError
from experiments.runs.jobs import captions
from experiments.runs.room import run_folder
from experiments.runs.validation import read_yaml

REFERENCE = Path("results/reference")
"""Folder of the committed results, one folder a scale."""


@dataclass(frozen=True)
class Command:
    """What a command line asks for; `what` is empty where there is no choice."""

    program: str
    settings: scale.Settings
    what: str
    config: str

    def recorded(self) -> AbstractContextManager[None]:
        """Keep a record of what is read and written inside; see `lineage`."""
        words = [self.program, *([self.what] if self.what else [])]
        path = results(self.settings) / "lineage" / f"{'-'.join(words)}.json"
        line = f"python -m experiments.evidence.{' '.join(words)} --config {self.config}"
        return lineage.recording(path, line, self.config)


def command_line(
    program: str, description: str, *, rooms: bool = False, complete: bool = False, module: str = "evidence"
) -> Command:
    """Parse ``[ROOM] --config FILE``.

    Args:
        program: name of the command.
        description: what ``--help`` says first.
        rooms: whether the command works on one room.
        complete: whether the scale must have every room.
        module: package of the command.

    Raises:
        UserError: if the scale leaves out a room that is needed.
    """
    parser = argparse.ArgumentParser(prog=f"python -m experiments.{module}.{program}", description=description)
    if rooms:
        parser.add_argument("what", choices=scale.ROOMS, help="the experiment", metavar="ROOM")
    parser.add_argument("--config", default=scale.DEFAULT, help="the scale's settings (default: %(default)s)")
    options = parser.parse_args()
    settings = scale.load(options.config)
    for room in [options.what] if rooms else scale.ROOMS if complete else []:
        settings.section(room)
    return Command(program, settings, getattr(options, "what", ""), lineage.name_of(options.config))


def results(settings: scale.Settings) -> Path:
    """Folder of a scale's results."""
    return Path("results", settings.scale)


def figures(settings: scale.Settings) -> Path:
    """Folder of a scale's figures."""
    return Path("figures", settings.scale)


def open_room(room: str, part: str) -> Any:
    """Import ``findings`` or ``figures`` of a room by name; None if the room has no such file."""
    if not Path("experiments", room, f"{part}.py").exists():
        return None
    return importlib.import_module(f"experiments.{room}.{part}")


def runs_of(settings: scale.Settings) -> list[tuple[str, str, int]]:
    """Every run of a scale: room, name of the run and seed."""
    return [
        (room, name, seed)
        for room, section in settings.rooms.items()
        for name in section.names()
        for seed in section.all_seeds()
    ]


PROVENANCE = {"commit", "dirty", "python", "versions", "system", "cpu", "gpu", "threads", "data", "times"}
"""What every run's ``provenance.json`` tells."""


def read_provenance(folder: Path) -> dict[str, Any]:
    """Where and with what the run in a folder was made.

    Raises:
        UserError: if its ``provenance.json`` cannot be read or lacks something.
    """
    path = folder / "provenance.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: damaged ({error}); remove {folder} and run the workflow again") from error
    lacking = sorted(PROVENANCE - record.keys()) if isinstance(record, dict) else ["keys and values"]
    if lacking:
        raise UserError(f"{path}: lacks {', '.join(lacking)}; remove {folder} and run the workflow again")
    return record


class Missing(UserError):
    """A run folder that is needed is not there, or not finished."""


class FinishedRun:
    """A finished run folder. Its files are read when they are asked for, each once.

    Args:
        folder: the run folder.

    Raises:
        Missing: if the run is not complete.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (self.folder / "metrics.json").exists():
            raise Missing(
                f"{self.folder}: no finished run; run the workflow, or python -m experiments.{folder.parts[-3]}"
            )
        lineage.noted_run(self.folder)

    @functools.cached_property
    def metrics(self) -> dict[str, Any]:
        """The final numbers."""
        return self._json("metrics.json")

    @functools.cached_property
    def provenance(self) -> dict[str, Any]:
        """Where and with what it was run."""
        return read_provenance(self.folder)

    @functools.cached_property
    def history(self) -> pd.DataFrame:
        """The course of the run."""
        with self._whole("history.csv") as path:
            return pd.read_csv(path)

    @functools.cached_property
    def samples(self) -> dict[str, np.ndarray]:
        """Arrays for the figures."""
        with self._whole("samples.npz") as path, np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)

    def _json(self, name: str) -> dict[str, Any]:
        with self._whole(name) as path:
            values = json.loads(path.read_bytes())
            if not isinstance(values, dict):
                raise ValueError(f"it holds a {type(values).__name__}")
            return values

    @contextlib.contextmanager
    def _whole(self, name: str) -> Iterator[Path]:
        """Yield the path of a file of the run; what a reader makes of damaged bytes becomes a `UserError` naming it."""
        path = self.folder / name
        try:
            yield path
        except FileNotFoundError as error:
            raise UserError(f"{path}: missing; remove {self.folder} and run the workflow again") from error
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"{path}: damaged ({reason}); remove {self.folder} and run the workflow again") from error


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

    @functools.cached_property
    def rows(self) -> pd.DataFrame:
        """The rows of all runs; see ``rows()`` in the room's ``findings.py`` for what a row holds.

        Raises:
            UserError: if the table is missing, damaged, or lacks the room.
        """
        table = read_rows(self._table)
        rows = table[table["room"] == self.room]
        if rows.empty:
            raise UserError(f"{self._table}: has no rows of {self.room}; run the workflow again")
        filled = rows.loc[:, (rows != "").any()]
        return pd.read_csv(io.StringIO(filled.to_csv(index=False)), float_precision="round_trip")

    def folder(self, name: str, seed: int) -> FinishedRun:
        """The finished run of a name and seed.

        Raises:
            Missing: if there is none.
        """
        return FinishedRun(run_folder(self.settings.scale, self.room, name, seed))


def read_rows(path: Path) -> pd.DataFrame:
    """Read a table of rows as text, exactly as written.

    Raises:
        UserError: if the file is missing or damaged.
    """
    try:
        return pd.read_csv(lineage.noted(path), dtype=str, keep_default_na=False)
    except FileNotFoundError as error:
        raise UserError(f"{path}: missing; run the workflow, which gathers it from the run folders") from error
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); remove it and run the workflow again") from error


def packed(values: Sequence[Any] | np.ndarray) -> str:
    """Numbers (n,) as one cell of a table, separated by spaces; `unpacked` reads them back exactly."""
    return " ".join(map(str, np.asarray(values).tolist()))


def unpacked(cell: object) -> np.ndarray:
    """The numbers (n,) of a cell that `packed` wrote: int64 if all are whole, else float64."""
    words = str(cell).split()
    return np.array([float(word) if "." in word or "e" in word or "n" in word else int(word) for word in words])


def published() -> dict[str, Any]:
    """The paper's own numbers."""
    return read_yaml(lineage.noted("paper/published.yaml"))


def claims_of(path: Path) -> pd.DataFrame:
    """Read a ``claims.csv``; empty cells are NaN, and no word is."""
    return pd.read_csv(lineage.noted(path), keep_default_na=False, na_values=[""])


def findings_of(settings: scale.Settings) -> dict[str, Any]:
    """The findings of every room of a scale that has some, by room."""
    modules = {room: open_room(room, "findings") for room in settings.rooms}
    return {room: module.Findings(Runs(settings, room)) for room, module in modules.items() if module}
