"""A damaged checkpoint gives way to the one before it; with both damaged there is one line; none can run code."""

import io
import os
import pickle
import zipfile

import pytest
import torch
from fuzzing import fuzzed, success_or_one_line
from hypothesis import given
from hypothesis import strategies as st

from experiments.runs.errors import UserError
from experiments.runs.folder import Run

pytestmark = pytest.mark.whole

CONFIG = {"experiment": "introvae", "seed": 0, "settings": {"epochs": 3, "margin": 1.0}}


@pytest.fixture
def two_checkpoints(tmp_path):
    run = Run(tmp_path, CONFIG)
    for epoch in (1, 2):
        run.save({"epoch": epoch, "weights": torch.arange(300.0)})
    run.release()
    return tmp_path


def resume(folder):
    """The epoch that a run resumes at, 0 for the beginning."""
    run = Run(folder, CONFIG)
    try:
        state = run.resume()
        if state:
            assert torch.equal(state["weights"], torch.arange(300.0))
        return state["epoch"] if state else 0
    finally:
        run.release()


class Writes:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def archive(content: bytes, name: str = "archive/data.pkl") -> bytes:
    """A zip archive as torch writes it, with any pickle in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as parts:
        parts.writestr(name, content)
        parts.writestr("archive/version", "3\n")
        parts.writestr("archive/byteorder", "little")
    return file.getvalue()


def saved(value) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["config", "data", "state", "history", "seconds", "random", "settings"]), inner, max_size=6
        )
    ),
    max_leaves=8,
)


@st.composite
def damage(draw):
    """A function from the bytes of a whole checkpoint to those of a damaged or another one."""
    kind = draw(st.sampled_from(["cut", "flip", "flip", "bytes", "plain", "pickle", "archive", "missing part"]))
    if kind == "cut":
        share = draw(st.floats(0, 0.999))
        return kind, lambda whole: whole[: int(share * len(whole))]
    if kind == "flip":
        share, bit = draw(st.floats(0, 0.999)), draw(st.integers(0, 7))

        def flip(whole):
            changed = bytearray(whole)
            changed[int(share * len(whole))] ^= 1 << bit
            return bytes(changed)

        return kind, flip
    if kind == "missing part":
        key = draw(st.sampled_from(["config", "data", "state", "history", "seconds", "random"]))
        value = draw(st.none() | st.text() | st.integers())

        def change(whole):
            content = torch.load(io.BytesIO(whole), weights_only=True)
            return saved(content | {key: value})

        return kind, change
    content = draw(st.binary(max_size=80)) if kind == "bytes" else draw(plain)
    if kind == "plain":
        return kind, lambda whole: saved(content)
    if kind == "pickle":
        return kind, lambda whole: pickle.dumps(content)
    if kind == "archive":
        return kind, lambda whole: archive(pickle.dumps(content))
    return kind, lambda whole: content


def replace(path, content):
    path.write_bytes(content)


@fuzzed
@given(damaged=damage())
def test_a_run_with_a_damaged_newest_checkpoint_goes_on_from_the_one_before_it(two_checkpoints, trials, damaged):
    """A flip may also hit a byte that no reader looks at; then the newest is right in every bit of its state."""
    kind, change = damaged
    newest, previous = two_checkpoints / "checkpoint.pt", two_checkpoints / "checkpoint-previous.pt"
    whole = newest.read_bytes(), previous.read_bytes()
    replace(newest, change(whole[0]))
    try:
        with success_or_one_line(trials, "checkpoint.pt"):
            assert resume(two_checkpoints) in ((1, 2) if kind == "flip" else (1,))
    finally:
        replace(newest, whole[0])
        replace(previous, whole[1])


@fuzzed
@given(one=damage(), other=damage())
def test_two_damaged_checkpoints_are_one_line_and_change_nothing(two_checkpoints, trials, one, other):
    paths = two_checkpoints / "checkpoint.pt", two_checkpoints / "checkpoint-previous.pt"
    whole = [path.read_bytes() for path in paths]
    for path, (_, change), content in zip(paths, (one, other), whole, strict=True):
        replace(path, change(content))
    damaged = [path.read_bytes() for path in paths]
    try:
        epoch = None
        with success_or_one_line(trials, "checkpoint"):
            epoch = resume(two_checkpoints)
        if epoch is None:
            assert [path.read_bytes() for path in paths] == damaged
        else:  # a flip of a byte that no reader looks at
            assert epoch in (1, 2)
            assert "flip" in (one[0], other[0])
    finally:
        for path, content in zip(paths, whole, strict=True):
            replace(path, content)


@pytest.mark.parametrize("wrapped", [False, True], ids=["pickle", "in an archive"])
def test_a_checkpoint_that_would_run_code_does_not(two_checkpoints, wrapped):
    before = sorted(os.listdir(two_checkpoints))
    content = pickle.dumps({"state": Writes(two_checkpoints / "hacked"), "config": CONFIG})
    for name in ("checkpoint.pt", "checkpoint-previous.pt"):
        replace(two_checkpoints / name, archive(content) if wrapped else content)
    with pytest.raises(UserError, match=r"checkpoint.*pt: not a usable checkpoint"):
        resume(two_checkpoints)
    assert not (two_checkpoints / "hacked").exists()
    assert sorted(os.listdir(two_checkpoints)) == before
