"""Check a scale's weighting rules before anything runs, and remember the checks that passed.

Building the rules imports torch, which takes half of the time that a plan needs.
"""

import hashlib
import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from experiments.runs.errors import UserError
from experiments.runs.files import fingerprint
from experiments.runs.sources import closure, run_files

FOLDER = Path(".snakemake/checked")
"""Snakemake's folder for what it knows of a working directory. It holds an empty file for each check that passed."""


def check(scale: Any, source: str) -> None:
    """Call ``check(scale, source)`` of the ``run.py`` of every room that the scale has and that defines one.

    Claims judge the last epoch, so it must be a report epoch. Nothing is called where the same settings have passed with the
    same code before.

    Raises:
        UserError: one line naming `source` and the key.
    """
    for room, section in scale.rooms.items():
        if (reported := getattr(section, "report_epochs", None)) and reported[-1] != section.epochs:
            raise UserError(f"{source}: {room}.report_epochs: must end with epoch {section.epochs}, which claims judge")
    rooms: Iterable[str] = scale.rooms
    rules = {rule for section in scale.rooms.values() for name in section.names() for rule in section.weightings(name)}
    code = closure([path for room in rooms for path in run_files(room, sorted(rules))])
    passed = FOLDER / f"{hashlib.sha256(scale.model_dump_json().encode()).hexdigest()}-{fingerprint(code)}"
    if passed.exists():
        return
    for room in rooms:
        run = importlib.import_module(f"experiments.{room}.run")
        if hasattr(run, "check"):
            run.check(scale, source)
    passed.parent.mkdir(parents=True, exist_ok=True)
    passed.touch()
