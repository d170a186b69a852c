"""SIGTERM and Ctrl-C: the run saves, says so in one line, exits with 75 or 130, and ends later in the undisturbed bytes."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from scenes import RUNS, differences, leftovers

pytestmark = pytest.mark.whole

CODES = {signal.SIGTERM: 75, signal.SIGINT: 130}


def wait_for(path, process):
    """Wait until a process has written a file."""
    while not path.exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
def test_a_command_stopped_in_training_saves_and_goes_on(place, tmp_path, trials, number):
    """With ``python -m``: the interpreter, its imports and the real exit code."""
    undisturbed = place.undisturbed("digit classifier", "--epochs", "6")
    checksums = tmp_path / "checksums.json"
    checksums.write_text(json.dumps(place.checksums))
    folder = tmp_path / "run"
    options = ["--config", str(place.config), "--output", str(folder), "--epochs", "6", "--checkpoint-interval", "0"]
    command = [sys.executable, "tests/faults/launcher.py", str(checksums), "experiments.digit_classifier", *options]
    environment = os.environ | {"PYTHONPATH": "."}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    wait_for(folder / "checkpoint.pt", process)
    process.send_signal(number)
    printed = process.communicate(timeout=60)[1]
    assert process.returncode == CODES[number], printed
    said = [line for line in printed.splitlines() if line.startswith("stopped by")]
    assert len(said) == 1
    assert str(folder) in said[0]
    assert "Traceback" not in printed
    assert not (folder / "metrics.json").exists()
    assert leftovers(folder) == []
    trials["stopped while training"] += 1
    process = place.start("digit classifier", folder, "--epochs", "6")
    assert process.wait() == 0, process.printed
    assert differences(folder, undisturbed) == []


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
@pytest.mark.parametrize("what", RUNS)
def test_stopped_at_random_a_run_ends_in_the_undisturbed_bytes(
    place, tmp_path, number_of_trials, only_some, trials, what, number
):
    only_some(what, "autoencoder, GradNorm")
    seed = 0 if number_of_trials == 1 else random.randrange(2**32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    for trial in range(-(-number_of_trials // 3)):  # of each signal
        folder = tmp_path / str(trial)
        process = place.start(what, folder)
        time.sleep(moments.uniform(0.1, place.seconds(what)))
        reached = process.send(number)
        code = process.wait()
        if reached and code == CODES[number]:
            said = [line for line in process.lines if line.startswith("stopped by")]
            assert len(said) == 1, process.printed
            assert "Traceback" not in process.printed
            trials[f"stopped {'while training' if 'checkpoint' in said[0] else 'before or after training'}"] += 1
        else:
            assert code in (0, -number), process.printed  # a signal before the command's first line just ends it
            trials["the run was done before" if code == 0 else "stopped before its first line"] += 1
        assert leftovers(folder) == []
        process = place.start(what, folder)
        assert process.wait() == 0, process.printed
        assert differences(folder, place.undisturbed(what)) == []
