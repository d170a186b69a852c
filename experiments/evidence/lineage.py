"""Record what was made from what: a small file for every command, beside the results that it wrote.

``results/<scale>/lineage/<command>[-<room>].json`` holds the command, the commit, versions and time, the modules that
made the results, and the SHA-256 of the files that the command wrote and read. A run that it read stands there with the
SHA-256 of its ``provenance.json``, which in turn holds those of the run's files.

A record notes what was read, not what should have been read: `reading.read_provenance` notes run folders, `noted` any
other file, and `wrote` the outputs. The notes go to the `recording` under way. It is a context variable, since some
thirty functions between a command and a run folder would otherwise pass on an argument that they do not use. Outside of
a recording nothing is noted.
"""

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field

from experiments import scale
from experiments.runs.environment import environment
from experiments.runs.errors import UserError
from experiments.runs.files import fingerprint, sha256, write_json
from experiments.runs.room import Strict
from experiments.runs.sources import module_files
from experiments.runs.validation import validate


class Record(Strict):
    """Record of the files that one command wrote and read. Paths are relative to the repository; values are SHA-256."""

    command: str = Field(description="as it may be typed again")
    time: str = Field(description="when it had written, ISO 8601, UTC")
    modules: list[str] = Field(
        [], description="the command's own and those that it opened by name; older records lack it"
    )
    code: str = Field(description="fingerprint of the files behind these modules")
    made_on: dict[str, Any] = Field(description="commit, dirty flag, versions, system, processor")
    outputs: dict[str, str]
    inputs: dict[str, str] = Field(description="files that were read, those of the scale's settings included")
    runs: dict[str, str] = Field(description="run folders that were read, by their provenance.json")


class _Recorder:
    def __init__(self) -> None:
        self.outputs: set[str] = set()
        self.inputs: dict[str, str] = {}
        self.runs: dict[str, str] = {}


_under_way: ContextVar[_Recorder | None] = ContextVar("recording", default=None)


@contextlib.contextmanager
def recording(path: Path, command: str, config: str, modules: Sequence[str]) -> Iterator[None]:
    """Note what is read and written inside; write the record to `path` at the end, unless there is an error.

    Args:
        path: file of the record.
        command: as it may be typed again.
        config: file of the scale's settings, whose base files are noted with it.
        modules: the command's module and those that it opens by name.
    """
    recorder = _Recorder()
    token = _under_way.set(recorder)
    try:
        for file in scale.files(config):
            noted(file)
        yield
    finally:
        _under_way.reset(token)
    record = Record(
        command=command,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        modules=list(modules),
        code=code_fingerprint(modules),
        made_on=environment(),
        outputs={name: sha256(name) for name in sorted(recorder.outputs)},
        inputs=recorder.inputs,
        runs=recorder.runs,
    )
    write_json(path, record.model_dump())
    _supersede(path, recorder.outputs)


def _supersede(by: Path, outputs: set[str]) -> None:
    """Take outputs that were written anew out of all records but the new one."""
    for path, record in _records(by.parent).items():
        if path != by and outputs & record.outputs.keys():
            kept = {name: digest for name, digest in record.outputs.items() if name not in outputs}
            if kept:
                write_json(path, record.model_dump() | {"outputs": kept})
            else:
                path.unlink()


def noted(path: Path | str) -> Path:
    """Return `path`, a file about to be read, and note it with the SHA-256 that it has now."""
    recorder = _under_way.get()
    if recorder is not None and name_of(path) not in recorder.inputs:
        with contextlib.suppress(FileNotFoundError):  # the reader complains
            recorder.inputs[name_of(path)] = sha256(path)
    return Path(path)


def noted_run(folder: Path, provenance: bytes) -> None:
    """Note a run folder that is read, with the content of its ``provenance.json``."""
    recorder = _under_way.get()
    if recorder is not None:
        recorder.runs.setdefault(name_of(folder), hashlib.sha256(provenance).hexdigest())


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


def code_fingerprint(modules: Iterable[str]) -> str:
    """First 16 digits of the SHA-256 over the files behind modules."""
    return fingerprint(module_files(*modules))


def records(name: str) -> dict[Path, Record]:
    """All records of the scale of a name, by their file.

    Raises:
        UserError: if a record is damaged.
    """
    return _records(Path("results", name, "lineage"))


def _records(folder: Path) -> dict[Path, Record]:
    return {path: _load(path) for path in sorted(folder.glob("[!.]*.json"))}


def _load(path: Path) -> Record:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); remove it and run the workflow again") from error
    return validate(Record, values, str(path))


def record_of(name: str) -> Record | None:
    """The record of the command that wrote a file below ``results`` or ``figures``, if there is one."""
    parts = Path(name).parts
    if len(parts) < 3 or parts[0] not in ("results", "figures"):
        return None
    return next((record for record in records(parts[1]).values() if name in record.outputs), None)


def runs_behind(name: str) -> set[str]:
    """The run folders that a file was made from, also by way of other files."""
    found: set[str] = set()
    waiting, seen = [name], set()
    while waiting:
        file = waiting.pop()
        if file not in seen and (record := record_of(file)) is not None:
            found |= record.runs.keys()
            waiting += record.inputs
        seen.add(file)
    return found


def counts(runs: Iterable[str]) -> dict[str, int]:
    """Number of run folders by experiment."""
    return dict(Counter(Path(run).parts[-3] for run in runs))
