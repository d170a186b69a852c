"""The run folder: one run's settings, history, results, provenance and checkpoint, written atomically.

========================  ====================================================================
``config.yaml``           the resolved settings of this run, with their hash
``history.csv``           one row per epoch (or step): losses, weights, metrics
``metrics.json``          the final numbers; its presence says that the run is complete
``samples.npz``           arrays for the figures
``weights.pt``            the trained networks, loadable with ``weights_only=True``
``provenance.json``       commit, versions, hardware, wall time, checksums of data and results
``checkpoint.pt``         state to resume from, loadable with ``weights_only=True``
``checkpoint-previous.pt``  the one before it, for the case that it is damaged
========================  ====================================================================

The same seed on the same CPU with the same thread count gives byte-identical results, whether the run was interrupted
or not; what may differ (times, hardware) stands in ``provenance.json`` and the checkpoints alone. (On a GPU a run goes on from
the same state, but CUDA's own sums need not repeat to the bit.) An interruption is whatever ends a process: ``kill -9`` costs
what came after the last checkpoint; SIGTERM and Ctrl-C wait for the end of a training step and cost nothing, or, where there are
no such steps, as in the descent, end at once and cost the same as ``kill -9``.
"""

import contextlib
import csv
import hashlib
import io
import json
import math
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import torch
import yaml

from experiments.runs import checkpoints
from experiments.runs.command_line import Request
from experiments.runs.environment import environment
from experiments.runs.errors import Interrupted, UserError, on_signals
from experiments.runs.files import atomic_path, json_text, remove_leftovers, sha256, write_text
from experiments.runs.room import rules_of
from experiments.runs.sources import code_fingerprint
from experiments.runs.validation import read_yaml

_CHECKPOINT_SHARE = 50
"""Training between two checkpoints lasts at least so many times as long as writing one."""

_RESULTS = ("metrics.json", "history.csv", "samples.npz", "weights.pt", "provenance.json")

_CHECKPOINTS = (checkpoints.NEWEST, checkpoints.PREVIOUS)

_PARTS = {"config": dict, "data": dict, "state": dict, "history": list, "seconds": float, "random": dict}
"""Of a checkpoint, each with its type."""


class Run:
    """A run folder, opened to start or to resume a run.

    Args:
        folder: where the run lives.
        config: the resolved settings, plain YAML values; ``config["experiment"]`` names the experiment. A fingerprint of
            its code and the number of threads are added, since with others the results are others.
        overwrite: discard what a run with other settings or code left there, instead of refusing. Nothing is discarded
            or written before `start`, so that a run whose rules or data are refused leaves the folder as it was.
        extendable: training up to an epoch does not depend on how many follow, so that a run with fewer ``epochs``, all
            else equal, is continued from its last checkpoint. Its ``report_epochs`` must hold the new ones so far. What it
            measured besides stays in the history.
        checkpoint_interval: seconds between two checkpoints, longer where writing one takes long; with 0 there is one
            after every step. Results do not depend on it.
        writer: whether this process is the one that writes; of several ranks of one run, the others only read.

    Attributes:
        history: rows of ``history.csv``.
        data: SHA-256 by file of the data sets. A run sets it before `start` or `resume`.

    Raises:
        UserError: if the folder holds a run with other settings or code; names the keys that differ.
    """

    def __init__(
        self,
        folder: Path | str,
        config: Mapping[str, Any],
        *,
        overwrite: bool = False,
        extendable: bool = False,
        checkpoint_interval: float = math.inf,
        writer: bool = True,
    ) -> None:
        self.folder, self.writer = Path(folder), writer
        self.config = dict(config) | {"threads": torch.get_num_threads()}
        self.config["code"] = code_fingerprint(config["experiment"], tuple(rules_of(config)))
        self.overwrite = overwrite
        horizon = ("epochs", "report_epochs") if extendable else ()
        self._horizon = {key: self.config["settings"][key] for key in horizon}
        self.hash = config_hash(self._identity(self.config))
        self.history: list[dict[str, Any]] = []
        self.data: dict[str, str] = {}
        self._interval = checkpoint_interval
        self._seconds_before = 0.0
        self._started = self._saved = time.monotonic()
        self._stale: list[str] = []
        self._discarded: list[str] = []
        self._lock: filelock.BaseFileLock | None = None
        self._signal: int | None = None
        self._provenance = provenance()  # now, as the commit may be another when a long run ends
        self._look()

    @classmethod
    def of(cls, request: Request, *, extendable: bool = False, writer: bool = True, **more: Any) -> "Run":
        """Open the folder of a request, with the number of threads that it asks for; say so if the run is complete.

        Args:
            request: what the command line asks for.
            extendable: see `Run`.
            writer: see `Run`.
            more: further plain values that decide the run's numbers.
        """
        torch.set_num_threads(request.threads)
        run = cls(
            request.output,
            request.identity | more,
            overwrite=request.overwrite,
            extendable=extendable,
            checkpoint_interval=request.checkpoint_interval,
            writer=writer,
        )
        if run.finished and writer:
            print(f"{request.output} is complete")
        return run

    def _look(self) -> None:
        """Find out which files of the folder are stale.

        Raises:
            UserError: if they are another run's, and may not be discarded.
        """
        self._stale, self._discarded = [], []
        previous = self._previous_config()
        if previous is not None and config_hash(previous) != config_hash(self.config):
            self._stale = list(_RESULTS)
            if not self._continues(previous):
                if not self.overwrite:
                    raise UserError(
                        f"{self.folder}: holds a run with {self._difference(previous)}; pass --overwrite or another --output"
                    )
                self._stale += _CHECKPOINTS
                self._discarded.append(f"{self.folder}: held a run with {self._difference(previous)}")

    def start(self) -> None:
        """Make the folder this run's: lock it, discard what is stale, write ``config.yaml``; nothing when called again.

        Raises:
            UserError: if the folder cannot be written, another process is writing it, or has written another run in it.
        """
        if self._claim():
            self._begin()

    def _claim(self) -> bool:
        """Lock the folder and look at it again, since another process may have written it meanwhile; False if it is ours."""
        if self._lock is not None or not self.writer:
            return False
        lock = filelock.FileLock(self.folder / ".lock", blocking=False)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except filelock.Timeout as error:
            raise UserError(
                f"{self.folder}: another process is writing this run; wait for it, or name another --output"
            ) from error
        except OSError as error:
            raise self._unwritable(error) from error
        self._lock = lock
        try:
            self._look()
        except UserError:
            self.release()
            raise
        return True

    def _begin(self) -> None:
        try:
            remove_leftovers(self.folder)
            for name in self._stale:
                (self.folder / name).unlink(missing_ok=True)
            write_text(self.folder / "config.yaml", yaml.safe_dump(self.config, sort_keys=False))
        except OSError as error:
            self.release()
            raise self._unwritable(error) from error
        for what in self._discarded:
            print(f"warning: {what}; discarded, as --overwrite says", file=sys.stderr)
        self._stale = []

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(
            f"{self.folder}: cannot hold a run ({error.strerror}); name a folder that can be written with --output"
        )

    def _identity(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The part of the settings that a run must share with a checkpoint to continue it."""
        settings = config.get("settings")
        if isinstance(settings, Mapping):
            settings = {key: value for key, value in settings.items() if key not in self._horizon}
        return {**config, "settings": settings}

    def _continues(self, config: Mapping[str, Any]) -> bool:
        """Whether this run is the one of `config`, as far as that goes or farther."""
        if config_hash(self._identity(config)) != self.hash:
            return False
        old = {key: config["settings"].get(key) for key in self._horizon}
        if old == self._horizon:
            return True
        try:
            reported = {epoch for epoch in self._horizon["report_epochs"] if epoch <= old["epochs"]}
            return self._horizon["epochs"] > old["epochs"] and reported <= set(old["report_epochs"])
        except TypeError:  # none, or no numbers: edited by hand
            return False

    def _difference(self, config: Mapping[str, Any]) -> str:
        """Both hashes and the keys that differ, for a message."""
        return (
            f"other settings ({config_hash(config)[:8]}, this is {config_hash(self.config)[:8]}; they differ in "
            f"{', '.join(_differing_keys(config, self.config))})"
        )

    @property
    def finished(self) -> bool:
        """Whether all results are there: those that the run has noted, and the note."""
        if self._stale:
            return False
        try:
            noted = json.loads((self.folder / "provenance.json").read_text(encoding="utf-8"))["files"]
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return "metrics.json" in noted and all((self.folder / name).exists() for name in noted)

    def resume(self) -> dict[str, Any] | None:
        """`start`; return the state of the last checkpoint and restore history and random state, or None to start anew.

        Raises:
            UserError: if there are checkpoints and none is whole, or the last belongs to other settings; not with
                `overwrite`, which starts over then.
        """
        claimed = self._claim()
        try:
            saved, damaged = self._checkpoint()
        except UserError:  # nothing was discarded or written
            self.release()
            raise
        if claimed:
            self._begin()
        for problem in damaged:
            then = "starting over" if saved is None else "going on from the one before it"
            print(f"warning: {problem}; {then}", file=sys.stderr)
        if saved is None:
            return None
        try:
            checkpoints.restore_random_state(saved["random"])
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise UserError(
                f"{self.folder}: the random states of its checkpoint do not fit ({error}); remove it to start over"
            ) from error
        self.history, self._seconds_before = saved["history"], saved["seconds"]
        if self.writer:
            print(f"{self.folder}: going on from its checkpoint, after {self.seconds:.0f} s", file=sys.stderr)
        return saved["state"]

    def _checkpoint(self) -> tuple[dict[str, Any] | None, list[str]]:
        """The newest whole checkpoint, if any, and what is wrong with a newer one."""
        damaged: list[str] = []
        for path in (self.folder / name for name in _CHECKPOINTS if name not in self._stale):
            if not path.exists():
                continue
            try:
                saved = checkpoints.read(path, _PARTS)
            except checkpoints.Damaged as error:
                damaged.append(f"{path}: not a usable checkpoint ({error})")
                self._stale.append(path.name)
                continue
            if not self._continues(saved["config"]):
                if self.overwrite:
                    self._stale += _CHECKPOINTS
                    self._discarded.append(f"{path}: belonged to {self._difference(saved['config'])}")
                    return None, []
                raise UserError(
                    f"{path}: belongs to {self._difference(saved['config'])}; pass --overwrite to start over"
                )
            if saved["data"] != self.data:
                raise UserError(
                    f"{path}: trained on other data; bring that back, or remove {self.folder} to start over"
                )
            return saved, damaged
        if damaged and not self.overwrite:
            raise UserError(f"{damaged[0]}; pass --overwrite to start over")
        return None, damaged

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Inside, SIGTERM and Ctrl-C wait for the next `save`, which is then `due`; a second Ctrl-C does not wait.

        A second SIGTERM does: schedulers and torchrun may send one to every process and its children, and SIGKILL later.
        """

        def note(number: int) -> None:
            if self._signal is not None and number == signal.SIGINT:
                raise Interrupted(number)
            self._signal = number

        with on_signals(note):
            yield

    @property
    def due(self) -> bool:
        """Whether it is time for a checkpoint: to be asked after every step."""
        return self.writer and (self._signal is not None or time.monotonic() - self._saved >= self._interval)

    def save(self, state: Mapping[str, Any]) -> None:
        """Write a checkpoint: `state`, the history, and the state of the random generators.

        Raises:
            Interrupted: afterwards, if a signal came in the meantime.
        """
        if not self.writer:
            return
        self.start()
        began = time.monotonic()
        content: dict[str, Any] = {"config": self.config, "data": self.data, "state": dict(state)}
        content |= {"history": self.history, "seconds": self.seconds}
        checkpoints.write(self.folder, content | {"random": checkpoints.random_state()})
        self._saved = time.monotonic()
        if self._interval:
            self._interval = max(self._interval, _CHECKPOINT_SHARE * (self._saved - began))
        if self._signal is not None:
            raise Interrupted(self._signal, f"{self.folder} holds a checkpoint of this moment")

    @property
    def seconds(self) -> float:
        """Wall time spent on this run so far, interruptions left out."""
        return self._seconds_before + time.monotonic() - self._started

    def finish(
        self,
        metrics: Mapping[str, Any],
        *,
        samples: Mapping[str, np.ndarray] | None = None,
        weights: Mapping[str, Any] | None = None,
        times: Mapping[str, float] | None = None,
    ) -> None:
        """Write the results; ``metrics.json`` comes last, so that its presence says that all else is there.

        Args:
            metrics: the final numbers.
            samples: arrays for the figures.
            weights: state of the trained networks.
            times: seconds by what took them, besides the total.
        """
        if not self.writer:
            return
        self.start()
        names = ["config.yaml", "history.csv"]
        if samples is not None:
            names.append("samples.npz")
            with atomic_path(self.folder / "samples.npz") as temporary:
                arrays: dict[str, Any] = {name: np.asarray(array) for name, array in samples.items()}
                np.savez_compressed(temporary, **arrays)
        if weights is not None:
            names.append("weights.pt")
            checkpoints.save(self.folder / "weights.pt", weights)
        write_text(self.folder / "history.csv", _as_csv(self.history))
        final = json_text(dict(metrics))
        files = {name: sha256(self.folder / name) for name in names}
        files["metrics.json"] = hashlib.sha256(final.encode()).hexdigest()
        record = self._provenance | {"config_hash": config_hash(self.config), "files": files}
        record |= {"data": self.data, "times": {"total": self.seconds} | dict(times or {})}
        write_text(self.folder / "provenance.json", json_text(record))
        write_text(self.folder / "metrics.json", final)
        self.release()
        print(f"{self.folder} is complete")

    def release(self) -> None:
        """Let other processes have the folder, as the end of this process does too."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _previous_config(self) -> dict[str, Any] | None:
        """The settings of the run in the folder; None where there is nothing of it to lose."""
        path = self.folder / "config.yaml"
        if not path.exists() or not any((self.folder / name).exists() for name in (*_RESULTS, *_CHECKPOINTS)):
            return None
        try:
            return read_yaml(path)
        except UserError as error:
            raise UserError(f"{path}: damaged; remove the folder to start over") from error


def require_finite(row: Mapping[str, Any], where: str, remedy: str) -> None:
    """Raise `UserError` if a number of a row of the history is not finite; `remedy` names what to lower."""
    wrong = [name for name, value in row.items() if isinstance(value, float) and not math.isfinite(value)]
    if wrong:
        raise UserError(f"{where}: {', '.join(wrong)} not finite, training has diverged; lower {remedy}")


def config_hash(config: Mapping[str, Any]) -> str:
    """SHA-256 of the settings in a canonical form, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()


def provenance() -> dict[str, Any]:
    """Environment of this process: code, versions, machine, the graphics processor if there is one, threads."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return environment() | {"gpu": gpu, "threads": torch.get_num_threads()}


def _as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV; floats in their shortest exact form, columns in the order of first appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _differing_keys(one: Mapping[str, Any], other: Mapping[str, Any], prefix: str = "") -> list[str]:
    keys = []
    for key in dict.fromkeys([*one, *other]):
        left, right = one.get(key), other.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            keys += _differing_keys(left, right, f"{prefix}{key}.")
        elif left != right:
            keys.append(f"{prefix}{key}")
    return keys
