"""The run folder: whole files, honest identity, exact resumption."""

import json
import math
import os
import pickle
import random
import signal

import numpy as np
import pytest
import torch
import yaml

from experiments import scale
from experiments.runs import checkpoints, folder
from experiments.runs.checkpoints import random_state, restore_random_state
from experiments.runs.command_line import parse
from experiments.runs.errors import Interrupted, UserError
from experiments.runs.files import atomic_path, sha256, write_json, write_text
from experiments.runs.folder import Run, config_hash

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
    monkeypatch.setattr(folder, "sha256", lambda path: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        run.finish({"loss": 1.0}, samples={"a": np.ones(3)})
    assert not run.finished
    monkeypatch.undo()
    run.data = {"d": "0"}
    run.finish({"loss": 1.0}, samples={"a": np.ones(3)}, times={"train": 1.0})
    assert run.finished
    assert (run.folder / "history.csv").read_text() == "epoch,loss,psnr\n1,0.30000000000000004,\n2,1e-12,3.0\n"
    provenance = json.loads((run.folder / "provenance.json").read_text())
    assert provenance["data"] == {"d": "0"}
    assert provenance["times"]["train"] == 1.0
    assert {"commit", "dirty", "cpu", "threads", "versions", "python", "config_hash"} <= provenance.keys()
    assert provenance["files"] == {
        name: sha256(run.folder / name) for name in ("config.yaml", "history.csv", "metrics.json", "samples.npz")
    }
    assert yaml.safe_load((run.folder / "config.yaml").read_text())["settings"] == CONFIG["settings"]


def test_another_run_in_the_folder_is_refused_with_hashes_and_keys(tmp_path):
    Run(tmp_path, CONFIG).save({"epoch": 1})
    other = CONFIG | {"seed": 1, "settings": {"epochs": 3, "margin": 2.0}}
    with pytest.raises(UserError, match=r"differ in seed, settings\.margin\); pass --overwrite") as error:
        Run(tmp_path, other)
    assert Run(tmp_path, CONFIG).hash[:8] in str(error.value)
    assert Run(tmp_path, CONFIG).resume() == {"epoch": 1}
    assert Run(tmp_path, other, overwrite=True).resume() is None


def test_a_run_with_other_threads_is_another_run(tmp_path):
    Run(tmp_path, CONFIG).save({"epoch": 1})
    torch.set_num_threads(2)
    with pytest.raises(UserError, match="differ in threads"):
        Run(tmp_path, CONFIG)


def test_a_start_that_is_refused_changes_nothing(tmp_path):
    """The rules and the data are looked at after the run is opened and before it starts."""
    Run(tmp_path / "new", CONFIG)
    assert not (tmp_path / "new").exists()
    finished = Run(tmp_path / "old", CONFIG)
    finished.save({"epoch": 3})
    finished.finish({"loss": 1.0})
    before = {path.name: path.read_bytes() for path in finished.folder.iterdir()}
    other = Run(finished.folder, CONFIG | {"seed": 1}, overwrite=True)
    assert not other.finished
    assert {path.name: path.read_bytes() for path in finished.folder.iterdir()} == before
    other.start()
    assert {path.name for path in finished.folder.iterdir()} == {".lock", "config.yaml"}


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
    Run(tmp_path, CONFIG).save({"epoch": 1})
    monkeypatch.setattr(folder, "code_fingerprint", lambda experiment, rules: "changed")
    with pytest.raises(UserError, match="differ in code"):
        Run(tmp_path, CONFIG)


def test_a_checkpoint_of_other_settings_is_refused_or_discarded(tmp_path, capsys):
    Run(tmp_path, CONFIG).save({"epoch": 1})
    (tmp_path / "config.yaml").unlink()
    other = CONFIG | {"seed": 1}
    with pytest.raises(UserError, match=r"checkpoint\.pt: belongs to .* differ in seed\); pass --overwrite") as error:
        Run(tmp_path, other).resume()
    for config in (CONFIG, other):  # both hashes
        assert config_hash(Run(tmp_path / "none", config).config)[:8] in str(error.value)
    assert not (tmp_path / "config.yaml").exists()  # so that the right command is not refused next
    assert Run(tmp_path, other, overwrite=True).resume() is None
    warning = capsys.readouterr().err
    assert "belonged to other settings" in warning
    assert "differ in seed); discarded, as --overwrite says" in warning


def test_a_discarded_run_is_named(tmp_path, capsys):
    Run(tmp_path, CONFIG).save({"epoch": 1})
    other = Run(tmp_path, CONFIG | {"seed": 1}, overwrite=True)
    assert capsys.readouterr().err == ""
    other.start()
    assert "held a run with other settings" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["config.yaml", "history.csv", "metrics.json", "samples.npz", "provenance.json"])
def test_a_run_that_lacks_a_result_is_not_finished(tmp_path, name):
    run = Run(tmp_path, CONFIG)
    run.finish({"loss": 1.0}, samples={"a": np.ones(3)})
    assert Run(tmp_path, CONFIG).finished
    (tmp_path / name).unlink()
    assert not Run(tmp_path, CONFIG).finished


def test_provenance_is_of_the_time_when_the_run_began(tmp_path, monkeypatch):
    run = Run(tmp_path, CONFIG)
    commit = folder.provenance()["commit"]
    monkeypatch.setattr(folder, "environment", lambda: {"commit": "another"})
    run.finish({"loss": 1.0})
    assert json.loads((tmp_path / "provenance.json").read_text())["commit"] == commit


@pytest.mark.parametrize("random_states", [{}, {"torch": 1}])
def test_random_states_that_do_not_fit_are_one_line(tmp_path, monkeypatch, random_states):
    monkeypatch.setattr(checkpoints, "random_state", lambda: random_states)
    Run(tmp_path, CONFIG).save({"epoch": 1})
    with pytest.raises(UserError, match="the random states of its checkpoint do not fit"):
        Run(tmp_path, CONFIG).resume()


@pytest.mark.parametrize("epochs", ["3x", None, [1]])
def test_an_edited_horizon_is_another_run(tmp_path, epochs):
    config = CONFIG | {"settings": {"epochs": 3, "report_epochs": [1, 2], "margin": 1.0}}
    Run(tmp_path, config, extendable=True).save({"epoch": 1})
    path = tmp_path / "config.yaml"
    edited = yaml.safe_load(path.read_text())
    edited["settings"]["epochs"] = epochs
    path.write_text(yaml.safe_dump(edited))
    with pytest.raises(UserError, match=r"differ in settings\.epochs"):
        Run(tmp_path, config, extendable=True)


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


def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(tmp_path, capsys):
    run = Run(tmp_path, CONFIG)
    for epoch in (1, 2, 3):
        run.history.append({"epoch": epoch})
        run.save({"weights": torch.full((1000,), float(epoch))})
    run.release()
    newest = tmp_path / "checkpoint.pt"
    whole = newest.read_bytes()
    middle = whole.index(np.full(1000, 3.0, dtype=np.float32).tobytes()) + 2000
    for damaged in (whole[:-200], whole[:middle] + bytes([whole[middle] ^ 4]) + whole[middle + 1 :]):
        newest.write_bytes(damaged)
        resumed = Run(tmp_path, CONFIG)
        capsys.readouterr()
        assert torch.equal(resumed.resume()["weights"], torch.full((1000,), 2.0))
        assert resumed.history == [{"epoch": 1}, {"epoch": 2}]
        warning = capsys.readouterr().err
        assert warning.startswith("warning: ")
        assert "going on from the one before it" in warning
        assert not newest.exists()  # else the next checkpoint would push the whole one out
        resumed.release()
    (tmp_path / "checkpoint-previous.pt").write_bytes(b"")
    newest.write_bytes(b"")
    with pytest.raises(UserError, match=r"not a usable checkpoint .* pass --overwrite to start over"):
        Run(tmp_path, CONFIG).resume()
    assert Run(tmp_path, CONFIG, overwrite=True).resume() is None
    assert capsys.readouterr().err.count("; starting over\n") == 2
    assert not newest.exists()


def test_the_checkpoint_before_the_newest_is_enough(tmp_path):
    """As when a process is killed between the two renames."""
    run = Run(tmp_path, CONFIG)
    run.save({"epoch": 1})
    run.save({"epoch": 2})
    run.release()
    (tmp_path / "checkpoint.pt").unlink()
    assert Run(tmp_path, CONFIG).resume() == {"epoch": 1}


def test_history_and_seconds_survive_a_checkpoint(tmp_path):
    run = Run(tmp_path, CONFIG)
    run.history.append({"epoch": 1, "loss": 0.5})
    run._seconds_before = 100.0
    run.save({"epoch": 1})
    run.release()
    resumed = Run(tmp_path, CONFIG)
    assert resumed.resume() == {"epoch": 1}
    assert resumed.history == [{"epoch": 1, "loss": 0.5}]
    assert resumed.seconds >= 100


def test_a_checkpoint_is_due_after_the_interval_and_never_costs_more_than_a_share(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(folder.time, "monotonic", lambda: now[0])
    run = Run(tmp_path, CONFIG, checkpoint_interval=20.0)
    now[0] += 19
    assert not run.due
    now[0] += 1
    assert run.due
    write = checkpoints.write

    def slow_write(*arguments):
        write(*arguments)
        now[0] += 3

    monkeypatch.setattr(checkpoints, "write", slow_write)
    run.save({"epoch": 1})
    now[0] += 149
    assert not run.due
    now[0] += 1
    assert run.due


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_waits_for_the_next_checkpoint(tmp_path, number, code):
    run = Run(tmp_path, CONFIG)
    with (
        pytest.raises(Interrupted, match=r"holds a checkpoint .* run the same command again") as stop,
        run.interruptible(),
    ):
        assert not run.due
        signal.raise_signal(number)
        assert run.due
        run.save({"epoch": 1})
    assert stop.value.exit_code == code
    run.release()
    assert Run(tmp_path, CONFIG).resume() == {"epoch": 1}


def test_a_second_ctrl_c_does_not_wait_and_a_second_sigterm_does(tmp_path):
    """A scheduler may send one to a process and to all its children, of which torchrun passes its own on."""
    run = Run(tmp_path, CONFIG)
    with run.interruptible():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGINT)


def test_two_at_once_are_one_too_many(tmp_path):
    run = Run(tmp_path, CONFIG)
    run.save({"epoch": 1})
    with pytest.raises(UserError, match="another process is writing this run; wait for it"):
        Run(tmp_path, CONFIG).start()
    run.finish({"loss": 1.0})
    Run(tmp_path, CONFIG).start()


OTHER = CONFIG | {"seed": 1}


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


@pytest.mark.parametrize("left", ["a checkpoint", "a finished run"])
@pytest.mark.parametrize(
    "begin",
    [Run.start, Run.resume, lambda run: run.save({"epoch": 9}), lambda run: run.finish({"loss": 9.0})],
    ids=["start", "resume", "save", "finish"],
)
def test_a_run_that_another_wrote_since_the_folder_was_opened_is_refused_and_whole(tmp_path, begin, left):
    """The folder was empty when both looked; the one that locks it second looks again."""
    first, second = Run(tmp_path, CONFIG), Run(tmp_path, OTHER)
    first.save({"epoch": 1})
    if left == "a finished run":
        first.finish({"loss": 1.0}, samples={"a": np.ones(3)})
    first.release()
    before = content(tmp_path)
    with pytest.raises(UserError, match=r"holds a run with other settings .* differ in seed\); pass --overwrite"):
        begin(second)
    assert content(tmp_path) == before
    assert not second.finished
    assert not Run(tmp_path, OTHER, overwrite=True).finished
    assert Run(tmp_path, CONFIG).resume() == {"epoch": 1}  # the refused run has given the lock back


def test_a_run_that_another_wrote_since_the_folder_was_opened_gives_way_to_overwrite(tmp_path, capsys):
    first, second = Run(tmp_path, CONFIG), Run(tmp_path, OTHER, overwrite=True)
    first.save({"epoch": 1})
    first.finish({"loss": 1.0}, samples={"a": np.ones(3)})
    assert second.resume() is None
    assert "held a run with other settings" in capsys.readouterr().err
    assert content(tmp_path).keys() == {"config.yaml"}
    second.finish({"loss": 2.0})
    assert second.finished
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"loss": 2.0}


def test_the_same_run_finished_by_another_meanwhile_is_finished(tmp_path):
    first, second = Run(tmp_path, CONFIG), Run(tmp_path, CONFIG)
    first.finish({"loss": 1.0})
    second.start()
    assert second.finished


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_checkpoint_of_other_data_is_refused_and_left_alone(tmp_path, overwrite):
    run = Run(tmp_path, CONFIG)
    run.data = {"mnist": "0" * 64}
    run.save({"epoch": 1})
    run.release()
    before = content(tmp_path)
    other = Run(tmp_path, CONFIG, overwrite=overwrite)
    other.data = {"mnist": "1" * 64}
    with pytest.raises(UserError, match=r"checkpoint\.pt: trained on other data; bring that back, or remove"):
        other.resume()
    assert content(tmp_path) == before
    same = Run(tmp_path, CONFIG)
    same.data = {"mnist": "0" * 64}
    assert same.resume() == {"epoch": 1}


def test_a_complete_run_is_said_to_be(tmp_path, capsys):
    words = ["--config", "config/smoke.yaml", "--output", str(tmp_path / "run"), "--threads", "1"]
    (request,) = parse(scale, "niqe_collapse", arguments=words)
    run = Run.of(request, judge="x")
    assert run.config["judge"] == "x"
    assert run.config["settings"] == request.settings.model_dump(mode="json", exclude={"seed"})
    assert capsys.readouterr().out == ""
    run.finish({"loss": 1.0})
    assert capsys.readouterr().out == f"{tmp_path / 'run'} is complete\n"
    assert Run.of(request, judge="x").finished
    assert capsys.readouterr().out == f"{tmp_path / 'run'} is complete\n"


def test_a_run_has_the_threads_that_its_request_asks_for(tmp_path):
    words = ["--config", "config/smoke.yaml", "--output", str(tmp_path / "run"), "--threads", "2"]
    (request,) = parse(scale, "niqe_collapse", arguments=words)
    assert Run.of(request).config["threads"] == torch.get_num_threads() == 2


def test_numbers_that_are_not_finite_stand_in_the_history(tmp_path):
    """As in the last row of a run that has diverged: readable, and no JSON number."""
    run = Run(tmp_path, CONFIG)
    run.history = [{"epoch": 1, "loss": math.inf, "error": math.nan, "phase": "warmup"}]
    run.finish({"verdict": "diverged"})
    assert (tmp_path / "history.csv").read_text() == "epoch,loss,error,phase\n1,inf,nan,warmup\n"
    assert Run(tmp_path, CONFIG).finished


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    Run(tmp_path, CONFIG).save({"epoch": 1})
    with pytest.raises(KeyboardInterrupt), atomic_path(tmp_path / "samples.npz") as temporary:
        half = temporary.rename(tmp_path / "moved")
        raise KeyboardInterrupt
    half.rename(temporary)
    Run(tmp_path, CONFIG).start()
    assert not temporary.exists()


def test_config_hash_ignores_the_order_of_keys():
    assert config_hash({"a": 1, "b": {"c": 2, "d": 3}}) == config_hash({"b": {"d": 3, "c": 2}, "a": 1})
    assert config_hash({"a": 1}) != config_hash({"a": 2})


def test_random_state_round_trip(tmp_path):
    torch.save(random_state(), tmp_path / "state.pt")
    first = torch.rand(3), np.random.rand(3), random.random()  # noqa: NPY002
    restore_random_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(torch.rand(3), first[0])
    assert (np.random.rand(3) == first[1]).all()  # noqa: NPY002
    assert random.random() == first[2]


def test_damaged_config_names_the_remedy(tmp_path):
    Run(tmp_path, CONFIG).save({"epoch": 1})
    write_text(tmp_path / "config.yaml", "a: [")
    with pytest.raises(UserError, match="remove the folder"):
        Run(tmp_path, CONFIG)


def test_sha256(tmp_path):
    write_text(tmp_path / "f", "abc")
    assert sha256(tmp_path / "f").startswith("ba7816bf8f01cfea")
