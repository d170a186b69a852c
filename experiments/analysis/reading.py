"""Reading run folders: the only way by which the analysis learns of the experiments."""

import argparse
import contextlib
import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.analysis import lineage
from experiments.config import Settings, load, read_yaml, require, run_folder
from experiments.errors import UserError
from experiments.sources import SOURCES

DIVERGED = "diverged"
"""The verdict, in ``metrics.json``, of a run that finished by diverging."""

STEP_RULES = {"fixed": "fixed step", "barzilai_borwein": "Barzilai-Borwein"}
"""Step rules of the descent, by what figures call them; a run of each for every test function."""


@dataclass(frozen=True)
class Command:
    """What a command line asks for; `what` is empty where there is no choice."""

    program: str
    settings: Settings
    what: str
    config: str

    def recorded(self) -> AbstractContextManager[None]:
        """Keep a record of what is read and written inside; see `lineage`."""
        words = [self.program, *([self.what] if self.what else [])]
        path = results(self.settings) / "lineage" / f"{'-'.join(words)}.json"
        line = f"python -m experiments.analysis.{' '.join(words)} --config {self.config}"
        return lineage.recording(path, line, self.config)


def command_line(
    program: str, description: str, *, what: list[str] | None = None, every_experiment: bool = False
) -> Command:
    """Parse ``[WHAT] --config FILE``.

    Raises:
        UserError: if the scale leaves WHAT out, or with `every_experiment` any experiment.
    """
    parser = argparse.ArgumentParser(prog=f"python -m experiments.analysis.{program}", description=description)
    if what:
        parser.add_argument("what", choices=what, help="the experiment")
    parser.add_argument("--config", default="config/laptop.yaml", help="the scale's settings (default: %(default)s)")
    options = parser.parse_args()
    settings = load(options.config)
    for experiment in [options.what] if what else SOURCES if every_experiment else []:
        require(settings, experiment, options.config)
    return Command(program, settings, getattr(options, "what", ""), lineage.name_of(options.config))


def results(settings: Settings) -> Path:
    """Folder of a scale's results."""
    return Path("results", settings.scale)


def figures(settings: Settings) -> Path:
    """Folder of a scale's figures."""
    return Path("figures", settings.scale)


def runs_of(settings: Settings) -> list[tuple[str, str, int]]:
    """Every run that a scale consists of: experiment, name (the method, or what else tells runs apart) and seed."""
    runs = []
    for experiment in settings.experiments:
        section = getattr(settings, experiment)
        names = ["default"]
        if experiment == "gradient_descent":
            names = [f"{function}-{rule}" for function in section.illustrated_starts for rule in STEP_RULES]
        elif experiment in ("sparse_autoencoder", "introvae"):
            names = list(settings.methods_of(experiment))
        seeds = section.seeds if hasattr(section, "seeds") else [section.seed]
        runs += [(experiment, name, seed) for name in names for seed in seeds]
    return runs


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


class FinishedRun:
    """A finished run folder.

    Args:
        settings: of the scale.
        experiment: its name.
        name: the method, or what else tells runs of an experiment apart.
        seed: of the run.

    Raises:
        UserError: if the run is not complete.
    """

    def __init__(self, settings: Settings, experiment: str, name: str, seed: int) -> None:
        self.folder = run_folder(settings.scale, experiment, name, seed)
        if not (self.folder / "metrics.json").exists():
            raise UserError(f"{self.folder}: no finished run; run the workflow, or python -m experiments.{experiment}")
        lineage.noted_run(self.folder)

    @property
    def metrics(self) -> dict[str, Any]:
        """The final numbers."""
        return self._json("metrics.json")

    @property
    def provenance(self) -> dict[str, Any]:
        """Where and with what it was run."""
        return read_provenance(self.folder)

    @property
    def history(self) -> pd.DataFrame:
        """The course of the run."""
        with self._whole("history.csv") as path:
            return pd.read_csv(path)

    @property
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


def published() -> dict[str, Any]:
    """The paper's own numbers."""
    return read_yaml(lineage.noted("paper/published.yaml"))


def claims_of(path: Path) -> pd.DataFrame:
    """Read a ``claims.csv``; empty cells are NaN, and no word is."""
    return pd.read_csv(lineage.noted(path), keep_default_na=False, na_values=[""])


def descent_run(settings: Settings, function: str, step_rule: str) -> FinishedRun:
    """The sweep of one test function with one step rule."""
    return FinishedRun(settings, "gradient_descent", f"{function}-{step_rule}", settings.gradient_descent.seed)


def histories(settings: Settings, experiment: str) -> pd.DataFrame:
    """Histories of all methods and seeds of ``sparse_autoencoder`` or ``introvae``, with columns method and seed.

    The column ``train_seconds`` holds the wall time of each run's training, ``verdict`` how it ended, if it says so.
    """
    section = getattr(settings, experiment)
    parts = []
    for method in settings.methods_of(experiment):
        for seed in section.seeds:
            finished = FinishedRun(settings, experiment, method, seed)
            seconds = finished.provenance["times"]["train"]
            ending = {"method": method, "seed": seed, "train_seconds": seconds}
            history = finished.history
            if (
                history.empty
            ):  # it diverged in its first epoch: a row that is NaN but for that, so that the run is there
                history = pd.DataFrame({"epoch": [1]})
            parts.append(history.assign(**ending, verdict=finished.metrics.get("verdict", "")))
    return pd.concat(parts, ignore_index=True)


def at_epochs(history: pd.DataFrame, epochs: Sequence[int], losses: Sequence[str]) -> pd.DataFrame:
    """The rows of some epochs, one for every run, so that no run is dropped.

    A run that diverged has rows of NaN from there on: its history ends, or one of its `losses` is not finite. It has nothing
    at the last epoch in any case, since weights or gradients may diverge first.

    Args:
        history: what `histories` returned.
        epochs: which rows.
        losses: columns that every epoch has.
    """
    ended = ~np.isfinite(history[list(losses)]).all(axis=1) | (history["epoch"] == history["epoch"].max())
    lost = (history["verdict"] == DIVERGED) & ended
    runs = history[["method", "seed", "train_seconds", "verdict"]].drop_duplicates()
    wanted = runs.merge(pd.DataFrame({"epoch": list(epochs)}), how="cross")
    measured = history[~lost].drop(columns=["train_seconds", "verdict"])
    return wanted.merge(measured, on=["method", "seed", "epoch"], how="left")


def failed_runs(history: pd.DataFrame, method: str) -> int:
    """The number of a method's runs that diverged."""
    return int(history[(history["method"] == method) & (history["verdict"] == DIVERGED)]["seed"].nunique())
