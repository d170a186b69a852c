"""A loss that is not finite: one line, or a finished run that says so; never a number that is none."""

import csv
import json
import math
from functools import partial

import pytest
from processes import one_line
from scenes import content, differences, leftovers

pytestmark = pytest.mark.whole


def spoil_the_epoch(epoch: int, module: str, name: str) -> None:
    """Let a function of losses return NaN in every step of an epoch, also where a run is resumed in it."""
    from importlib import import_module

    from experiments.runs.loop import Loop

    owner, at = import_module(module), [1]
    right, batches = getattr(owner, name), Loop.batches

    def counted(self):
        at[0] = self._epoch
        return batches(self)

    def spoiled(*arguments, **keywords):
        result = right(*arguments, **keywords)
        return {key: value * math.nan for key, value in result.items()} if at[0] == epoch else result

    Loop.batches = counted
    setattr(owner, name, spoiled)


def stop_after(saves: int, prepare) -> None:
    """Let this process end without warning after so many checkpoints."""
    import os

    from experiments.runs.folder import Run

    prepare()
    save, done = Run.save, [0]

    def save_and_end(self, state):
        save(self, state)
        done[0] += 1
        if done[0] == saves:
            os._exit(9)

    Run.save = save_and_end


def spoil_the_loss_at(call: int, module: str, name: str) -> None:
    """Let a function of losses return NaN at its n-th call."""
    from importlib import import_module

    owner, done = import_module(module), 0
    right = getattr(owner, name)

    def spoiled(*arguments, **keywords):
        nonlocal done
        done += 1
        result = right(*arguments, **keywords)
        if done != call:
            return result
        return (
            {key: value * math.nan for key, value in result.items()} if isinstance(result, dict) else result * math.nan
        )

    setattr(owner, name, spoiled)


@pytest.mark.parametrize("call", [1, 3, 7])
def test_a_judge_whose_loss_is_nan_at_one_step_is_refused_in_one_line(place, tmp_path, only_some, call):
    only_some(call, 3)
    spoil = partial(spoil_the_loss_at, call, "torch.nn.functional", "cross_entropy")
    process = place.start("digit classifier", tmp_path / "run", prepare=spoil)
    one_line(process, str(tmp_path / "run"), "not finite", "lower")
    assert not (tmp_path / "run" / "metrics.json").exists()
    assert leftovers(tmp_path / "run") == []


def test_a_learning_rate_too_large_for_the_judge_is_one_line(place, tmp_path):
    options = ["--learning-rate", "1e30", "--minimum-accuracy", "0"]
    process = place.start("digit classifier", tmp_path / "run", *options)
    one_line(process, str(tmp_path / "run"), "not finite", "learning_rate")
    assert leftovers(tmp_path / "run") == []


def finished_and_diverged(folder, last_epoch):
    """Assert that a run has ended with this epoch, in whole files that say so."""
    metrics = json.loads((folder / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert metrics["verdict"] == "diverged"
    history = list(csv.DictReader((folder / "history.csv").open()))
    assert [int(row["epoch"]) for row in history] == list(range(1, last_epoch + 1))
    numbers = [[float(value) for name, value in row.items() if value and name != "phase"] for row in history]
    assert [all(map(math.isfinite, row)) for row in numbers] == [True] * (last_epoch - 1) + [False]
    noted = json.loads((folder / "provenance.json").read_text())["files"]
    assert {"config.yaml", "history.csv", "metrics.json", "samples.npz", "weights.pt"} == noted.keys()
    assert leftovers(folder) == []


@pytest.mark.parametrize("what", ["IntroVAE, SoftAdapt", "IntroVAE, a rule per epoch"])
def test_introvae_that_diverges_is_a_finished_run_that_says_so(place, tmp_path, what):
    process = place.start(what, tmp_path / "run", "--learning-rate", "1e30")
    assert process.wait() == 0, process.printed
    finished_and_diverged(tmp_path / "run", last_epoch=1)


SPOILED = {
    "autoencoder, SoftAdapt": ("experiments.sparse_autoencoder.run", "loss_components", 12, 9),
    "autoencoder, GradNorm": ("experiments.sparse_autoencoder.run", "loss_components", 12, 9),
    "IntroVAE, SoftAdapt": ("models.introvae", "encoder_loss_components", 6, 7),
}
"""What diverges in its second epoch -> where its losses come from, the call that is spoiled, and the checkpoints before."""


@pytest.mark.parametrize("what", SPOILED)
def test_a_loss_that_is_nan_at_one_step_makes_a_finished_run_that_says_so(place, tmp_path, trials, what):
    """The run ends with that epoch; it is complete when it is started again, and also diverges when it is resumed."""
    folder = tmp_path / "run"
    module, name, call, _ = SPOILED[what]
    process = place.start(what, folder, prepare=partial(spoil_the_loss_at, call, module, name))
    assert process.wait() == 0, process.printed
    finished_and_diverged(folder, last_epoch=2)
    before = content(folder)
    process = place.start(what, folder)
    assert process.wait() == 0, process.printed
    assert "is complete" in process.printed
    assert content(folder) == before
    trials["complete"] += 1


@pytest.mark.parametrize("what", SPOILED)
def test_a_run_killed_on_its_way_to_divergence_diverges_all_the_same(place, tmp_path, trials, what):
    """Killed at every step before it, and resumed, it ends in the bytes of the run that nothing disturbed."""
    module, name, _, saves = SPOILED[what]
    folders = tmp_path / "undisturbed", tmp_path / "resumed"
    spoil = partial(spoil_the_epoch, 2, module, name)
    process = place.start(what, folders[0], prepare=spoil)
    assert process.wait() == 0, process.printed
    finished_and_diverged(folders[0], last_epoch=2)
    process = place.start(what, folders[1], prepare=partial(stop_after, saves, spoil))
    assert process.wait() == 9, process.printed
    assert not (folders[1] / "metrics.json").exists()
    process = place.start(what, folders[1], prepare=spoil)
    assert process.wait() == 0, process.printed
    assert differences(folders[1], folders[0]) == []
    trials["killed and resumed"] += 1


def test_a_descent_of_huge_steps_is_a_finished_run_whose_starts_diverged(place, tmp_path):
    process = place.start("gradient descent", tmp_path / "run", "--step-rule", "fixed", "--step-sizes.highest", "1e300")
    assert process.wait() == 0, process.printed
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["plain"]["diverged_share"][0][-1] == 1.0
