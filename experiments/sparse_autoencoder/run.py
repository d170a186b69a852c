"""Sparse autoencoder on MNIST: a fixed lambda, or SoftAdapt's weights, between error and sparsity (section 4.3).

One process trains one method from one seed. Methods of the same seed start from the same weights and see the digits in
the same order. Besides the weighted loss, which differs in meaning from method to method, every epoch records what is
comparable: the mean squared error per pixel, and the sparsity of the code by several yardsticks (`_measure`).
"""

import hashlib
import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.data import mnist
from experiments.metrics.classification import judge_identity, load_classifier, percent_correctly_classified
from experiments.runs.command_line import Request
from experiments.runs.errors import UserError
from experiments.runs.folder import Run
from experiments.runs.loop import Loop
from experiments.runs.room import run_folder
from experiments.weightings import build
from models.sparse_autoencoder import COMPONENTS, SparseAutoencoder, loss_components

MEASURED_AT_ONCE = 500
"""Images per forward pass when a set is measured: few enough for the activations to stay in the cache."""

WEIGHTS = "weights"
"""The array of samples.npz that holds the weights (steps, 2) of every step, of a method that another one replays."""

SHOWN_DIGITS = 10
"""The first test image of each digit is kept at every report epoch, for Figure 6."""


def check(scale: Any, source: str) -> None:
    """Build every rule once.

    Raises:
        UserError: one line naming `source` and the key.
    """
    for name, method in scale.sparse_autoencoder.all_methods().items():
        build(method.weighting, COMPONENTS, f"{source}: sparse_autoencoder.methods.{name}.weighting")


def run(request: Request) -> None:
    """Train one method from one seed and write the run folder.

    A run whose losses or weights are no longer finite ends with that epoch and says so: its verdict is ``diverged``.
    """
    settings, name = request.settings, request.variant["method"]
    method = settings.all_methods()[name]
    training = settings.training(name)
    steps = -(-settings.train_images // training["batch_size"])
    schedule = _replayed_weights(request, method.replays, settings.epochs * steps)
    replayed: dict[str, Any] = (
        {} if schedule is None else {"schedule": hashlib.sha256(schedule.numpy().tobytes()).hexdigest()[:16]}
    )
    folder = Run.of(request, extendable=True, judge=judge_identity(request.classifier), **replayed)
    if folder.finished:
        return
    folder.data = mnist.checksums(request.scale.data_dir)
    classifier = load_classifier(request.classifier)
    images, image_labels = mnist.load(request.scale.data_dir, "train")
    train = torch.from_numpy(images[: settings.train_images].reshape(-1, 784).copy())
    last = slice(len(images) - settings.validation_images, None)
    test_images, test_labels = mnist.load(request.scale.data_dir, "test")
    validation, test = _as_inputs(images[last]), _as_inputs(test_images[: settings.test_images])
    labels = {
        "validation": torch.from_numpy(image_labels[last].copy()),
        "test": torch.from_numpy(test_labels[: settings.test_images].copy()),
    }
    shown = _first_of_each_digit(labels["test"])

    torch.manual_seed(request.seed)
    model = SparseAutoencoder(train.shape[1], training["hidden_units"])
    unit_norm = training["decoder"] == "unit_norm"
    if unit_norm:
        model.normalize_decoder()
    source = f"sparse_autoencoder.methods.{name}.weighting"
    balance = build(method.weighting, COMPONENTS, source, steps, model.encoder.parameters(), schedule)
    optimizer = torch.optim.Adam([*model.parameters(), *balance.parameters()], training["learning_rate"], fused=True)
    per_pixel = 1 / train.shape[1]
    scales = {
        "reconstruction": method.units * (per_pixel if method.reconstruction == "mean" else 1.0),
        "sparsity": 1 / training["hidden_units"] if method.sparsity == "mean" else 1.0,
    }
    loop = Loop(
        folder,
        {"model": model, "balance": balance, "optimizer": optimizer},
        description=f"autoencoder {name} seed {request.seed}",
        epochs=settings.epochs,
        items=len(train),
        batch_size=training["batch_size"],
    )
    if settings.is_replayed(name):
        kept = loop.samples.get(WEIGHTS, torch.empty(0, len(COMPONENTS)))
        loop.samples[WEIGHTS] = torch.full((settings.epochs * steps, len(COMPONENTS)), math.nan)
        loop.samples[WEIGHTS][: len(kept)] = kept  # fewer rows where a finished run goes on to more epochs
    with loop.running(), _denormals_as_zero():
        for epoch in loop.epochs():
            for batch in loop.batches():
                inputs = train.index_select(0, batch).float().div_(255)
                terms = loss_components(inputs, *model(inputs))
                loss = balance({key: scales[key] * term for key, term in terms.items()})
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if unit_norm:
                    model.normalize_decoder()
                if WEIGHTS in loop.samples:
                    loop.samples[WEIGHTS][loop.steps_done] = balance.get_buffer("weights")
                loop.add({"loss": loss, "error": terms["reconstruction"], "l1": terms["sparsity"]})
            means, (first, second) = loop.means(), balance.get_buffer("weights").tolist()
            row = {
                "train_weighted_loss": means["loss"],
                "train_mse": means["error"] * per_pixel,
                "train_l1": means["l1"],
            }
            row |= _measure(model, validation, "validation")
            row |= {
                "weight_reconstruction": first * scales["reconstruction"],
                "weight_sparsity": second * scales["sparsity"],
            }
            diverged = not all(map(math.isfinite, row.values()))
            if epoch in settings.report_epochs and not diverged:
                row |= _measure(model, test, "test")
                with torch.no_grad():
                    reconstructions = {"validation": model(validation)[0], "test": model(test)[0]}
                loop.samples[f"epoch_{epoch}"] = reconstructions["test"][shown]
                if epoch < settings.epochs:  # settings are chosen at the end of training
                    del reconstructions["validation"]
                for part, flat in reconstructions.items():
                    row[f"{part}_pcc"] = percent_correctly_classified(classifier, _as_images(flat), labels[part])
            loop.end_epoch(row, diverged=diverged)
    final = {key: value for key, value in folder.history[-1].items() if key != "epoch" and math.isfinite(value)}
    diverged = len(final) < len(folder.history[-1]) - 1
    arrays = {key: np.asarray(value, dtype=np.float32) for key, value in loop.samples.items()}
    folder.finish(
        final | {"verdict": "diverged" if diverged else "trained"},
        samples=arrays | {"originals": test[shown].numpy()},
        weights=model.state_dict(),
        times={"train": loop.seconds},
    )


@contextmanager
def _denormals_as_zero() -> Iterator[None]:
    """Inside, numbers below the smallest normal one are zero.

    Adam's means decay to such numbers at pixels that stay black. They slow a step down by half and change no weight.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _first_of_each_digit(labels: Tensor) -> Tensor:
    """Positions (10,) of the first image of each digit among labels (N,)."""
    missing = set(range(SHOWN_DIGITS)) - set(labels.tolist())
    if missing:
        raise UserError(
            f"sparse_autoencoder.test_images {len(labels)}: the first test digits lack "
            f"{', '.join(map(str, sorted(missing)))}, and one of each is shown; raise it (--test-images 100)"
        )
    return torch.stack([(labels == digit).nonzero()[0, 0] for digit in range(SHOWN_DIGITS)])


def _as_inputs(images: Any) -> Tensor:
    """Digits uint8 (N, 28, 28) -> float32 (N, 784) in [0, 1]."""
    return torch.from_numpy(images.reshape(len(images), -1).copy()).float() / 255


def _as_images(flat: Tensor) -> Tensor:
    """(N, 784) -> (N, 1, 28, 28)."""
    return flat.unflatten(-1, (1, 28, 28))


def _measure(model: SparseAutoencoder, images: Tensor, name: str) -> dict[str, float]:
    """Error and sparsity over a set (N, 784): means over its images.

    ``mse`` is the squared error per pixel, ``l1`` the L1 norm of the code, ``l1_decoder`` the same with every unit times
    the norm of its decoder column, which no rescaling of a unit changes, ``hoyer`` Hoyer's (2004) sparsity, 0 for equal
    activations and 1 for a single one or none, and ``active_share`` the share of units above 0.
    """
    sums: dict[str, float] = {}
    with torch.no_grad():
        norms = model.decoder_norms
        for batch in images.split(MEASURED_AT_ONCE):
            reconstructions, code = model(batch)
            losses = loss_components(batch, reconstructions, code)
            values = {
                "mse": losses["reconstruction"] / images.shape[1],
                "l1": losses["sparsity"],
                "l1_decoder": (code @ norms).mean(),
                "hoyer": hoyer_sparsity(code).mean(),
                "active_share": (code > 0).float().mean(),
            }
            for key, value in values.items():
                sums[key] = sums.get(key, 0.0) + len(batch) / len(images) * value.item()
    return {f"{name}_{key}": value for key, value in sums.items()}


def hoyer_sparsity(code: Tensor) -> Tensor:
    """Hoyer's sparsity (N,) of codes (N, n): (sqrt(n) - L1 / L2) / (sqrt(n) - 1); 1 for a code of zeros.

    Source: Hoyer 2004, Journal of Machine Learning Research 5:1457, section 3.1.
    """
    root, tiny = math.sqrt(code.shape[1]), torch.finfo(code.dtype).tiny
    code = code / code.abs().amax(1, keepdim=True).clamp(min=tiny)  # squares of small activations would vanish
    quotient = code.abs().sum(1) / code.norm(dim=1).clamp(min=tiny)
    return torch.where(quotient > 0, (root - quotient) / (root - 1), 1.0)


def _replayed_weights(request: Request, method: str, steps: int) -> Tensor | None:
    """The weights (steps, 2) of every step of the run that this one replays; None where it replays none.

    Raises:
        UserError: if that run is not there, is damaged, or took another number of steps.
    """
    if not method:
        return None
    seed = request.settings.seed_replayed(request.variant["method"], request.seed)
    path = run_folder(request.scale.scale, request.room, method, seed) / "samples.npz"
    remedy = f"python -m experiments.{request.room} --method {method} --seed {seed}"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            weights = torch.from_numpy(arrays[WEIGHTS])
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: no weights to replay; run first: {remedy}") from error
    if weights.shape != (steps, len(COMPONENTS)):
        raise UserError(
            f"{path}: holds the weights of {len(weights)} steps, and this run takes {steps}; give both runs the same "
            "epochs, train_images and batch_size"
        )
    return weights
