"""The autoencoder's training against a second one in NumPy and double precision, equation by equation."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic
import torch
import yaml
from commands import run_room
from pydantic import ValidationError

from experiments.data import mnist
from experiments.runs.errors import UserError
from experiments.runs.files import sha256
from experiments.scale import load
from experiments.sparse_autoencoder import run as sparse_autoencoder
from experiments.sparse_autoencoder.run import _measure, hoyer_sparsity
from experiments.sparse_autoencoder.settings import SparseAutoencoderSettings
from experiments.weightings.replayed import Replayed
from models.sparse_autoencoder import SparseAutoencoder

PIXELS = 784
LIVELY = ["--hidden-units", "32", "--learning-rate", "1e-4"]
"""Options with which the code does not vanish on the made digits."""


class Adam:
    """Kingma and Ba (2015), algorithm 1."""

    def __init__(self, rate):
        self.rate, self.steps, self.first, self.second = rate, 0, {}, {}

    def move(self, parameters, gradients):
        self.steps += 1
        for name, gradient in gradients.items():
            self.first[name] = 0.9 * self.first.get(name, 0) + 0.1 * gradient
            self.second[name] = 0.999 * self.second.get(name, 0) + 0.001 * gradient**2
            first = self.first[name] / (1 - 0.9**self.steps)
            second = self.second[name] / (1 - 0.999**self.steps)
            parameters[name] = parameters[name] - self.rate * first / (np.sqrt(second) + 1e-8)


def forward(parameters, images):
    before = images @ parameters["encoder.weight"].T + parameters["encoder.bias"]
    code = np.maximum(before, 0)
    outputs = 1 / (1 + np.exp(-(code @ parameters["decoder.weight"].T + parameters["decoder.bias"])))
    return code, outputs


def losses(images, code, outputs):
    """Squared error summed over an image, and L1 norm of its code, means over the images."""
    return np.array([((outputs - images) ** 2).sum(1).mean(), np.abs(code).sum(1).mean()])


def gradients(parameters, images, weights):
    """Of weights[0] * error + weights[1] * norm, by hand."""
    code, outputs = forward(parameters, images)
    inner = weights[0] * 2 * (outputs - images) / len(images) * outputs * (1 - outputs)
    back = (inner @ parameters["decoder.weight"] + weights[1] / len(images)) * (code > 0)
    return {
        "decoder.weight": inner.T @ code,
        "decoder.bias": inner.sum(0),
        "encoder.weight": back.T @ images,
        "encoder.bias": back.sum(0),
    }


def softadapt_weights(seen):
    """Equation 4 with beta 0.1 and the difference of the last two losses; equal before there are two."""
    if len(seen) < 2:
        return np.array([0.5, 0.5])
    rates = 0.1 * (seen[-1] - seen[-2])
    powers = seen[-1] * np.exp(rates - rates.max())
    return powers / powers.sum()


def by_root_of_size(seen):
    """The rule size_and_rate with exponent 1/2 and no rate."""
    powers = np.sqrt(seen[-1]) if len(seen) > 1 else np.ones(2)
    return powers / powers.sum()


def rising(seen):
    """Lambda rises to 0.001 over two epochs of six steps."""
    return np.array([1.0, 0.001 * min(1, len(seen) / 12)])


ALL_CHANGED = {"hidden_units": 24, "batch_size": 70, "learning_rate": 2e-4, "decoder": "unit_norm"}
"""A variant that differs in every setting."""

TRAINING = {"hidden_units": 32, "batch_size": 50, "learning_rate": 1e-4, "decoder": "free"}
"""The settings of the other methods."""


def fixed_lambda(seen):
    return np.array([1.0, 0.001])


METHODS = {
    "lambda-0.001": ((1 / PIXELS, 1), fixed_lambda, TRAINING),
    "warm-up-2.lambda-0.001": ((1 / PIXELS, 1), rising, TRAINING),
    "equal": ((1, 1), lambda seen: np.array([1.0, 1.0]), TRAINING),
    "softadapt": ((1, 1), softadapt_weights, TRAINING),
    "softadapt-mean-error": ((1 / PIXELS, 1), softadapt_weights, TRAINING),
    "softadapt-both-means": ((1 / PIXELS, 1 / 32), softadapt_weights, TRAINING),
    "units-0.1": ((0.1, 1), softadapt_weights, TRAINING),
    "size-0.5-rate-0": ((1, 1), by_root_of_size, TRAINING),
    "unit-norm.softadapt": ((1, 1), softadapt_weights, TRAINING | {"decoder": "unit_norm"}),
    "all-changed.lambda-0.001": ((1 / PIXELS, 1), fixed_lambda, ALL_CHANGED),
    "all-changed.softadapt-both-means": ((1 / PIXELS, 1 / 24), softadapt_weights, ALL_CHANGED),
}
"""Method -> factors on the sums that its reading of the terms asks for, its weights by the losses that it has seen, and the
settings that it trains with."""


def unit_norm(parameters):
    weight = parameters["decoder.weight"]
    parameters["decoder.weight"] = weight / np.sqrt((weight**2).sum(0))


def first_epoch(settings, images, scales, rule, training, seed=10):
    """The first row of the history, computed anew, and the weights of every step."""
    torch.manual_seed(seed)
    model = SparseAutoencoder(PIXELS, training["hidden_units"])
    parameters = {name: value.double().numpy() for name, value in model.state_dict().items()}
    scales = np.array(scales)
    normalized = training["decoder"] == "unit_norm"
    if normalized:
        unit_norm(parameters)
    order = torch.randperm(settings.train_images).numpy()
    optimizer, seen, rows, used = Adam(training["learning_rate"]), [], [], []
    for start in range(0, len(order), training["batch_size"]):
        batch = images[order[start : start + training["batch_size"]]]
        terms = losses(batch, *forward(parameters, batch))
        seen.append(scales * terms)
        weights = rule(seen)
        used.append(weights)
        rows.append((weights @ seen[-1], terms[0] / PIXELS, terms[1]))
        optimizer.move(parameters, gradients(parameters, batch, weights * scales))
        if normalized:
            unit_norm(parameters)
    row = dict(zip(("train_weighted_loss", "train_mse", "train_l1"), np.mean(rows, axis=0), strict=True))
    validation = images[-settings.validation_images :]
    code, outputs = forward(parameters, validation)
    error, norm = losses(validation, code, outputs)
    row |= {"validation_mse": error / PIXELS, "validation_l1": norm, "validation_active_share": (code > 0).mean()}
    lengths = np.sqrt((parameters["decoder.weight"] ** 2).sum(0))
    row |= {"validation_l1_decoder": (code * lengths).sum(1).mean(), "validation_hoyer": hoyer(code)}
    used = np.array(used)
    return row | dict(zip(("weight_reconstruction", "weight_sparsity"), weights * scales, strict=True)), used


def hoyer(code):
    """Mean of (sqrt(n) - L1 / L2) / (sqrt(n) - 1), 1 for zeros."""
    root, norm, length = code.shape[1] ** 0.5, np.abs(code).sum(1), np.sqrt((code**2).sum(1))
    values = [(root - a / b) / (root - 1) if b else 1.0 for a, b in zip(norm, length, strict=True)]
    return np.mean(values)


@pytest.fixture
def config(tmp_path, tiny_config):
    """The tiny config with the methods that it lacks."""
    values = yaml.safe_load(tiny_config.read_text(encoding="utf-8"))
    section = values["sparse_autoencoder"]
    equal = {"rule": "fixed", "weights": {"reconstruction": 1.0, "sparsity": 1.0}}
    section["methods"]["equal"] = {"reconstruction": "sum", "weighting": equal}
    means = {"reconstruction": "mean", "sparsity": "mean", "weighting": {"rule": "softadapt"}}
    section["methods"]["softadapt-both-means"] = means
    section["variants"]["all-changed"] = ALL_CHANGED
    section["variant_methods"] += ["softadapt-both-means"]
    tiny_config.write_text(yaml.safe_dump(values), encoding="utf-8")
    return tiny_config


@pytest.fixture
def train(tmp_path, config, made_mnist, monkeypatch):
    """A function that trains one method, and returns the run folder. The working directory is empty."""
    monkeypatch.chdir(tmp_path)
    judge = tmp_path / "judge"
    run_room("digit_classifier", "--config", config, "--output", judge)

    def run(method, *words, folder="run"):
        options = ["--config", config, "--output", tmp_path / folder, "--classifier", judge, "--method", method]
        run_room("sparse_autoencoder", *options, *words)
        return tmp_path / folder

    return run


def images_of(folder):
    return mnist.load(folder, "train")[0].reshape(-1, PIXELS) / 255


@pytest.mark.whole
@pytest.mark.parametrize("method", METHODS)
def test_the_first_epoch_is_that_of_a_second_implementation(train, config, made_mnist, method):
    expected, _ = first_epoch(load(config).sparse_autoencoder, images_of(made_mnist), *METHODS[method])
    folder = train(method, *LIVELY)
    row = pd.read_csv(folder / "history.csv")[list(expected)].iloc[0].to_dict()
    assert row == pytest.approx(expected, rel=2e-5)
    assert row["validation_active_share"] > 0.1
    norms = torch.load(folder / "weights.pt", weights_only=True)["decoder.weight"].norm(dim=0)
    training = METHODS[method][2]
    assert len(norms) == training["hidden_units"]
    is_one = torch.allclose(norms, torch.ones_like(norms), rtol=1e-5)
    assert is_one == (training["decoder"] == "unit_norm")


def test_the_decoder_has_norm_one_after_every_step(train, monkeypatch):
    """And from the start: it is scaled once before the first step and once after each of six in four epochs."""
    norms = []
    scaled = SparseAutoencoder.normalize_decoder

    def observed(model):
        scaled(model)
        norms.append(model.decoder_norms.detach())

    monkeypatch.setattr(SparseAutoencoder, "normalize_decoder", observed)
    train("unit-norm.softadapt", *LIVELY)
    assert len(norms) == 1 + 4 * 6
    torch.testing.assert_close(torch.stack(norms), torch.ones(25, 32))
    train("softadapt-mean-error", *LIVELY, folder="free")
    assert len(norms) == 25


# --- weights that are kept, and replayed -----------------------------------------------------------------------------


def replayed_run(train, seed):
    """Train SoftAdapt where the workflow does; return the weights that it kept."""
    folder = train(
        "softadapt", *LIVELY, "--seed", seed, folder=f"results/smoke/runs/sparse_autoencoder/softadapt/seed-{seed}"
    )
    return np.load(folder / "samples.npz")["weights"]


def test_a_run_that_is_replayed_keeps_the_weights_of_every_step(train, config, made_mnist):
    """Four epochs of six steps; those of the first one as a second implementation has them."""
    kept = replayed_run(train, 11)
    assert (kept.shape, kept.dtype) == ((24, 2), np.float32)
    assert kept[0].tolist() == [0.5, 0.5]
    _, weights = first_epoch(load(config).sparse_autoencoder, images_of(made_mnist), *METHODS["softadapt"], seed=11)
    np.testing.assert_allclose(kept[:6], weights, rtol=1e-4)
    history = pd.read_csv("results/smoke/runs/sparse_autoencoder/softadapt/seed-11/history.csv")
    ends = history[["weight_reconstruction", "weight_sparsity"]].to_numpy()
    np.testing.assert_array_equal(ends.astype(np.float32), kept[5::6])
    other = train("softadapt-mean-error", *LIVELY)
    assert "weights" not in np.load(other / "samples.npz").files


@pytest.mark.parametrize(("seed", "next_one"), [(10, 11), (11, 10)])
def test_a_replay_takes_the_weights_of_the_next_seed_step_by_step(
    train, config, made_mnist, monkeypatch, seed, next_one
):
    """Its own losses play no part. After the last seed comes the first."""
    schedules = {each: replayed_run(train, each) for each in (10, 11)}
    assert not np.array_equal(schedules[10], schedules[11])
    used = []
    forward_of = Replayed.forward

    def observed(rule, terms):
        total = forward_of(rule, terms)
        used.append(rule.weights.numpy().copy())
        return total

    monkeypatch.setattr(Replayed, "forward", observed)
    folder = train("softadapt-yoked", *LIVELY, "--seed", seed)
    np.testing.assert_array_equal(np.stack(used), schedules[next_one])
    schedule = schedules[next_one].astype(float)
    method = ((1, 1), lambda seen: schedule[len(seen) - 1], TRAINING)
    expected, _ = first_epoch(load(config).sparse_autoencoder, images_of(made_mnist), *method, seed=seed)
    row = pd.read_csv(folder / "history.csv")[list(expected)].iloc[0].to_dict()
    assert row == pytest.approx(expected, rel=2e-5)


def test_a_replay_of_another_length_is_refused(train):
    replayed_run(train, 11)
    for words in (["--epochs", "6", "--report-epochs", "[1, 2, 3, 6]"], ["--batch-size", "64"]):
        with pytest.raises(
            UserError, match=r"samples\.npz: holds the weights of 24 steps, and this run takes \d+; give"
        ):
            train("softadapt-yoked", *LIVELY, *words)


def test_a_replay_of_other_weights_is_another_run(train):
    kept = replayed_run(train, 11)
    train("softadapt-yoked", *LIVELY)
    path = Path("results/smoke/runs/sparse_autoencoder/softadapt/seed-11/samples.npz")
    arrays = dict(np.load(path))
    np.savez(path, **arrays | {"weights": kept[::-1]})
    with pytest.raises(UserError, match="they differ in schedule"):
        train("softadapt-yoked", *LIVELY)


@pytest.mark.parametrize("damage", ["missing", "no weights", "no archive", "cut"])
def test_a_replay_without_weights_is_one_line_that_says_what_to_run(train, tmp_path, damage):
    path = Path("results/smoke/runs/sparse_autoencoder/softadapt/seed-11/samples.npz")
    path.parent.mkdir(parents=True)
    np.savez(path, originals=np.zeros((10, 784)))
    if damage == "missing":
        path.unlink()
    elif damage != "no weights":
        path.write_bytes(b"no archive" if damage == "no archive" else path.read_bytes()[:1000])
    with pytest.raises(UserError) as error:
        train("softadapt-yoked", *LIVELY)
    assert str(error.value) == (
        f"{path}: no weights to replay; run first: python -m experiments.sparse_autoencoder --method softadapt --seed 11"
    )
    assert not (tmp_path / "run").exists()


# --- yardsticks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_hoyer_sparsity_in_closed_form(dtype):
    """One unit of n: L1 = L2. k equal ones of n: L1 / L2 = sqrt(k). (3, 4) among nine: (3 - 7 / 5) / 2."""
    rows = [[0.0] * 9, [0, 7, *[0] * 7], [0.3] * 9, [2, 2, 2, 2, *[0] * 5], [3, 4, *[0] * 7], [1e-10, *[0] * 8]]
    rows += [[3e-30, 4e-30, *[0] * 7]]  # whose squares are 0 in float32
    found = hoyer_sparsity(torch.tensor(rows, dtype=dtype))
    assert found.tolist() == pytest.approx([1, 1, 0, 0.5, 0.8, 1, 0.8], abs=1e-6)
    scaled = hoyer_sparsity(1000 * torch.tensor(rows, dtype=dtype))
    torch.testing.assert_close(scaled, found, rtol=0, atol=1e-6)


def test_the_norm_times_that_of_the_decoder_is_the_same_however_units_are_scaled():
    """h -> c h, V -> V / c leave the reconstruction as it is; the L1 norm of the code is c times as large."""
    torch.manual_seed(0)
    model, images = SparseAutoencoder(PIXELS, 16).double(), torch.rand(40, PIXELS, dtype=torch.float64)
    before = _measure(model, images, "test")
    factors = torch.rand(16, dtype=torch.float64) + 0.5
    with torch.no_grad():
        for parameter in (model.encoder.weight, model.encoder.bias):
            parameter.mul_(factors if parameter.ndim == 1 else factors[:, None])
        model.decoder.weight.div_(factors)
    after = _measure(model, images, "test")
    same = ("test_mse", "test_l1_decoder", "test_active_share")
    assert [after[name] for name in same] == pytest.approx([before[name] for name in same])
    assert after["test_l1"] != pytest.approx(before["test_l1"], rel=0.01)


def test_measures_of_a_set_are_means_over_its_images_however_they_are_split(monkeypatch):
    torch.manual_seed(0)
    model, images = SparseAutoencoder(PIXELS, 16), torch.rand(50, PIXELS)
    whole = _measure(model, images, "test")
    assert set(whole) == {f"test_{name}" for name in ("mse", "l1", "l1_decoder", "hoyer", "active_share")}
    code, outputs = (part.detach().double().numpy() for part in reversed(model(images)))
    lengths = model.decoder.weight.detach().double().norm(dim=0).numpy()
    expected = {"test_mse": ((outputs - images.numpy()) ** 2).mean(), "test_l1": code.sum(1).mean()}
    expected |= {"test_l1_decoder": (code * lengths).sum(1).mean(), "test_hoyer": hoyer(code)}
    assert whole == pytest.approx(expected | {"test_active_share": (code > 0).mean()}, rel=1e-5)
    monkeypatch.setattr(sparse_autoencoder, "MEASURED_AT_ONCE", 7)
    assert _measure(model, images, "test") == pytest.approx(whole, rel=1e-5)


# --- settings --------------------------------------------------------------------------------------------------------


def section(**changes):
    """The section of the made scale, which has every kind of method, with other values."""
    return SparseAutoencoderSettings.model_validate(synthetic.autoencoder_settings() | changes)


def test_methods_are_named_by_what_they_are():
    methods = section().all_methods()
    assert list(methods)[:6] == ["lambda-1", "lambda-0", "lambda-0.01", "lambda-0.0001", "lambda-0.1", "lambda-0.001"]
    assert methods["lambda-0.01"].weighting == {"rule": "fixed", "weights": {"reconstruction": 1.0, "sparsity": 0.01}}
    assert methods["lambda-0.01"].reconstruction == "mean"
    weights = {"reconstruction": 1.0, "sparsity": 0.1}
    rule = {"rule": "warm_up", "weights": weights, "warmed": "sparsity", "epochs": 5}
    assert methods["warm-up-5.lambda-0.1"].weighting == rule
    assert methods["warm-up-5.lambda-0.1"].reconstruction == "mean"
    in_units = methods["units-0.01"]
    assert (in_units.units, in_units.reconstruction, in_units.weighting) == (0.01, "sum", {"rule": "softadapt"})
    cell = methods["size-2-rate-0.1"]
    assert (cell.reconstruction, cell.weighting) == ("sum", {"rule": "size_and_rate", "size": 2.0, "rate": 0.1})
    assert methods["unit-norm.softadapt"] == methods["softadapt"]
    assert methods["unit-norm.lambda-0.01"] == methods["lambda-0.01"]
    assert [units for name, method in methods.items() if (units := method.units) != 1] == [10, 0.1, 0.01]


def test_names_hold_no_sign():
    methods = section(lambdas=[1e-6], plane={"sizes": [-1.0, 0.5], "rates": [-0.1, 1e6]}, unit_factors=[1e-6]).names()
    assert {"lambda-1e-06", "units-1e-06", "size-minus-1-rate-minus-0.1", "size-0.5-rate-1e06"} <= set(methods)


def test_all_seeds_train_the_main_comparison_and_the_first_few_the_rest():
    settings = section()
    thorough = [f"lambda-{value:g}" for value in synthetic.LAMBDAS] + ["softadapt", "softadapt-yoked"]
    thorough += [f"warm-up-{epochs}.lambda-{value:g}" for epochs in (10, 5) for value in (0.1, 0.0001)]
    for name in settings.names():
        assert settings.seeds_of(name) == (list(range(10, 17)) if name in thorough else list(range(10, 15))), name
    groups = settings.by_seeds()
    assert list(groups) == [tuple(range(10, 17)), tuple(range(10, 15))]
    assert sorted(groups[tuple(range(10, 17))]) == sorted(thorough)
    assert sorted([*groups[tuple(range(10, 17))], *groups[tuple(range(10, 15))]]) == sorted(settings.names())
    assert list(section(few_seeds=7).by_seeds()) == list(section(few_seeds=9).by_seeds()) == [tuple(range(10, 17))]


def test_a_replay_follows_the_method_that_it_replays_at_the_next_seed():
    settings = section()
    assert [name for name in settings.names() if settings.follows(name)] == ["softadapt-yoked"]
    assert settings.follows("softadapt-yoked") == ["softadapt"]
    assert [settings.seed_replayed("softadapt-yoked", seed) for seed in (10, 13, 16, 99)] == [11, 14, 10, 10]
    assert [name for name in settings.names() if settings.is_replayed(name)] == ["softadapt"]


def test_a_variant_changes_what_it_names():
    settings = section(variants={"wide": {"hidden_units": 99}, "fast": {"learning_rate": 0.5, "batch_size": 3}})
    main = {"hidden_units": 50, "batch_size": 10, "learning_rate": 0.001, "decoder": "free"}
    for name in ("softadapt", "lambda-0.001", "warm-up-5.lambda-0.1", "units-10", "size-1-rate-0.1"):
        assert settings.training(name) == main
    assert settings.training("wide.softadapt") == main | {"hidden_units": 99}
    assert settings.training("fast.lambda-0.01") == main | {"learning_rate": 0.5, "batch_size": 3}
    assert "unit-norm.softadapt" not in settings.names()


def identities(settings):
    return {name: settings.identity({"method": name}, None) for name in settings.names()}


def test_a_run_depends_on_its_method_and_on_what_all_share():
    before = identities(section())
    other_methods = {
        name: synthetic.autoencoder_settings()["methods"][name] for name in ("softadapt", "softadapt-yoked")
    }
    other = section(
        methods=other_methods,
        lambdas=[0.001],
        warm_ups=[10],
        unit_factors=[10.0],
        plane={"sizes": [0.0], "rates": [1.0]},
        seeds=[3, 4],
        few_seeds=1,
        variants={"unit-norm": {"decoder": "unit_norm"}, "wide": {"hidden_units": 99}},
    )
    after = identities(other)
    for name in after.keys() & before.keys():
        assert after[name] == before[name], name
    assert len(after.keys() & before.keys()) == 10
    for key, value in (("epochs", 31), ("train_images", 99), ("hidden_units", 51), ("decoder", "unit_norm")):
        assert identities(section(**{key: value}))["softadapt"] != before["softadapt"]
    variant = identities(section(variants={"unit-norm": {"batch_size": 11}}))
    assert variant["unit-norm.softadapt"] != before["unit-norm.softadapt"]
    assert variant["softadapt"] == before["softadapt"]


def test_whether_its_weights_are_kept_is_part_of_a_run():
    methods = synthetic.autoencoder_settings()["methods"]
    alone = {name: method for name, method in methods.items() if name != "softadapt-yoked"}
    before, after = identities(section()), identities(section(methods=alone, every_seed=["softadapt"]))
    assert before["softadapt"] == after["softadapt"] | {"replayed": True}
    assert after["softadapt"]["replayed"] is False
    assert [name for name in after if before[name] != after[name]] == ["softadapt"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unit_factors": [1.0000001, 1.0000002]}, "unit_factors must differ in their first six digits"),
        ({"plane": {"sizes": [1.0000001, 1.0000002]}}, "plane.sizes must differ in their first six digits"),
        ({"plane": {"rates": [0.1, 0.10000001]}}, "plane.rates must differ in their first six digits"),
        (
            {"variant_methods": ["softadapt-yoked"]},
            "variant_methods: softadapt-yoked replays weights of the main settings",
        ),
    ],
)
def test_settings_that_would_mix_up_runs_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        section(**changes)


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({}, set()),
        ({"unit_factors": []}, {"where_it_lands"}),
        ({"plane": {"sizes": [], "rates": [0.1]}}, {"autoencoder_plane"}),
        ({"plane": {"sizes": [0.1], "rates": []}}, {"autoencoder_plane"}),
    ],
)
def test_figures_without_runs_are_not_drawn(changes, missing):
    assert section(**changes).not_drawn() == missing


# --- data and divergence ---------------------------------------------------------------------------------------------


def test_the_last_digits_choose_settings_and_train_nothing(train, made_mnist, monkeypatch):
    """Other digits in their place change what is measured on them, and nothing else."""
    before = pd.read_csv(train("lambda-0.001", *LIVELY) / "history.csv")
    path = made_mnist / "mnist" / "train-images-idx3-ubyte"
    content = path.read_bytes()
    size = 100 * PIXELS
    path.write_bytes(content[:-size] + bytes(255 - byte for byte in content[-size:]))
    monkeypatch.setitem(mnist.CHECKSUMS, path.name, sha256(path))
    after = pd.read_csv(train("lambda-0.001", *LIVELY, folder="other") / "history.csv")
    measured = [name for name in before if name.startswith("validation_")]
    assert (before[measured[:2]] != after[measured[:2]]).all(axis=None)
    pd.testing.assert_frame_equal(before.drop(columns=measured), after.drop(columns=measured), check_exact=True)


def test_a_run_that_diverges_is_finished_and_says_so(train):
    folder = train("softadapt", "--learning-rate", "1e38")
    metrics = json.loads((folder / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert metrics["verdict"] == "diverged"
    assert "test_pcc" not in metrics
    history = pd.read_csv(folder / "history.csv")
    assert len(history) == 1
    assert not np.isfinite(history.to_numpy(dtype=float)).all()
    before = (folder / "provenance.json").read_bytes()
    train("softadapt", "--learning-rate", "1e38")
    assert (folder / "provenance.json").read_bytes() == before
