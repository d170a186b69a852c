"""What SoftAdapt costs: the structure of the times and the arithmetic on them. No test asserts a speed."""

import gc
import json
import math
import random
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from commands import run_room

from experiments.runs.errors import UserError
from experiments.scale import load
from experiments.step_cost import findings
from experiments.step_cost import run as step_cost
from experiments.step_cost.settings import TIMED

KINDS = ["step", "call", "call_in_a_row"]


def times_of(history, experiment, timed):
    return history[(history["experiment"] == experiment) & (history["timed"] == timed)]


@pytest.fixture
def config(tmp_path, tiny_config):
    """Path of the tiny config with few pairs."""
    values = yaml.safe_load(tiny_config.read_text(encoding="utf-8"))
    pairs = {"gradient_descent": 12, "sparse_autoencoder": 5, "introvae": 2}
    values["step_cost"] = {"seed": 0, "pairs": pairs, "warmup_pairs": 2, "calls_in_a_row": 2}
    path = tmp_path / "cost.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


@pytest.mark.whole
def test_every_pair_has_every_time_of_both_methods(config, tmp_path):
    run_room("step_cost", "--config", config, "--output", tmp_path / "run")
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert history.columns.tolist() == ["experiment", "timed", "pair", "first", "fixed", "softadapt"]
    pairs = load(config).step_cost.pairs
    for experiment in TIMED:
        for timed in KINDS:
            rows = times_of(history, experiment, timed)
            assert rows["pair"].tolist() == list(range(getattr(pairs, experiment)))
    seconds = history[["fixed", "softadapt"]].to_numpy()
    assert np.isfinite(seconds).all()
    assert (seconds > 0).all()
    assert set(history["first"]) == {"fixed", "softadapt"}
    medians = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert medians["introvae"]["step"]["fixed"] == times_of(history, "introvae", "step")["fixed"].median()
    assert gc.isenabled()


@pytest.mark.whole
def test_the_run_depends_on_the_sizes_of_what_it_times(config, tmp_path):
    options = ["--config", config, "--output", tmp_path / "run"]
    run_room("step_cost", *options)
    values = yaml.safe_load(config.read_text(encoding="utf-8"))
    values["sparse_autoencoder"]["hidden_units"] = 9
    config.write_text(yaml.safe_dump(values), encoding="utf-8")
    with pytest.raises(UserError, match=r"they differ in sizes\.sparse_autoencoder\.hidden_units\)"):
        run_room("step_cost", *options)


def test_the_order_within_pairs_is_random_and_the_calls_follow_their_step():
    done = []
    works = {kind: {m: lambda kind=kind, m=m: done.append((kind, m)) for m in step_cost.METHODS} for kind in "sc"}
    sides = step_cost.Sides(works["s"], works["c"])
    rows = list(step_cost.time_pairs(sides, 40, 2, 3, random.Random(0), lambda: None))
    assert len(rows) == 3 * 40
    halves = [done[i : i + 5] for i in range(0, len(done), 5)]
    assert all(half == [("s", half[0][1])] + 4 * [("c", half[0][1])] for half in halves)
    order = [half[0][1] for half in halves]
    assert all({*pair} == {*step_cost.METHODS} for pair in zip(order[::2], order[1::2], strict=True))
    first = order[4::2]  # after the warm-up
    assert 10 < first.count("fixed") < 30
    assert [row["first"] for row in rows if row["timed"] == "step"] == first


@pytest.mark.parametrize("experiment", TIMED)
def test_both_methods_start_from_the_same_copy(config, experiment):
    """They differ in the weights alone, so that what a first step sees before it weighs is the same."""
    sides = step_cost.sides_of(experiment, load(config).section(experiment), 0)
    assert sides.steps.keys() == sides.calls.keys() == {*step_cost.METHODS}
    if experiment == "gradient_descent":
        plain, adaptive = (sides.steps[method]() for method in step_cost.METHODS)
        assert torch.equal(plain.previous_losses, adaptive.previous_losses)
        ratio = adaptive.weights / sides.calls["softadapt"]()
        assert torch.equal(ratio, torch.ones_like(ratio))
    if experiment == "introvae":
        torch.manual_seed(1)
        fixed = sides.steps["fixed"]()
        torch.manual_seed(1)
        softadapt = sides.steps["softadapt"]()
        assert torch.equal(fixed["kl_real"], softadapt["kl_real"])


@pytest.fixture
def known():
    """Findings of a run that says: SoftAdapt adds 20 us to steps of 1, 2 and 10 ms that scatter by a hundredth."""
    noise = np.random.default_rng(0)
    rows = []
    for experiment, step in zip(TIMED, (1e-3, 2e-3, 1e-2), strict=True):
        for pair in range(200):
            scatter = step * noise.normal(0, 0.01, 2)
            rows.append((experiment, "step", pair, step + scatter[0], step + 20e-6 + scatter[1]))
            for timed in KINDS[1:]:
                call = 10e-6 + 1e-7 * noise.normal(0, 1, 2)
                rows.append((experiment, timed, pair, call[0], call[1] + 20e-6))
    history = pd.DataFrame(rows, columns=["experiment", "timed", "pair", "fixed", "softadapt"])
    gathered = findings.rows(SimpleNamespace(history=history), None)
    return findings.Findings(SimpleNamespace(rows=pd.DataFrame(gathered)))


@pytest.mark.parametrize(("experiment", "added"), list(zip(TIMED, (0.02, 0.01, 0.002), strict=True)))
def test_a_known_overhead_is_found_and_finer_by_calls(known, experiment, added):
    by_steps, by_calls = (known.overhead(experiment=experiment, by=by) for by in ("steps", "calls"))
    assert by_calls.low < by_calls.value < by_calls.high
    assert by_calls.value == pytest.approx(added, rel=0.01)
    assert by_steps.value == pytest.approx(added, abs=0.005)
    assert by_steps.low - 0.002 < added < by_steps.high + 0.002
    assert by_calls.high - by_calls.low < (by_steps.high - by_steps.low) / 10
    assert by_calls.count == by_steps.count == 200


def test_the_interval_of_an_overhead_is_that_of_the_sign_test(known):
    """Between the r-th lowest and the r-th highest of 200 pairs, where r - 1 or fewer lie below the median with a chance of at
    most 0.025, and r with more."""
    chances = [math.comb(200, k) / 2**200 for k in range(201)]
    r = max(r for r in range(1, 101) if sum(chances[:r]) <= 0.025)
    ordered = sorted(known.shares("introvae", "steps"))
    estimate = known.overhead(experiment="introvae", by="steps")
    assert (estimate.low, estimate.high) == (ordered[r - 1], ordered[-r])
    assert estimate.value == pytest.approx((ordered[99] + ordered[100]) / 2)


def test_the_table_stands_beside_the_published_minutes(known):
    table = known.tables()["step_cost"].set_index("experiment")
    assert table.index.tolist() == list(TIMED)
    assert table.loc["introvae", "step_ms_fixed"] == pytest.approx(10, rel=0.01)
    assert table.loc["introvae", "added_percent_by_calls"] == pytest.approx(0.2, rel=0.01)
    assert table.loc["introvae", "call_us_softadapt"] == pytest.approx(30, rel=0.01)
    assert table["published_percent"].tolist() == pytest.approx([float("nan"), 13.182, 0.11504], abs=1e-3, nan_ok=True)


def test_a_scale_that_times_what_it_leaves_out_is_one_line(config):
    values = yaml.safe_load(config.read_text(encoding="utf-8"))
    del values["introvae"]
    config.write_text(yaml.safe_dump(values), encoding="utf-8")
    with pytest.raises(UserError, match=r"step_cost needs the sections gradient_descent, .*; add introvae") as error:
        load(config)
    assert "\n" not in str(error.value)
