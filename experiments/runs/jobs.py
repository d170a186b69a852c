"""Answers of a room to the workflow about one job: its files, data, settings, time and memory.

A room states the minutes of a job at about a quarter of the speed that the laptop scale was measured at on one core of an
AMD EPYC (``results/<scale>/benchmarks``), so that slower machines are served too. A job that was stopped for want of time or
memory asks for more when it is tried again.
"""

import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from experiments.runs.files import ROOT
from experiments.runs.room import Section, run_folder
from experiments.runs.sources import module_files, run_files

LONGEST = 24 * 60
"""Minutes that no job exceeds: many partitions allow a day, and a training run goes on where the last job stopped."""

START = 10
"""Minutes for start-up on a busy file system, and for reading data."""

RESULT_FILES = ("config.yaml", "history.csv", "metrics.json", "provenance.json")
"""Files that every run leaves."""


class Jobs:
    """Answers about the jobs of a scale. Where an answer depends on the job, it is a function that Snakemake calls.

    Attributes:
        scale: settings of the whole scale.
    """

    def __init__(self, scale: Any) -> None:
        self.scale = scale

    def outputs(self, room: str, name: str, seed: object) -> list[str]:
        """Files that a run leaves; its name and seed may hold wildcards.

        Checkpoints are not among them, since Snakemake deletes the outputs of a job that fails.
        """
        folder = run_folder(self.scale.scale, room, name, seed).as_posix()
        return [f"{folder}/{file}" for file in (*RESULT_FILES, *self.scale.section(room).leaves)]

    def files(self, room: str, *names: str) -> list[str]:
        """Files that all runs of a room leave, or those of some names."""
        section = self.scale.section(room)
        runs = [(name, seed) for name in names or section.names() for seed in section.seeds_of(name)]
        return [file for name, seed in runs for file in self.outputs(room, name, seed)]

    def before(self, room: str) -> Callable[[Any], list[str]]:
        """Files of the runs of the room that a run reads."""
        section = self.scale.section(room)
        return lambda wildcards: [
            file for name in section.follows(self._name(room, wildcards)) for file in self.files(room, name)
        ]

    def data(self, room: str) -> list[str]:
        """Marks that the data sets of a room are there and whole."""
        return [f"results/{self.scale.scale}/{dataset}.verified" for dataset in self.scale.section(room).data()]

    def code(self, room: str) -> Callable[[Any], list[str]]:
        """Files that the numbers of a run come from, its own weighting rules included."""
        section = self.scale.section(room)
        return lambda wildcards: _relative(run_files(room, section.weightings(self._name(room, wildcards))))

    def identity(self, room: str) -> Callable[[Any], str]:
        """Settings that the numbers of a run come from, as text. A change makes this run stale, and no other."""
        section = self.scale.section(room)
        return lambda wildcards: json.dumps(
            section.identity(self._variant(room, wildcards), self.scale), sort_keys=True
        )

    def minutes(self, room: str) -> Callable[[Any, int], int]:
        """Time limit at the first, second, ... attempt."""
        work = self.scale.section(room).minutes(self.scale)
        return lambda wildcards, attempt: min(LONGEST, int(attempt * (START + work)))  # noqa: ARG005

    def megabytes(self, room: str) -> Callable[[Any, int], int]:
        """Memory at the first, second, ... attempt."""
        megabytes = self.scale.section(room).megabytes(self.scale)
        return lambda wildcards, attempt: attempt * megabytes  # noqa: ARG005

    def stated_minutes(self, rules: Iterable[str]) -> dict[str, float]:
        """Minutes of a job, without start-up, of the rules whose room counts them from its settings."""
        rooms = self.scale.rooms.items()
        stated = {room: part.minutes(self.scale) for room, part in rooms if type(part).minutes is not Section.minutes}
        return {rule: minutes for rule in rules for room, minutes in stated.items() if rule.startswith(room)}

    def _variant(self, room: str, wildcards: Any) -> dict[str, str]:
        return {choice: getattr(wildcards, choice) for choice in self.scale.section(room).choices()}

    def _name(self, room: str, wildcards: Any) -> str:
        return "-".join(self._variant(room, wildcards).values()) or "default"


def captions(room: str, kind: str) -> list[str]:
    """Names of a room's ``tables`` or ``figures``: its captions are the list of them."""
    return sorted(path.stem for path in (ROOT / "experiments" / room / "captions" / kind).glob("*.rst"))


def drawn(scale: Any, room: str) -> list[str]:
    """Names of the figures of a room that a scale draws."""
    return [name for name in captions(room, "figures") if name not in scale.section(room).not_drawn()]


def modules(*names: str) -> list[str]:
    """Files behind modules, these included."""
    return _relative(module_files(*names))


def _relative(paths: Iterable[Path]) -> list[str]:
    """Paths as seen from the working directory, so that a checkout that moves keeps its results."""
    return [os.path.relpath(path) for path in paths]


def results_named_in(path: Path) -> list[str]:
    """Files below ``results/`` that a manuscript opens by their whole path, as those of other scales; sorted."""
    return sorted(set(re.findall(r'"/(results/[^"]+)"', path.read_text(encoding="utf-8"))))
