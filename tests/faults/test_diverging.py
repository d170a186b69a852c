"""A loss that is not finite: one line, or a finished run that says so; never a number that is none."""

import json
import math
from functools import partial

import pytest
from processes import one_line
from scenes import leftovers


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


SPOILED = {
    "digit classifier": ("torch.nn.functional", "cross_entropy"),
    "autoencoder, SoftAdapt": ("models.sparse_autoencoder", "loss_components"),
    "autoencoder, GradNorm": ("models.sparse_autoencoder", "loss_components"),
}


@pytest.mark.parametrize("call", [1, 3, 7])
@pytest.mark.parametrize("what", SPOILED)
def test_a_loss_that_is_nan_at_one_step_is_one_line(place, tmp_path, only_some, what, call):
    only_some(call, 3)
    process = place.start(what, tmp_path / "run", prepare=partial(spoil_the_loss_at, call, *SPOILED[what]))
    one_line(process, str(tmp_path / "run"), "not finite", "lower")
    assert not (tmp_path / "run" / "metrics.json").exists()
    assert leftovers(tmp_path / "run") == []


def test_a_learning_rate_that_is_too_large_is_one_line(place, tmp_path):
    """The autoencoder survives it: its units die, and its outputs stay within 0 and 1."""
    options = ["--learning-rate", "1e30", "--minimum-accuracy", "0"]
    process = place.start("digit classifier", tmp_path / "run", *options)
    one_line(process, str(tmp_path / "run"), "not finite", "learning_rate")
    assert leftovers(tmp_path / "run") == []


@pytest.mark.parametrize("what", ["IntroVAE, SoftAdapt", "IntroVAE, a rule per epoch"])
def test_introvae_that_diverges_is_a_finished_run_that_says_so(place, tmp_path, what):
    process = place.start(what, tmp_path / "run", "--learning-rate", "1e30")
    assert process.wait() == 0, process.printed
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["verdict"] == "diverged"
    assert all(math.isfinite(value) for value in metrics.values() if isinstance(value, float))


def test_a_descent_of_huge_steps_is_a_finished_run_whose_starts_diverged(place, tmp_path):
    process = place.start("gradient descent", tmp_path / "run", "--step-rule", "fixed", "--step-sizes.highest", "1e300")
    assert process.wait() == 0, process.printed
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["plain"]["diverged_share"][0][-1] == 1.0
