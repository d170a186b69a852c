"""Rules of other codes that are called SoftAdapt: their closed forms, and the audit that compares them."""

import json
import math
from pathlib import Path

import adapter
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from commands import run_room

from experiments.namesakes.run import check, disagreement
from experiments.runs.errors import UserError
from experiments.scale import load
from experiments.weightings import build

FALLING = ([1.0, 2.0, 3.0, 4.0, 5.0], [150.0, 100.0, 50.0, 10.0, 0.1], [1500.0, 1000.0, 500.0, 100.0, 1.0])


def softmax(values):
    powers = [math.exp(value) for value in values]
    return [power / sum(powers) for power in powers]


def weights_after(rule, *components, **options):
    """Weights after feeding the histories of all components, in double precision."""
    names = [f"c{k}" for k in range(len(components))]
    balance = build({"rule": rule, **options}, names).double()
    for losses in zip(*components, strict=True):
        balance({name: torch.tensor(loss, dtype=torch.float64) for name, loss in zip(names, losses, strict=True)})
    return balance.get_buffer("weights").tolist()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"variant": "original"}, [9.9343336e-01, 6.5666283e-03, 3.8908041e-22]),
        ({"variant": "original", "normalize": True}, [0.32207233, 0.32507923, 0.35284847]),
        ({}, [8.79777193e-01, 1.20222814e-01, 7.12104538e-20]),
    ],
)
def test_authors_2023_gives_the_numbers_of_its_own_documentation(options, expected):
    """Those of the example that the package and its ports print, in float32."""
    assert weights_after("authors_2023", *FALLING, **options) == pytest.approx(expected, rel=1e-5)


def test_authors_2023_takes_the_slope_at_the_oldest_of_five_losses():
    slope = -25 / 12 * 150 + 4 * 100 - 3 * 50 + 4 / 3 * 10 - 0.1 / 4
    assert slope == pytest.approx(-49.19, abs=0.01)
    expected = softmax([0.1 * slope, 0.0])
    flat = [7.0] * 6
    history = [99.0, *FALLING[1]]  # a sixth loss is forgotten
    assert weights_after("authors_2023", history, flat, variant="original") == pytest.approx(expected)
    assert weights_after("authors_2023", FALLING[1][:4], flat[:4]) == [0.5, 0.5]


def test_authors_2023_normalized_reverses_the_order_when_losses_fall():
    fast, slow = [10.0, 8.0, 6.0, 4.0, 2.0], [10.0, 9.0, 8.0, 7.0, 6.0]
    plain = weights_after("authors_2023", fast, slow, variant="original")
    signed = weights_after("authors_2023", fast, slow, variant="original", normalize=True)
    assert plain == pytest.approx(softmax([0.1 * -2, 0.1 * -1]))
    assert signed == pytest.approx(softmax([0.1 * 2 / 3, 0.1 * 1 / 3]))


def test_authors_2023_keeps_its_last_finite_weights_where_it_is_undefined():
    gone = [3.0, 2.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 2.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0]
    before = weights_after("authors_2023", *gone, normalize=True)
    assert before[0] != before[1]
    assert weights_after("authors_2023", *([*losses, 0.0] for losses in gone), normalize=True) == before  # 0/0
    steep = [0.0, 1e5, 2e5, 3e5, 4e5]
    assert weights_after("authors_2023", steep, [1.0] * 5, beta=-0.1) == [0.5, 0.5]  # exp(1e4) overflows
    assert weights_after("authors_2023", steep, [1.0] * 5, beta=0.1) == pytest.approx([1, 0], abs=1e-9)
    assert weights_after("authors_2023", [0.0] * 5, [0.0] * 5) == [0, 0]


def test_the_authors_code_of_2019_is_a_setting_of_this_repository():
    """Order 4 at the newest loss, L1 norm, times the current loss: +14.4 where the others say fall."""
    options = {"history": 5, "order": 4, "normalize": True, "beta": 0.1}
    slope = 25 / 12 * 0.1 - 4 * 10 + 3 * 50 - 4 / 3 * 100 + 150 / 4
    assert slope == pytest.approx(14.38, abs=0.01)
    rising = FALLING[0]  # slope 1
    total = slope + 1 + 1e-8
    powers = [0.1 * math.exp(0.1 * slope / total), 5 * math.exp(0.1 / total)]
    expected = [power / sum(powers) for power in powers]
    assert weights_after("softadapt", FALLING[1], rising, **options) == pytest.approx(expected)


def test_physicsnemo_is_a_softmax_of_ratios():
    expected = [2 * weight for weight in softmax([3 / 4, 10 / 8])]
    assert weights_after("physicsnemo", [9.0, 4.0, 3.0], [1.0, 8.0, 10.0]) == pytest.approx(expected)
    assert weights_after("physicsnemo", [9.0], [1.0]) == [1, 1]


def test_neuralpde_is_physicsnemo_with_a_temperature():
    histories = [9.0, 4.0, 3.0], [1.0, 8.0, 10.0]
    expected = [2 * weight for weight in softmax([2.5 * (3 - 4) / 4, 2.5 * (10 - 8) / 8])]
    assert weights_after("neuralpde", *histories, alpha=2.5) == pytest.approx(expected)
    assert weights_after("neuralpde", *histories, alpha=1.0) == pytest.approx(weights_after("physicsnemo", *histories))


def test_relobralo_softadapt_averages_equation_3():
    histories = [9.0, 4.0, 3.0], [1.0, 8.0, 10.0]
    first, second = softmax([0.3 * -5, 0.3 * 7]), softmax([0.3 * -1, 0.3 * 2])
    expected = [0.8 * (0.8 + 0.2 * 2 * one) + 0.2 * 2 * two for one, two in zip(first, second, strict=True)]
    options = {"temperature": 0.3, "decay": 0.8}
    assert weights_after("relobralo_softadapt", *histories, **options) == pytest.approx(expected)
    without = weights_after("relobralo_softadapt", *histories, temperature=0.3, decay=0.0)
    equation_3 = weights_after("softadapt", *histories, variant="original", beta=0.3, total=2.0)
    assert without == pytest.approx(equation_3)


def test_nequip_divides_by_the_norm_and_knows_the_users_coefficients():
    histories = [9.0, 4.0, 1.0], [1.0, 8.0, 12.0]  # differences -3 and 4
    assert weights_after("nequip", *histories, beta=2.0) == pytest.approx(softmax([2 * -3 / 5, 2 * 4 / 5]))
    coefficients = {"c0": 5.0, "c1": 1.0}
    powers = [5 * math.exp(-2 * 3 / 5), math.exp(2 * 4 / 5)]
    expected = [power / sum(powers) for power in powers]
    assert weights_after("nequip", *histories, beta=2.0, coefficients=coefficients) == pytest.approx(expected)
    assert weights_after("nequip", [9.0], [1.0], coefficients=coefficients) == pytest.approx([5 / 6, 1 / 6])
    with pytest.raises(UserError, match="w: coefficients must name a, b, got a"):
        build({"rule": "nequip", "coefficients": {"a": 1.0}}, ["a", "b"], "w")


@pytest.mark.parametrize("rule", ["physicsnemo", "neuralpde", "nequip", "relobralo_softadapt"])
def test_weights_stay_where_a_rule_is_undefined(rule):
    """0/0 of a vanished component, differences without a direction, a loss that is not finite."""
    undefined = {"nequip": ([4.0, 3.0, 3.0], [8.0, 10.0, 10.0])}
    undefined |= {"relobralo_softadapt": ([4.0, 3.0, math.nan], [8.0, 10.0, 9.0])}
    histories = undefined.get(rule, ([4.0, 0.0, 0.0], [8.0, 10.0, 9.0]))
    before = weights_after(rule, *(history[:2] for history in histories))
    assert before[0] != before[1]
    assert weights_after(rule, *histories) == before


@pytest.fixture
def audited(tmp_path, monkeypatch, made_mnist, tiny_config):
    """Path of a config whose audit has been run, in a folder of its own."""
    values = yaml.safe_load(tiny_config.read_text(encoding="utf-8"))
    values["namesakes"] |= {"train_images": 400, "batch_size": 50, "hidden_units": 8}
    tiny_config.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    run_room("namesakes", "--config", tiny_config)
    return tiny_config


RUN = Path("results/smoke/runs/namesakes/default/seed-0")


def test_the_audit_writes_every_history_and_rule(audited):
    settings = load(audited).namesakes
    rules = list(settings.rules)
    history = pd.read_csv(RUN / "history.csv")
    assert len(history) == len(rules) * (5 * settings.observations + 8)
    assert history[["loss_first", "loss_second"]].gt(0).all(axis=None)
    assert set(history["rule"]) == set(rules)
    samples = np.load(RUN / "samples.npz")
    assert samples["losses"].shape == (settings.histories, settings.observations, 2)
    assert samples["weights"].shape == (len(rules), settings.histories, settings.observations, 2)
    metrics = json.loads((RUN / "metrics.json").read_text())
    for key in ("random_disagreement", "recorded_disagreement"):
        table = pd.DataFrame(metrics[key])
        assert np.array_equal(table, table.T)
        assert (np.diag(table) == 0).all()
        assert table.loc["NequIP", "equation 3"] == table.loc["NeuralPDE", "PhysicsNeMo"] == 0
    assert metrics["recorded_steps"] == 8 - settings.settled + 1


def test_the_findings_are_those_of_the_run(audited):
    settings = load(audited)
    rules, count = list(settings.namesakes.rules), settings.namesakes.histories
    adapter.gathered(settings, "namesakes")
    audit = adapter.findings(settings, "namesakes")
    table = audit.tables()["namesakes"].set_index("rule")
    assert table.index.tolist() == rules
    assert table.loc["PhysicsNeMo", "equal decay, scales 1 : 100"] == pytest.approx(0.5)
    assert (
        table.loc["equation 3", "first stalls, second falls"]
        > 0.5
        > table.loc["authors 2023, original", "first stalls, second falls"]
    )
    for rule in rules:
        estimate = audit.order_disagreement(rule=rule)
        assert estimate.count == count
        assert (
            estimate.value
            == pytest.approx(audit.disagreement("random").loc["equation 4", rule])
            == table.loc[rule, "random_share"]
        )
    assert adapter.draw(settings, "namesakes") == ["namesakes"]
    assert (audited.parent / "figures" / "smoke" / "namesakes.pdf").exists()


def test_the_audit_repeats_itself(audited, tmp_path):
    run_room("namesakes", "--config", audited, "--output", tmp_path / "again")
    for name in ("history.csv", "metrics.json"):
        assert (tmp_path / "again" / name).read_bytes() == (RUN / name).read_bytes()


def test_only_opposite_orders_disagree():
    weights = {"one": np.array([[2.0, 1.0], [1.0, 2.0], [1.0, 1.0], [3.0, 0.0]])}
    weights["two"] = np.array([[0.1, 0.9], [0.4, 0.6], [0.0, 1.0], [1.0, 0.0]])
    assert disagreement(weights) == {"one": {"one": 0, "two": 0.25}, "two": {"one": 0.25, "two": 0}}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("scales", [2.0, 1.0], r"namesakes\.scales: must be the lowest and the highest value, got \[2.0, 1.0\]"),
        ("rules", {"equation 4": {"rule": "softadapt"}}, "namesakes: rules must name equation 3 and equation 4"),
        ("settled", 13, "namesakes: settled 13 exceeds the 12 observations or 16 steps"),
    ],
)
def test_a_wrong_setting_is_one_line(tiny_config, key, value, message):
    values = yaml.safe_load(tiny_config.read_text(encoding="utf-8"))
    values["namesakes"][key] = value
    tiny_config.write_text(yaml.safe_dump(values), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        load(tiny_config)


def test_a_wrong_option_of_a_rule_is_found_before_anything_is_written(tiny_config, tmp_path):
    values = yaml.safe_load(tiny_config.read_text(encoding="utf-8"))
    values["namesakes"]["rules"]["NequIP"]["betta"] = 1
    tiny_config.write_text(yaml.safe_dump(values), encoding="utf-8")
    with pytest.raises(UserError, match=r"namesakes\.rules\.NequIP: betta: unknown key, did you mean beta"):
        check(load(tiny_config), "tiny.yaml")
    with pytest.raises(UserError, match=r"namesakes\.rules\.NequIP: betta: unknown key"):
        run_room("namesakes", "--config", tiny_config, "--output", tmp_path / "run")
    assert not (tmp_path / "run").exists()
