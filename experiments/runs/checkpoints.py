"""Write and read checkpoint files, and save and restore the state of the random generators.

A folder keeps the last two checkpoints of its run, each of which is whole. A checkpoint is a file of `torch.save`, so
that users can open it. Only tensors and plain values are read back (``weights_only=True``), so that a file cannot run
code. `torch.load` does not check the checksums in the file; `read` checks them first, since training would otherwise go
on from flipped bits.
"""

import io
import random
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.runs.files import atomic_path, flush, write_bytes

NEWEST, PREVIOUS = "checkpoint.pt", "checkpoint-previous.pt"


class Damaged(Exception):
    """A file is not a whole checkpoint. The message says why in a few words."""


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors and plain values atomically; equal contents give equal bytes.

    The bytes are made in memory first: given a path, torch would write that path into the file, and would not report a
    full disk as such.

    Raises:
        OSError: naming `path`, if the disk is full or may not be written.
    """
    write_bytes(path, _as_bytes(content))


def _as_bytes(content: Mapping[str, Any]) -> memoryview:
    """Return the bytes that `torch.save` would write to a file."""
    file = io.BytesIO()
    torch.save(dict(content), file)
    return file.getbuffer()


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as the newest checkpoint of a folder and keep the previous one.

    Raises:
        OSError: naming the checkpoint, if the disk is full or may not be written.
    """
    newest = folder / NEWEST
    with atomic_path(newest) as temporary:
        temporary.write_bytes(_as_bytes(content))
        flush(temporary)  # before the old checkpoint is renamed, so that a full disk leaves it in place
        if newest.exists():
            newest.replace(folder / PREVIOUS)


def read(path: Path, parts: Mapping[str, type]) -> dict[str, Any]:
    """Return the content of a checkpoint, on the CPU.

    Args:
        path: of the file.
        parts: the keys that the content must have, each with the type of its value.

    Raises:
        Damaged: if the file is cut short or altered, lacks a part, or would run code.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            altered = archive.testzip()
        if altered is not None:
            raise Damaged(f"the checksum of its part {altered} is wrong")
        with warnings.catch_warnings(action="ignore"):  # torch warns of pickles that it did not write
            content = torch.load(path, weights_only=True, map_location="cpu")
    except Damaged:
        raise
    except Exception as error:  # arbitrary bytes can raise any error in the readers
        raise Damaged(" ".join(str(error).split())[:200] or type(error).__name__) from error
    if not isinstance(content, dict) or not all(isinstance(content.get(key), kind) for key, kind in parts.items()):
        raise Damaged(f"it does not hold {', '.join(sorted(parts))}")
    return content


def random_state() -> dict[str, Any]:
    """Return the state of the global random generators of torch, NumPy and Python, as tensors and plain values.

    Of several GPUs, only the current one of this process is included: every rank of a data-parallel training draws the
    same numbers, each on its own GPU.
    """
    name, words, *rest = np.random.get_state(legacy=True)  # noqa: NPY002 - a rule or data set may draw from it
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [name, torch.from_numpy(np.array(words, dtype=np.int64)), *rest],
        "python": random.getstate(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Set the global random generators to a state that `random_state` returned."""
    torch.set_rng_state(state["torch"])
    name, words, *rest = state["numpy"]
    np.random.set_state((name, words.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    random.setstate(state["python"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])
