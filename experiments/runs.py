"""The run folder: one run's settings, history, results, provenance and checkpoint, written atomically.

========================  ====================================================================
``config.yaml``           the resolved settings of this run, with their hash
``history.csv``           one row per epoch (or step): losses, weights, metrics
``metrics.json``          the final numbers; its presence says that the run is complete
``samples.npz``           arrays for the figures
``provenance.json``       commit, versions, hardware, threads, wall time, data checksums
``checkpoint.pt``         state to resume from, loadable with ``weights_only=True``
========================  ====================================================================

The same seed on the same machine with the same thread count gives byte-identical ``history.csv`` and ``metrics.json``,
whether the run was interrupted or not; what may differ (times, hardware) stands in ``provenance.json`` alone.
"""

import csv
import functools
import hashlib
import importlib.metadata
import io
import json
import pickle
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from experiments.config import rules_of, source_files
from experiments.errors import UserError
from experiments.files import atomic_path, write_json, write_text

CHECKPOINT_INTERVAL = 20.0
"""Seconds of training that an interruption may cost; results do not depend on it."""

_RESULTS = ("metrics.json", "history.csv", "samples.npz", "provenance.json")

_VERSIONS = ("torch", "torchvision", "numpy", "scipy", "scikit-image", "piq", "pandas", "matplotlib", "snakemake")


class Run:
    """A run folder, opened to start or to resume a run.

    Args:
        folder: where the run lives.
        config: the resolved settings, plain YAML values; ``config["experiment"]`` names the experiment. A fingerprint of
            its code and the number of threads are added, since with others the results are others.
        overwrite: discard what a run with other settings or code left there, instead of refusing. Nothing is discarded
            or written before `start`, so that a run whose rules or data are refused leaves the folder as it was.
        extendable: training up to an epoch does not depend on how many follow, so that a run with fewer ``epochs``, all
            else equal, is continued from its last checkpoint. Its ``report_epochs`` must hold the new ones so far.
        writer: whether this process is the one that writes; of several ranks of one run, the others only read.

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
        writer: bool = True,
    ) -> None:
        self.folder, self.writer = Path(folder), writer
        self.config = dict(config) | {"threads": torch.get_num_threads()}
        self.config["code"] = code_fingerprint(config["experiment"], rules_of(config))
        self.overwrite = overwrite
        horizon = ("epochs", "report_epochs") if extendable else ()
        self._horizon = {key: self.config["settings"][key] for key in horizon}
        self.hash = config_hash(self._identity(self.config))
        self.history: list[dict[str, Any]] = []
        self._seconds_before = 0.0
        self._started = self._saved = time.monotonic()
        self._stale: list[str] = []
        self._begun = False
        previous = self._previous_config()
        if previous is not None and config_hash(previous) != config_hash(self.config):
            self._stale = list(_RESULTS)
            same = config_hash(self._identity(previous)) == self.hash
            if not (same and self._extends(previous["settings"])):
                if not overwrite:
                    keys = ", ".join(_differing_keys(previous, self.config))
                    raise UserError(
                        f"{self.folder}: holds a run with other settings ({config_hash(previous)[:8]}, this is "
                        f"{config_hash(self.config)[:8]}; they differ in {keys}); pass --overwrite or another --output"
                    )
                self._stale.append("checkpoint.pt")

    def start(self) -> None:
        """Make the folder this run's: discard what is stale and write ``config.yaml``; nothing when called again.

        Raises:
            UserError: if the folder cannot be written.
        """
        if self._begun or not self.writer:
            return
        try:
            for name in self._stale:
                (self.folder / name).unlink(missing_ok=True)
            write_text(self.folder / "config.yaml", yaml.safe_dump(self.config, sort_keys=False))
        except OSError as error:
            raise UserError(
                f"{self.folder}: cannot hold a run ({error.strerror}); name a folder that can be written with --output"
            ) from error
        self._stale, self._begun = [], True

    def _identity(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """What a checkpoint must share with a run that continues it."""
        settings = {key: value for key, value in config.get("settings", {}).items() if key not in self._horizon}
        return {**config, "settings": settings}

    def _extends(self, old: Mapping[str, Any]) -> bool:
        """Whether this run goes as far as one of the same identity with the horizon `old`, or farther."""
        if not self._horizon:
            return True
        if all(old[key] == value for key, value in self._horizon.items()):
            return True
        reported = {epoch for epoch in self._horizon["report_epochs"] if epoch <= old["epochs"]}
        return self._horizon["epochs"] > old["epochs"] and reported <= set(old["report_epochs"])

    @property
    def finished(self) -> bool:
        """Whether all results are there."""
        return not self._stale and all(
            (self.folder / name).exists() for name in ("metrics.json", "history.csv", "provenance.json")
        )

    def resume(self) -> dict[str, Any] | None:
        """`start`; return the state of the last checkpoint and restore the history, or None to start from the beginning.

        Raises:
            UserError: if the checkpoint is damaged or belongs to other settings.
        """
        saved = self._checkpoint()  # first, since a start that it forbids changes nothing
        self.start()
        if saved is None:
            return None
        self.history, self._seconds_before = saved["history"], saved["seconds"]
        return saved["state"]

    def _checkpoint(self) -> dict[str, Any] | None:
        path = self.folder / "checkpoint.pt"
        if path.name in self._stale or not path.exists():
            return None
        try:
            saved = torch.load(path, weights_only=True, map_location="cpu")
            parts = {key: saved[key] for key in ("state", "history", "seconds")}
            saved_hash = saved["config_hash"]
            usable = saved_hash == self.hash and self._extends(saved["horizon"])
        except (RuntimeError, KeyError, TypeError, EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"{path}: not a usable checkpoint ({reason}); remove it to start over") from error
        if not usable:
            if self.overwrite:
                return None
            raise UserError(
                f"{path}: belongs to settings {saved_hash[:8]} or to other epochs, this run has {self.hash[:8]}; remove it to "
                "start over"
            )
        return parts

    def save(self, state: Mapping[str, Any], *, now: bool = False) -> None:
        """Write a checkpoint if the last is older than `CHECKPOINT_INTERVAL`, or in any case with `now`."""
        if not self.writer or (not now and time.monotonic() - self._saved < CHECKPOINT_INTERVAL):
            return
        self.start()
        with atomic_path(self.folder / "checkpoint.pt") as temporary:
            torch.save(
                {"config_hash": self.hash, "horizon": self._horizon, "state": dict(state)}
                | {"history": self.history, "seconds": self.seconds},
                temporary,
            )
        self._saved = time.monotonic()

    @property
    def seconds(self) -> float:
        """Wall time spent on this run so far, interruptions left out."""
        return self._seconds_before + time.monotonic() - self._started

    def finish(
        self,
        metrics: Mapping[str, Any],
        *,
        samples: Mapping[str, np.ndarray] | None = None,
        data_checksums: Mapping[str, str] | None = None,
        times: Mapping[str, float] | None = None,
    ) -> None:
        """Write the results; ``metrics.json`` comes last, so that its presence says that all else is there."""
        if not self.writer:
            return
        self.start()
        if samples is not None:
            with atomic_path(self.folder / "samples.npz") as temporary:
                arrays: dict[str, Any] = {name: np.asarray(array) for name, array in samples.items()}
                np.savez_compressed(temporary, **arrays)
        write_text(self.folder / "history.csv", _as_csv(self.history))
        write_json(
            self.folder / "provenance.json",
            provenance() | {"data": dict(data_checksums or {}), "times": {"total": self.seconds} | dict(times or {})},
        )
        write_json(self.folder / "metrics.json", dict(metrics))

    def _previous_config(self) -> dict[str, Any] | None:
        """The settings of the run in the folder; None where there is nothing of it to lose."""
        path = self.folder / "config.yaml"
        if not path.exists() or not any((self.folder / name).exists() for name in (*_RESULTS, "checkpoint.pt")):
            return None
        try:
            previous = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: damaged; remove the folder to start over") from error
        if not isinstance(previous, dict):
            raise UserError(f"{path}: damaged; remove the folder to start over")
        return previous


def config_hash(config: Mapping[str, Any]) -> str:
    """SHA-256 of the settings in a canonical form, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()


def code_fingerprint(experiment: str, rules: Sequence[str] = ()) -> str:
    """First 16 digits of the SHA-256 over the code that an experiment's numbers come from, with these weighting rules."""
    digest = hashlib.sha256()
    for path in source_files(experiment, rules):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def random_state() -> dict[str, torch.Tensor]:
    """State of torch's global random generators, the only ones that the training loops draw from."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: Mapping[str, torch.Tensor]) -> None:
    """Restore what `random_state` returned."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])


@functools.cache
def _git(*arguments: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=True, cwd=Path(__file__).parent, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


def provenance() -> dict[str, Any]:
    """What this process runs on: commit, versions of the packages, processor, threads."""
    status = _git("status", "--porcelain")
    return {
        "commit": _git("rev-parse", "HEAD"),
        "dirty": None if status is None else bool(status),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in _VERSIONS},
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


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
