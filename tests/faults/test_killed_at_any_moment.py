"""SIGKILL, the end without warning (power, memory, a batch system): started again, a run ends as if nothing had happened."""

import os
import random
import signal
import time
from functools import partial
from pathlib import Path

import pytest
from scenes import RUNS, differences, leftovers

pytestmark = pytest.mark.whole

MOST_KILLS = 4
"""In a row, of one run."""


def phase(folder: Path) -> str:
    """What a killed process was doing, by what it left behind."""
    temporary = [name for name in leftovers(folder) if not name.endswith(".lock")]
    if temporary:
        return "writing a checkpoint" if temporary[0].startswith(".checkpoint") else "writing a result"
    if not (folder / "config.yaml").exists():
        return "starting"
    if (folder / "metrics.json").exists():
        return "ending"
    return "training" if (folder / "checkpoint.pt").exists() else "before the first checkpoint"


def finish(place, what, folder, *options):
    """Run it to its end and demand the undisturbed results."""
    process = place.start(what, folder, *options)
    assert process.wait() == 0, process.printed
    assert differences(folder, place.undisturbed(what, *options)) == []
    assert leftovers(folder) == []


@pytest.mark.parametrize("what", RUNS)
def test_killed_up_to_four_times_at_random_a_run_gives_the_undisturbed_bytes(
    place, tmp_path, number_of_trials, only_some, trials, what
):
    only_some(what, "autoencoder, GradNorm", "IntroVAE, a rule per epoch")
    seconds = place.seconds(what)
    seed = 0 if number_of_trials == 1 else random.randrange(2**32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    for trial in range(number_of_trials):
        folder = tmp_path / str(trial)
        for _ in range(moments.randint(1, MOST_KILLS if number_of_trials > 1 else 2)):
            process = place.start(what, folder)
            time.sleep(moments.uniform(0, seconds))
            process.send(signal.SIGKILL)
            if process.wait() != -signal.SIGKILL:  # it was done before
                break
            trials[f"killed while {phase(folder)}"] += 1
        finish(place, what, folder)


def kill_at_file_operation(number: int, after: bool) -> None:
    """Let this process kill itself at its n-th rename, removal or flush to disk."""
    done = 0

    def deadly(operation):
        def call(*arguments, **keywords):
            nonlocal done
            done += 1
            if done == number and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = operation(*arguments, **keywords)
            if done == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    Path.replace, Path.unlink = deadly(Path.replace), deadly(Path.unlink)
    os.fsync = deadly(os.fsync)


SHORT = {
    "digit classifier": ["--batch-size", "100", "--minimum-accuracy", "0"],
    "autoencoder, GradNorm": ["--batch-size", "300"],
    "IntroVAE, SoftAdapt": ["--batch-size", "100", "--epochs", "4"],
}
"""Runs of few steps, so that every file operation can be had."""


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("what", SHORT)
def test_killed_at_every_rename_removal_and_flush_a_run_gives_the_undisturbed_bytes(
    place, tmp_path, number_of_trials, only_some, trials, what, after
):
    """Every one in the thorough mode; in the fast one every 17th."""
    only_some(what, "autoencoder, GradNorm")
    options = SHORT[what]
    number, step = 1, 1 if number_of_trials > 1 else 17
    while True:
        folder = tmp_path / str(number)
        process = place.start(what, folder, *options, prepare=partial(kill_at_file_operation, number, after))
        if process.wait() == 0:
            break
        assert process.wait() == -signal.SIGKILL, process.printed
        trials[f"killed while {phase(folder)}"] += 1
        finish(place, what, folder, *options)
        number += step
    assert number > 1
