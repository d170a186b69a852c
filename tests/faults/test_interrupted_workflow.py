"""Ctrl-C or SIGKILL in the middle of the workflow: the same command, typed again, ends in the undisturbed results."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from made_data import tiny_settings

pytestmark = pytest.mark.whole

COPIED = ("Snakefile", "config", "experiments", "models", "softadapt", "paper", "profiles", "pyproject.toml")
FACES = Path("data", "orl-faces", "images.npy")


@pytest.fixture
def checkout(tmp_path):
    """A function that makes a copy of what the workflow needs, with a tiny scale of its own."""

    def copy(name):
        folder = tmp_path / name
        folder.mkdir()
        for part in COPIED:
            if Path(part).is_dir():
                shutil.copytree(part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(part, folder / part)
        values = tiny_settings(Path("data").resolve())
        kept = ["scale", "data_dir", "gradient_descent", *(["introvae"] if FACES.exists() else [])]
        values = {key: values[key] for key in kept} | {"scale": "tiny"}
        (folder / "tiny.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
        return folder

    return copy


def workflow(folder, *options):
    command = [sys.executable, "-m", "snakemake", "--configfile", "tiny.yaml", "--cores", "2", *options]
    with (folder / "log").open("a") as log:
        return subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, start_new_session=True, env=os.environ | {"PYTHONPATH": "."}
        )


def results(folder):
    """The files that must be equal: results of runs, tables and claims, without their columns of times."""
    import pandas as pd

    found = {}
    for path in sorted((folder / "results" / "tiny").rglob("*")):
        if path.name in ("metrics.json", "history.csv", "config.yaml", "weights.pt"):
            found[str(path.relative_to(folder))] = path.read_bytes()
        elif path.suffix == ".csv":
            table = pd.read_csv(path)
            timed = [name for name in table if "seconds" in name]
            found[str(path.relative_to(folder))] = table.drop(columns=timed).to_csv().encode()
    return found


def test_a_workflow_that_was_interrupted_ends_in_the_undisturbed_results(checkout, number_of_trials, trials):
    if number_of_trials == 1:
        pytest.skip("three whole workflows: thorough mode only")
    undisturbed = checkout("undisturbed")
    began = time.monotonic()
    assert workflow(undisturbed).wait(timeout=600) == 0, (undisturbed / "log").read_text()
    seconds = time.monotonic() - began
    expected = results(undisturbed)
    assert any(name.endswith("claims.csv") for name in expected)
    for trial, number in enumerate((signal.SIGINT, signal.SIGINT, signal.SIGKILL, signal.SIGKILL)):
        folder = checkout(f"interrupted-{trial}")
        process = workflow(folder)
        time.sleep(random.uniform(0.1, 0.9) * seconds)
        os.killpg(process.pid, number)
        code = process.wait(timeout=120)
        done = len(list((folder / "results").rglob("metrics.json"))) if (folder / "results").exists() else 0
        trials[f"{number.name} with {done} runs done" if code else "the workflow was done before"] += 1
        if number == signal.SIGKILL:
            assert workflow(folder, "--unlock").wait(timeout=120) == 0, (folder / "log").read_text()
        assert workflow(folder).wait(timeout=600) == 0, (folder / "log").read_text()
        assert results(folder) == expected
        assert not list((folder / "results").rglob(".*partial*"))
