"""Sparse autoencoder on MNIST: a fixed lambda, or SoftAdapt's weights, between error and sparsity (section 4.3).

One process trains one method from one seed. Methods of the same seed start from the same weights and see the digits in
the same order. Besides the weighted loss, which differs in meaning from method to method, every epoch records what is
comparable: the mean squared error per pixel, the L1 norm of the code, and the share of active hidden units.
"""

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from experiments import command_line
from experiments.errors import UserError, run_main

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from models.sparse_autoencoder import SparseAutoencoder

MEASURED_AT_ONCE = 500
"""Images per forward pass when a set is measured: few enough that what passes between the layers stays in the cache."""

SHOWN_DIGITS = 10
"""The first test image of each digit is kept at every report epoch, for Figure 6."""


def run(request: command_line.Request) -> None:
    """Train one method from one seed and write the run folder."""
    import numpy as np
    import torch

    from experiments.data import mnist
    from experiments.metrics.classification import judge_identity, load_classifier, percent_correctly_classified
    from experiments.progress import progress_bar
    from experiments.runs import Run, require_finite
    from experiments.weightings import build
    from models.sparse_autoencoder import COMPONENTS, SparseAutoencoder, loss_components

    torch.set_num_threads(request.threads)
    settings = request.settings.sparse_autoencoder
    name = request.variant["method"]
    method = settings.all_methods()[name]
    folder = Run(
        request.output,
        {"experiment": "sparse_autoencoder", "method": name, "seed": request.seed, **method.model_dump(mode="json")}
        | {"settings": settings.model_dump(mode="json", exclude={"seeds", "lambdas", "methods"})}
        | {"judge": judge_identity(request.classifier)},
        overwrite=request.overwrite,
        extendable=True,
        checkpoint_interval=request.checkpoint_interval,
    )
    if folder.finished:
        print(f"{request.output} is complete")
        return
    classifier = load_classifier(request.classifier)
    images, image_labels = mnist.load(request.settings.data_dir, "train")
    train = torch.from_numpy(images[: settings.train_images].reshape(-1, 784).copy())
    last = slice(len(images) - settings.validation_images, None)
    test_images, test_labels = mnist.load(request.settings.data_dir, "test")
    validation, test = _as_inputs(images[last]), _as_inputs(test_images[: settings.test_images])
    labels = {
        "validation": torch.from_numpy(image_labels[last].copy()),
        "test": torch.from_numpy(test_labels[: settings.test_images].copy()),
    }
    missing = set(range(SHOWN_DIGITS)) - set(labels["test"].tolist())
    if missing:
        raise UserError(
            f"sparse_autoencoder.test_images {settings.test_images}: the first test digits lack "
            f"{', '.join(map(str, sorted(missing)))}, and one of each is shown; raise it (--test-images 100)"
        )
    shown = torch.stack([(labels["test"] == digit).nonzero()[0, 0] for digit in range(SHOWN_DIGITS)])

    torch.manual_seed(request.seed)
    model = SparseAutoencoder(train.shape[1], settings.hidden_units)
    steps = -(-len(train) // settings.batch_size)
    source = f"sparse_autoencoder.methods.{name}.weighting"
    balance = build(method.weighting, COMPONENTS, source, steps, shared=model.encoder.parameters())
    optimizer = torch.optim.Adam([*model.parameters(), *balance.parameters()], settings.learning_rate, fused=True)
    per_pixel = 1 / train.shape[1]
    scale = per_pixel if method.reconstruction == "mean" else 1.0
    samples: dict[str, Any] = {}
    epoch, step, order, sums, train_seconds = 1, 0, torch.empty(0), torch.zeros(3), 0.0
    if (state := folder.resume()) is not None:
        epoch, step, order, sums = state["epoch"], state["step"], state["order"], state["sums"]
        train_seconds, samples = state["train_seconds"], state["samples"]
        model.load_state_dict(state["model"])
        balance.load_state_dict(state["balance"])
        optimizer.load_state_dict(state["optimizer"])

    def checkpoint() -> dict[str, Any]:
        position = {"epoch": epoch, "step": step, "order": order, "sums": sums, "train_seconds": train_seconds}
        parts: dict[str, Any] = {"model": model, "balance": balance, "optimizer": optimizer}
        return position | {"samples": samples} | {name: part.state_dict() for name, part in parts.items()}

    description = f"autoencoder {name} seed {request.seed}"
    done = (epoch - 1) * steps + step
    progress = progress_bar(settings.epochs * steps, description, "step", done)
    with folder.interruptible(), _denormals_as_zero(), progress as bar:
        while epoch <= settings.epochs:
            if step == 0:
                order, sums = torch.randperm(len(train)), torch.zeros(3)
            before = folder.seconds
            for batch in order.split(settings.batch_size)[step:]:
                inputs = train.index_select(0, batch).float().div_(255)
                losses = loss_components(inputs, *model(inputs))
                losses["reconstruction"] = losses["reconstruction"] * scale
                loss = balance(losses)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                sums += torch.stack((loss, losses["reconstruction"] / scale, losses["sparsity"])).detach()
                step += 1
                bar.update()
                if folder.due:
                    train_seconds += folder.seconds - before
                    folder.save(checkpoint())
                    before = folder.seconds
            train_seconds += folder.seconds - before
            weighted, error, sparsity = (sums / steps).tolist()
            row = {"epoch": epoch, "train_weighted_loss": weighted, "train_mse": error * per_pixel}
            row |= {"train_l1": sparsity} | _measure(model, validation, "validation")
            weights = balance.get_buffer("weights").tolist()
            row |= {"weight_reconstruction": weights[0] * scale, "weight_sparsity": weights[1]}
            require_finite(row, f"{request.output}: epoch {epoch}", "sparse_autoencoder.learning_rate")
            if epoch in settings.report_epochs:
                row |= _measure(model, test, "test")
                with torch.no_grad():
                    reconstructions = {"validation": model(validation)[0], "test": model(test)[0]}
                samples[f"epoch_{epoch}"] = reconstructions["test"][shown]
                if epoch < settings.epochs:  # settings are chosen at the end of training
                    del reconstructions["validation"]
                for part, flat in reconstructions.items():
                    row[f"{part}_pcc"] = percent_correctly_classified(classifier, _as_images(flat), labels[part])
            folder.history.append(row)
            epoch, step = epoch + 1, 0
            if folder.due or epoch > settings.epochs:
                folder.save(checkpoint())
    arrays = {key: np.asarray(value, dtype=np.float32) for key, value in samples.items()}
    folder.finish(
        {key: value for key, value in folder.history[-1].items() if key != "epoch"},
        samples=arrays | {"originals": test[shown].numpy()},
        weights=model.state_dict(),
        data_checksums=mnist.checksums(request.settings.data_dir),
        times={"train": train_seconds},
    )


@contextmanager
def _denormals_as_zero() -> "Iterator[None]":
    """Inside, numbers below the smallest normal one are zero.

    Adam's means decay to them at pixels that stay black, where arithmetic takes half as long again and changes no weight.
    """
    import torch

    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _as_inputs(images: Any) -> "Tensor":
    """Digits uint8 (N, 28, 28) -> float32 (N, 784) in [0, 1]."""
    import torch

    return torch.from_numpy(images.reshape(len(images), -1).copy()).float() / 255


def _as_images(flat: "Tensor") -> "Tensor":
    """(N, 784) -> (N, 1, 28, 28)."""
    return flat.unflatten(-1, (1, 28, 28))


def _measure(model: "SparseAutoencoder", images: "Tensor", name: str) -> dict[str, float]:
    """Mean squared error per pixel, L1 norm of the code and share of active units over a set (N, 784)."""
    import torch

    from models.sparse_autoencoder import loss_components

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


def main(arguments: list[str] | None = None) -> None:
    """Entry point of ``python -m experiments.sparse_autoencoder``."""
    for request in command_line.parse(
        "sparse_autoencoder",
        "Train a sparse autoencoder on MNIST with a fixed lambda (--method lambda-0.0001) or an adaptive rule, and "
        "classify its reconstructions (paper section 4.3). Writes a run folder.",
        with_methods=True,
        arguments=arguments,
    ):
        run(request)


if __name__ == "__main__":
    run_main(main)
