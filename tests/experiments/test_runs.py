"""The run folder: whole files, honest identity, exact resumption."""

import json
import os
import pickle

import numpy as np
import pytest
import torch
import yaml

from experiments import runs
from experiments.errors import UserError
from experiments.files import atomic_path, sha256, write_json, write_text
from experiments.runs import Run, config_hash, random_state, restore_random_state

CONFIG = {"experiment": "introvae", "seed": 0, "settings": {"epochs": 3, "margin": 1.0}}


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "table.csv"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["table.csv"]


def test_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "metrics.json", {"loss": float("nan")})
    assert os.listdir(tmp_path) == []


def test_results_are_whole_and_metrics_come_last(tmp_path, monkeypatch):
    run = Run(tmp_path / "run", CONFIG)
    run.history = [{"epoch": 1, "loss": 0.1 + 0.2}, {"epoch": 2, "loss": 1e-12, "psnr": 3.0}]
    monkeypatch.setattr(runs, "write_json", lambda *a: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        run.finish({"loss": 1.0}, samples={"a": np.ones(3)})
    assert not run.finished
    monkeypatch.undo()
    run.finish({"loss": 1.0}, samples={"a": np.ones(3)}, data_checksums={"d": "0"}, times={"train": 1.0})
    assert run.finished
    assert (run.folder / "history.csv").read_text() == "epoch,loss,psnr\n1,0.30000000000000004,\n2,1e-12,3.0\n"
    provenance = json.loads((run.folder / "provenance.json").read_text())
    assert provenance["data"] == {"d": "0"}
    assert provenance["times"]["train"] == 1.0
    assert {"commit", "dirty", "cpu", "threads", "versions", "python"} <= provenance.keys()
    assert yaml.safe_load((run.folder / "config.yaml").read_text())["settings"] == CONFIG["settings"]


def test_another_run_in_the_folder_is_refused_with_hashes_and_keys(tmp_path):
    Run(tmp_path, CONFIG).save({"epoch": 1}, now=True)
    other = CONFIG | {"seed": 1, "settings": {"epochs": 3, "margin": 2.0}}
    with pytest.raises(UserError, match=r"differ in seed, settings\.margin\); pass --overwrite") as error:
        Run(tmp_path, other)
    assert Run(tmp_path, CONFIG).hash[:8] in str(error.value)
    assert Run(tmp_path, CONFIG).resume() == {"epoch": 1}
    assert Run(tmp_path, other, overwrite=True).resume() is None


def test_a_run_with_other_threads_is_another_run(tmp_path):
    Run(tmp_path, CONFIG).save({"epoch": 1}, now=True)
    torch.set_num_threads(2)
    with pytest.raises(UserError, match="differ in threads"):
        Run(tmp_path, CONFIG)


def test_a_start_that_is_refused_changes_nothing(tmp_path):
    """The rules and the data are looked at after the run is opened and before it starts."""
    Run(tmp_path / "new", CONFIG)
    assert not (tmp_path / "new").exists()
    finished = Run(tmp_path / "old", CONFIG)
    finished.save({"epoch": 3}, now=True)
    finished.finish({"loss": 1.0})
    before = {path.name: path.read_bytes() for path in finished.folder.iterdir()}
    other = Run(finished.folder, CONFIG | {"seed": 1}, overwrite=True)
    assert not other.finished
    assert {path.name: path.read_bytes() for path in finished.folder.iterdir()} == before
    other.start()
    assert [path.name for path in finished.folder.iterdir()] == ["config.yaml"]


def test_a_run_that_left_nothing_but_its_settings_does_not_stand_in_the_way(tmp_path):
    Run(tmp_path, CONFIG).start()
    Run(tmp_path, CONFIG | {"seed": 1}).start()
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["seed"] == 1


@pytest.mark.parametrize("below", ["file", "file/run"])
def test_a_folder_that_cannot_be_is_one_line(tmp_path, below):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot hold a run .*--output"):
        Run(tmp_path / below, CONFIG).start()


def test_a_run_of_other_code_is_another_run(tmp_path, monkeypatch):
    Run(tmp_path, CONFIG).save({"epoch": 1}, now=True)
    monkeypatch.setattr(runs, "code_fingerprint", lambda experiment, rules: "changed")
    with pytest.raises(UserError, match="differ in code"):
        Run(tmp_path, CONFIG)


def test_a_checkpoint_of_other_settings_is_refused_or_left_aside(tmp_path):
    Run(tmp_path, CONFIG).save({"epoch": 1}, now=True)
    (tmp_path / "config.yaml").unlink()
    other = CONFIG | {"seed": 1}
    with pytest.raises(UserError, match="belongs to settings"):
        Run(tmp_path, other).resume()
    assert not (tmp_path / "config.yaml").exists()  # so that the right command is not refused next
    assert Run(tmp_path, other, overwrite=True).resume() is None


class Malice:
    def __reduce__(self):
        return (os.mkdir, ("executed",))


@pytest.mark.parametrize(
    "content",
    [b"", b"nonsense", pickle.dumps({"config_hash": "x"}), pickle.dumps(Malice())],
    ids=["empty", "nonsense", "pickle", "malicious"],
)
def test_a_bad_checkpoint_is_one_line_and_runs_no_code(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    run = Run(tmp_path / "run", CONFIG)
    run.start()
    (run.folder / "checkpoint.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"checkpoint\.pt: not a usable checkpoint") as error:
        run.resume()
    assert "\n" not in str(error.value)
    assert not (tmp_path / "executed").exists()


def test_a_truncated_checkpoint_is_refused(tmp_path):
    run = Run(tmp_path, CONFIG)
    run.save({"weights": torch.ones(1000)}, now=True)
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match="not a usable checkpoint"):
        run.resume()


def test_history_and_seconds_survive_a_checkpoint(tmp_path):
    run = Run(tmp_path, CONFIG)
    run.history.append({"epoch": 1, "loss": 0.5})
    run._seconds_before = 100.0
    run.save({"epoch": 1}, now=True)
    resumed = Run(tmp_path, CONFIG)
    assert resumed.resume() == {"epoch": 1}
    assert resumed.history == [{"epoch": 1, "loss": 0.5}]
    assert resumed.seconds >= 100


def test_checkpoints_are_rate_limited(tmp_path):
    run = Run(tmp_path, CONFIG)
    run.save({"epoch": 1})
    assert not (tmp_path / "checkpoint.pt").exists()
    run.save({"epoch": 1}, now=True)
    assert (tmp_path / "checkpoint.pt").exists()


def test_config_hash_ignores_the_order_of_keys():
    assert config_hash({"a": 1, "b": {"c": 2, "d": 3}}) == config_hash({"b": {"d": 3, "c": 2}, "a": 1})
    assert config_hash({"a": 1}) != config_hash({"a": 2})


def test_random_state_round_trip():
    state = random_state()
    first = torch.rand(3)
    restore_random_state(state)
    assert torch.equal(torch.rand(3), first)


def test_damaged_config_names_the_remedy(tmp_path):
    Run(tmp_path, CONFIG).save({"epoch": 1}, now=True)
    write_text(tmp_path / "config.yaml", "a: [")
    with pytest.raises(UserError, match="remove the folder"):
        Run(tmp_path, CONFIG)


def test_sha256(tmp_path):
    write_text(tmp_path / "f", "abc")
    assert sha256(tmp_path / "f").startswith("ba7816bf8f01cfea")
