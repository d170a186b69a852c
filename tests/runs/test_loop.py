"""The training loop: every item once an epoch, honest means, and resumption at any step to the same bits."""

import math
import signal

import pytest
import torch

from experiments.runs.errors import Interrupted, UserError
from experiments.runs.folder import Run
from experiments.runs.loop import Loop

CONFIG = {"experiment": "introvae", "seed": 0, "settings": {"epochs": 3}}
ITEMS = torch.arange(11.0)


class Killed(BaseException):
    """Stands for a process that ends without warning."""


class Walk:
    """What a run trains, here: a number that every item moves, and a draw of the global random generator."""

    def __init__(self):
        self.place = torch.zeros(())

    def step(self, items):
        self.place = 0.9 * self.place + items.sum() + torch.rand(())
        return {"place": self.place, "items": items.sum()}

    def state_dict(self):
        return {"place": self.place}

    def load_state_dict(self, state):
        self.place = state["place"]


def train(folder, *, epochs=3, batch_size=4, drop_last=False, die_at=None, seen=None, diverged_at=None, data=None):
    """A run of the walk, killed after a step's checkpoint if so asked; returns the run and its loop."""
    run = Run(folder, CONFIG, checkpoint_interval=0.0)
    run.data = data or {}
    torch.manual_seed(0)
    walk, done = Walk(), 0
    loop = Loop(
        run, {"walk": walk}, description="walk", epochs=epochs, items=11, batch_size=batch_size, drop_last=drop_last
    )
    try:
        with loop.running():
            for epoch in loop.epochs():
                for batch in loop.batches():
                    loop.add(walk.step(ITEMS[batch]))
                    if seen is not None:
                        seen.append((epoch, batch.tolist()))
                    done += 1
                    if done == die_at:
                        raise Killed
                loop.samples[f"epoch_{epoch}"] = walk.place.clone()
                loop.end_epoch(loop.means(), diverged=epoch == diverged_at)
    finally:
        run.release()
    return run, loop


def result(run, loop):
    return run.history, loop.samples, loop.parts["walk"].place


@pytest.mark.parametrize(("drop_last", "steps", "left_out"), [(False, 3, 0), (True, 2, 3)])
def test_an_epoch_is_a_permutation_of_the_items_in_batches(tmp_path, drop_last, steps, left_out):
    seen = []
    _, loop = train(tmp_path, drop_last=drop_last, seen=seen)
    assert loop.steps == steps
    orders = [[item for at, batch in seen if at == epoch for item in batch] for epoch in (1, 2, 3)]
    assert all(len(set(order)) == len(order) == 11 - left_out for order in orders)
    assert len(set(map(tuple, orders))) == 3
    assert [len(batch) for _, batch in seen] == 3 * ([4, 4] if drop_last else [4, 4, 3])


def test_means_are_over_the_steps_of_an_epoch(tmp_path):
    seen = []
    run, _ = train(tmp_path, seen=seen)
    for row in run.history:
        sums = [sum(batch) for epoch, batch in seen if epoch == row["epoch"]]
        assert row["items"] == pytest.approx(sum(sums) / 3)
    assert [row["epoch"] for row in run.history] == [1, 2, 3]


@pytest.mark.parametrize("die_at", range(2, 10))
def test_a_run_killed_at_any_step_goes_on_to_the_same_bits(tmp_path, die_at):
    """With a checkpoint after every step but the one it dies in. The last steps of epochs are 3, 6 and 9."""
    undisturbed = result(*train(tmp_path / "undisturbed"))
    with pytest.raises(Killed):
        train(tmp_path / "killed", die_at=die_at)
    torch.rand(7)
    seen = []
    assert result(*train(tmp_path / "killed", seen=seen)) == undisturbed
    assert len(seen) == 9 - (die_at - 1)  # nothing is trained twice


def test_a_run_killed_at_every_step_ends_too(tmp_path):
    undisturbed = result(*train(tmp_path / "undisturbed"))
    for _ in range(8):
        with pytest.raises(Killed):
            train(tmp_path / "killed", die_at=2)  # each gets one step farther
    assert result(*train(tmp_path / "killed")) == undisturbed


def test_a_finished_loop_that_is_run_again_trains_nothing(tmp_path):
    undisturbed = result(*train(tmp_path))
    seen = []
    assert result(*train(tmp_path, seen=seen)) == undisturbed
    assert seen == []


def test_more_epochs_go_on_from_the_last_checkpoint(tmp_path):
    train(tmp_path / "continued")
    seen = []
    assert result(*train(tmp_path / "continued", epochs=5, seen=seen)) == result(*train(tmp_path / "whole", epochs=5))
    assert {epoch for epoch, _ in seen} == {4, 5}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_ends_the_run_after_the_step_with_a_checkpoint(tmp_path, number, code):
    undisturbed = result(*train(tmp_path / "undisturbed"))
    run = Run(tmp_path / "stopped", CONFIG)  # no checkpoint would be due by itself
    torch.manual_seed(0)
    walk, steps = Walk(), 0
    loop = Loop(run, {"walk": walk}, description="walk", epochs=3, items=11, batch_size=4)
    with pytest.raises(Interrupted) as stop, loop.running():
        for epoch in loop.epochs():
            for batch in loop.batches():
                steps += 1
                if steps == 5:
                    signal.raise_signal(number)
                loop.add(walk.step(ITEMS[batch]))
            loop.samples[f"epoch_{epoch}"] = walk.place.clone()
            loop.end_epoch(loop.means())
    run.release()
    assert (steps, stop.value.exit_code) == (5, code)
    seen = []
    assert result(*train(tmp_path / "stopped", seen=seen)) == undisturbed
    assert len(seen) == 4


def test_a_run_that_diverges_ends_with_that_epoch_and_diverges_again(tmp_path):
    """The checkpoint is of the last finite step, so that a run that is started again finds the same end."""
    run, loop = train(tmp_path, diverged_at=2)
    assert [row["epoch"] for row in run.history] == [1, 2]
    seen = []
    again = train(tmp_path, diverged_at=2, seen=seen)
    assert result(*again) == result(run, loop)
    assert seen == []  # the checkpoint of the epoch's last step


def test_a_loop_does_not_go_on_with_other_data(tmp_path):
    train(tmp_path, epochs=1, data={"file": "0"})
    with pytest.raises(UserError, match="trained on other data"):
        train(tmp_path, data={"file": "1"})
    train(tmp_path, data={"file": "0"})


def test_the_seconds_of_training_leave_out_what_stands_between_epochs(tmp_path, monkeypatch):
    from experiments.runs import folder

    now = [0.0]
    monkeypatch.setattr(folder.time, "monotonic", lambda: now[0])
    for first in (True, False):
        run = Run(tmp_path, CONFIG, checkpoint_interval=math.inf)
        loop = Loop(run, {"walk": Walk()}, description="walk", epochs=1 if first else 2, items=11, batch_size=4)
        for _ in loop.epochs():
            for _ in loop.batches():
                now[0] += 1.0
                loop.add({"loss": torch.ones(())})
            now[0] += 100.0
            loop.end_epoch(loop.means())
        run.release()
    assert loop.seconds == 6.0
