"""What was made from what: one small record for every analysis command, beside the results that it wrote.

``results/<scale>/lineage/<command>[-<experiment>].json`` holds the command, the commit, versions and time, and with their
SHA-256 the files that it wrote, the files that it read, and the runs that it read. A run stands there with the SHA-256 of
its ``provenance.json``, which in turn holds those of the run's files.

What is noted is what was read, not what should have been: run folders are noted where they are opened
(`reading.FinishedRun`), other files by `noted` around the path, outputs by `wrote` in the two functions that write tables
and figures. The notes go to the recorder of the `recording` under way, since some thirty functions between a command and
a run folder would else carry an argument that they do not use; outside of a recording, nothing is noted.
"""

import contextlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field

from experiments.runs.environment import environment
from experiments.runs.errors import UserError
from experiments.runs.files import fingerprint, sha256, write_json
from experiments.runs.room import Strict
from experiments.runs.validation import validate


class Record(Strict):
    """What one command made, and of what. Paths are relative to the repository; values are SHA-256."""

    command: str = Field(description="as it may be typed again")
    time: str = Field(description="when it had written, ISO 8601, UTC")
    code: str = Field(description="fingerprint of experiments/evidence")
    made_on: dict[str, Any] = Field(description="commit, dirty flag, versions, system, processor")
    outputs: dict[str, str]
    inputs: dict[str, str] = Field(description="files that were read, the scale's settings included")
    runs: dict[str, str] = Field(description="run folders that were read, by their provenance.json")


class _Recorder:
    def __init__(self) -> None:
        self.outputs: set[str] = set()
        self.inputs: dict[str, str] = {}
        self.runs: dict[str, str] = {}


_under_way: ContextVar[_Recorder | None] = ContextVar("recording", default=None)


@contextlib.contextmanager
def recording(path: Path, command: str, config: str) -> Iterator[None]:
    """Note what is read and written inside; write the record to `path` at the end, unless there is an error."""
    recorder = _Recorder()
    token = _under_way.set(recorder)
    try:
        noted(config)
        yield
    finally:
        _under_way.reset(token)
    record = Record(
        command=command,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        code=code_fingerprint(),
        made_on=environment(),
        outputs={name: sha256(name) for name in sorted(recorder.outputs)},
        inputs=recorder.inputs,
        runs=recorder.runs,
    )
    write_json(path, record.model_dump())


def noted(path: Path | str) -> Path:
    """Return `path`, a file about to be read, and note it with the SHA-256 that it has now."""
    recorder = _under_way.get()
    if recorder is not None and Path(path).exists():  # else the reader says what is missing
        recorder.inputs.setdefault(name_of(path), sha256(path))
    return Path(path)


def noted_run(folder: Path) -> None:
    """Note a run folder about to be read."""
    recorder = _under_way.get()
    if recorder is not None and name_of(folder) not in recorder.runs:
        recorder.runs[name_of(folder)] = sha256(folder / "provenance.json")


def wrote(path: Path | str) -> None:
    """Note a file that was written; it is hashed when the command ends."""
    recorder = _under_way.get()
    if recorder is not None:
        recorder.outputs.add(name_of(path))


def name_of(path: Path | str) -> str:
    """A path as the records have it: relative to the repository, with forward slashes."""
    path = Path(path)
    if path.is_absolute():
        with contextlib.suppress(ValueError):
            path = path.relative_to(Path.cwd())
    return path.as_posix()


def code_fingerprint() -> str:
    """First 16 digits of the SHA-256 over the files of the analysis."""
    return fingerprint(sorted(Path(__file__).parent.glob("*.py")))


def records(scale: str) -> dict[Path, Record]:
    """All records of a scale, by their file.

    Raises:
        UserError: if a record is damaged.
    """
    return {path: _load(path) for path in sorted(Path("results", scale, "lineage").glob("*.json"))}


def _load(path: Path) -> Record:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); remove it and run the analysis again") from error
    return validate(Record, values, str(path))


def record_of(name: str) -> Record | None:
    """The record of the command that wrote a file ``results/<scale>/...`` or ``figures/<scale>/...``, if there is one."""
    parts = Path(name).parts
    if len(parts) < 3 or parts[0] not in ("results", "figures"):
        return None
    return next((record for record in records(parts[1]).values() if name in record.outputs), None)


def counts(runs: Iterable[str]) -> dict[str, int]:
    """Number of run folders by experiment."""
    return dict(Counter(Path(run).parts[-3] for run in runs))
