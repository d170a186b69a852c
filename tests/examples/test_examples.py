"""The examples of the documentation run as they stand and do what they say, at small budgets."""

import csv
import importlib.util
import math
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from docs.examples import helmholtz
from experiments.runs.room import Context
from experiments.weightings import relobralo

pytestmark = pytest.mark.whole

FOLDER = Path("docs/examples")
LONGEST = {"helmholtz": 100}
"""Lines, where an example has more than 80."""


@pytest.fixture
def run(monkeypatch):
    """Run an example as a command; return its variables."""

    def command(name, *words):
        path = str(FOLDER / f"{name}.py")
        monkeypatch.setattr(sys, "argv", [path, *map(str, words)])
        return runpy.run_path(path, run_name="__main__")

    return command


def numbers(text, name):
    """The numbers that follow a name in a text."""
    return [float(number) for number in re.findall(rf"(?<!of ){name} (-?[\d.e+-]+\d)", text)]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_short_tested_and_not_named_like_a_package(path):
    assert len(path.read_text().splitlines()) <= LONGEST.get(path.stem, 80)
    assert re.search(rf'"{path.stem}(\.py)?"', Path(__file__).read_text())
    assert importlib.util.find_spec(path.stem) is None  # Python puts the folder of a script first


def test_plain_loop_learns_and_resumes_to_the_same_bits(run, capsys, tmp_path):
    straight = run("plain_loop", "--steps", 100)
    first, *_, last = numbers(capsys.readouterr().out, "error")
    assert last < 0.8 * first
    for steps in (60, 100):
        resumed = run("plain_loop", "--steps", steps, "--checkpoint", tmp_path / "checkpoint.pt")
    assert resumed["balance"].observations == straight["balance"].observations == 100
    for part in ("balance", "model"):
        for one, other in zip(straight[part].state_dict().values(), resumed[part].state_dict().values(), strict=True):
            assert torch.equal(one, other)


def test_micro_batches_of_one_optimiser_step_are_one_observation(run):
    result = run("mixed_precision_and_accumulation", "--steps", 60, "--micro-batches", 3)
    assert result["errors"][-1] < 0.5 * result["errors"][0]
    balance = result["balance"]
    assert (balance.finite_calls.item(), balance.observations.item(), balance.nonfinite_count.item()) == (180, 60, 0)
    assert balance.weights.dtype == balance.history.dtype == torch.float32


def test_lbfgs_observes_once_a_step_and_solves_the_equation(run):
    result = run("with_lbfgs", "--steps", 6)
    assert result["balance"].observations == 6
    assert result["closure_calls"] > 2 * 6
    assert result["error"] < 0.01


def test_a_task_without_labels_is_held_and_both_tasks_are_learned(run):
    result = run("missing_labels", "--steps", 400)
    balance, history = result["balance"], [losses for losses in result["history"] if losses]
    for number, name in enumerate(balance.names):
        lacking = sum(name not in losses for losses in history)
        assert 0 < lacking < len(history)
        assert balance.absent_observations[number] == lacking
    assert balance.observations == len(history)
    assert result["held_out"]["depth"] < 0.5 * 4  # the variance of a depth
    assert result["held_out"]["class"] < 0.8 * math.log(3)
    assert balance.weights.sum().item() == pytest.approx(2.0)


def test_vae_lowers_the_negative_elbo(run):
    result = run("vae", "--steps", 150)
    assert sum(result["held_out"].values()) < 0.6 * result["before"]
    assert result["balance"].negative_count == 0


def test_the_logged_weights_are_those_of_every_row(run, tmp_path):
    file = tmp_path / "weights.csv"
    run("logging_weights", "--steps", 200, "--every", 50, "--file", file)
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert list(rows[0]) == ["step", "loss/fit", "loss/size", "weight/fit", "weight/size"]
    assert [row["step"] for row in rows] == ["50", "100", "150", "200"]
    assert float(rows[-1]["loss/fit"]) < 0.5 * float(rows[0]["loss/fit"])
    assert len({row["weight/fit"] for row in rows}) == 4
    for row in rows:
        assert float(row["weight/fit"]) + float(row["weight/size"]) == pytest.approx(2.0)


def test_ranks_have_other_losses_and_the_same_weights():
    command = [sys.executable, FOLDER / "data_parallel.py", "--steps", "50"]
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    out = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    rows = re.findall(r"^step (\d+), rank (\d): error ([\d.]+), weights (.*)$", out, re.MULTILINE)
    assert sorted(row[:2] for row in rows) == [("1", "0"), ("1", "1"), ("50", "0"), ("50", "1")]
    (_, _, one, weights), (_, _, other, others) = (row for row in rows if row[0] == "50")
    assert one != other
    assert weights == others != "1.000000000, 1.000000000"


def test_lightning_observes_once_an_optimiser_step_and_logs_the_weights(run):
    pytest.importorskip("lightning")
    result = run("with_lightning", "--epochs", 3, "--micro-batches", 4)
    trainer, balance = result["trainer"], result["model"].balance
    assert balance.observations == trainer.global_step == 3 * 4  # 16 batches an epoch; validation is not recorded
    logged = trainer.callback_metrics
    weights = [logged[f"loss_weight/balance/{name}"].item() for name in balance.names]
    assert weights == pytest.approx(balance.weights.tolist())
    assert weights[0] != weights[1]
    assert logged["val/error"] < 0.45  # of a sine and zero it is 0.5


def test_the_trainer_observes_once_an_optimiser_step_and_not_in_evaluation(run):
    pytest.importorskip("transformers")
    result = run("with_transformers", "--steps", 40, "--micro-batches", 4)  # 32 batches an epoch
    trainer, balance = result["trainer"], result["balance"]
    assert balance.observations == trainer.state.global_step == 40
    first, second, *_ = trainer.state.log_history
    assert second["loss"] < 0.8 * first["loss"]
    assert second["loss_weight/sign"] + second["loss_weight/size"] == pytest.approx(2.0)


def test_helmholtz_prints_a_row_for_each_rule(run, capsys):
    run("helmholtz", "--steps", 2, "--seeds", 2)
    _, _, *rows = (line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines())
    assert [row[0] for row in rows] == list(helmholtz.RULES)
    for _, *values in rows:
        first, second, mean, relative = map(float, values)
        assert mean == pytest.approx(math.sqrt(first * second), rel=0.05)  # two digits are printed
        assert relative == pytest.approx(math.sqrt(mean / 0.245), rel=0.1)
    errors = [helmholtz.mean_squared_error("plain sum", steps=2, seed=seed) for seed in (0, 0, 1)]
    assert errors[0] == errors[1] != errors[2]


def test_the_guide_shows_the_table_that_helmholtz_prints():
    guide = Path("docs/which-options.md").read_text(encoding="utf-8")
    rows = re.search(r"^\| rule \| seed 0 .*\n\| --- .*\n((?:\|.*\n)+)", guide, re.MULTILINE)[1].splitlines()
    assert [row.split("|")[1].strip() for row in rows] == list(helmholtz.RULES)
    for row in rows:
        *errors, mean, _ = map(float, row.split("|")[2:-1])
        assert mean == pytest.approx(math.prod(errors) ** (1 / len(errors)), rel=0.05)


def test_helmholtz_losses_are_zero_for_the_solution_and_not_for_another_function():
    inside = 2 * torch.rand(50, 2, dtype=torch.float64) - 1
    edge = torch.tensor([[-1.0, 0.3], [1.0, 0.7], [0.2, 1.0], [-0.6, -1.0]], dtype=torch.float64)
    losses = helmholtz.losses_of(lambda points: helmholtz.solution(points).unsqueeze(1), inside, edge)
    assert all(loss.item() < 1e-20 for loss in losses.values())
    losses = helmholtz.losses_of(lambda points: points[:, :1] ** 2, inside, edge)
    f = (1 - 17 * math.pi**2) * helmholtz.solution(inside)
    torch.testing.assert_close(losses["equation"], (2 + inside[:, 0] ** 2 - f).square().mean())
    assert losses["boundary"].item() == pytest.approx((1 + 1 + 0.2**4 + 0.6**4) / 4)


@pytest.mark.parametrize("lookback", [0.0, 1.0])
def test_helmholtz_has_the_relobralo_of_the_experiments(lookback):
    theirs = relobralo.Settings(rule="relobralo", lookback=lookback, decay=0.5).build(Context(tuple(helmholtz.NAMES)))
    ours = helmholtz.relobralo(memory=0.5, lookback=lookback)
    for values in torch.rand(5, 2, generator=torch.Generator().manual_seed(0)) + 0.1:
        losses = dict(zip(helmholtz.NAMES, values, strict=True))
        torch.testing.assert_close(ours(losses), theirs(losses))
