"""The autoencoder's training against a second one in NumPy and double precision, equation by equation."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from commands import run_room

from experiments.data import mnist
from experiments.runs.files import sha256
from experiments.scale import load
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


METHODS = {
    "lambda-0.001": (1 / PIXELS, lambda seen: np.array([1.0, 0.001])),
    "equal": (1.0, lambda seen: np.array([1.0, 1.0])),
    "softadapt": (1.0, softadapt_weights),
    "softadapt-mean-error": (1 / PIXELS, softadapt_weights),
}
"""Method -> factor on the summed error that its reading asks for, and its weights by the losses that it has seen."""


def first_epoch(settings, images, method):
    """The first row of the history, computed anew."""
    scale, rule = METHODS[method]
    torch.manual_seed(0)
    model = SparseAutoencoder(PIXELS, settings.hidden_units)
    parameters = {name: value.double().numpy() for name, value in model.state_dict().items()}
    order = torch.randperm(settings.train_images).numpy()
    optimizer, seen, rows = Adam(settings.learning_rate), [], []
    for start in range(0, len(order), settings.batch_size):
        batch = images[order[start : start + settings.batch_size]]
        error, norm = losses(batch, *forward(parameters, batch))
        seen.append(np.array([scale * error, norm]))
        weights = rule(seen)
        rows.append((weights @ seen[-1], error / PIXELS, norm))
        optimizer.move(parameters, gradients(parameters, batch, weights * [scale, 1]))
    row = dict(zip(("train_weighted_loss", "train_mse", "train_l1"), np.mean(rows, axis=0), strict=True))
    validation = images[-settings.validation_images :]
    code, outputs = forward(parameters, validation)
    error, norm = losses(validation, code, outputs)
    row |= {"validation_mse": error / PIXELS, "validation_l1": norm, "validation_active_share": (code > 0).mean()}
    return row | {"weight_reconstruction": weights[0] * scale, "weight_sparsity": weights[1]}


@pytest.fixture
def train(tmp_path, tiny_config, made_mnist, monkeypatch):
    """A function that trains one method, and returns the run folder."""
    judge = tmp_path / "judge"
    run_room("digit_classifier", "--config", tiny_config, "--output", judge)

    def run(method, *words, folder="run"):
        options = ["--config", tiny_config, "--output", tmp_path / folder, "--classifier", judge, "--method", method]
        run_room("sparse_autoencoder", *options, *words)
        return tmp_path / folder

    return run


@pytest.mark.parametrize("method", METHODS)
def test_the_first_epoch_is_that_of_a_second_implementation(train, tiny_config, made_mnist, method):
    images = mnist.load(made_mnist, "train")[0].reshape(-1, PIXELS) / 255
    settings = load(tiny_config).sparse_autoencoder.model_copy(update={"hidden_units": 32, "learning_rate": 1e-4})
    expected = first_epoch(settings, images, method)
    history = pd.read_csv(train(method, *LIVELY) / "history.csv")
    row = history[list(expected)].iloc[0].to_dict()
    assert row == pytest.approx(expected, rel=2e-5)
    assert row["validation_active_share"] > 0.1


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
