"""Sparse autoencoder on MNIST: a fixed lambda, or SoftAdapt's weights, between error and sparsity (section 4.3).

One process trains one method from one seed. Methods of the same seed start from the same weights and see the digits in
the same order. Besides the weighted loss, which differs in meaning from method to method, every epoch records what is
comparable: the mean squared error per pixel, the L1 norm of the code, and the share of active hidden units.
"""

import math
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
from experiments.weightings import build
from models.sparse_autoencoder import COMPONENTS, SparseAutoencoder, loss_components

MEASURED_AT_ONCE = 500
"""Images per forward pass when a set is measured: few enough for the activations to stay in the cache."""

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
    folder = Run.of(request, extendable=True, judge=judge_identity(request.classifier))
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
    model = SparseAutoencoder(train.shape[1], settings.hidden_units)
    steps = -(-len(train) // settings.batch_size)
    source = f"sparse_autoencoder.methods.{name}.weighting"
    balance = build(method.weighting, COMPONENTS, source, steps, shared=model.encoder.parameters())
    optimizer = torch.optim.Adam([*model.parameters(), *balance.parameters()], settings.learning_rate, fused=True)
    per_pixel = 1 / train.shape[1]
    scale = per_pixel if method.reconstruction == "mean" else 1.0
    loop = Loop(
        folder,
        {"model": model, "balance": balance, "optimizer": optimizer},
        description=f"autoencoder {name} seed {request.seed}",
        epochs=settings.epochs,
        items=len(train),
        batch_size=settings.batch_size,
    )
    with loop.running(), _denormals_as_zero():
        for epoch in loop.epochs():
            for batch in loop.batches():
                inputs = train.index_select(0, batch).float().div_(255)
                losses = loss_components(inputs, *model(inputs))
                losses["reconstruction"] = losses["reconstruction"] * scale
                loss = balance(losses)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                loop.add({"loss": loss, "error": losses["reconstruction"] / scale, "l1": losses["sparsity"]})
            means, weights = loop.means(), balance.get_buffer("weights").tolist()
            row = {
                "train_weighted_loss": means["loss"],
                "train_mse": means["error"] * per_pixel,
                "train_l1": means["l1"],
            }
            row |= _measure(model, validation, "validation")
            row |= {"weight_reconstruction": weights[0] * scale, "weight_sparsity": weights[1]}
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
    """Mean squared error per pixel, L1 norm of the code and share of active units over a set (N, 784)."""
    error, norm, active = 0.0, 0.0, 0.0
    with torch.no_grad():
        for batch in images.split(MEASURED_AT_ONCE):
            reconstructions, code = model(batch)
            losses = loss_components(batch, reconstructions, code)
            share = len(batch) / len(images)
            error += share * losses["reconstruction"].item()
            norm += share * losses["sparsity"].item()
            active += share * (code > 0).float().mean().item()
    return {f"{name}_mse": error / images.shape[1], f"{name}_l1": norm, f"{name}_active_share": active}
