"""IntroVAE on faces with fixed weights or an adaptive rule's (paper section 4.2).

One process, or under torchrun one per device (`experiments.ranks`), trains one method from one seed. Methods of the same
seed start from the same networks and see the images in the same order. Reconstructions are made from the posterior's mean,
in evaluation mode. The updates themselves are in `experiments.introvae_updates`.
"""

from typing import TYPE_CHECKING, Any

from experiments import command_line
from experiments.errors import UserError, run_main

if TYPE_CHECKING:
    from torch import Tensor, nn

    from experiments.config import IntroVAESettings
    from experiments.metrics.niqe import PristineModel

SHOWN_IMAGES = 8
"""Images kept at every report epoch for Figures 3 and 4, evenly spaced over each set."""

PRISTINE_IMAGES = 1000
"""Training images, at most, to which the pristine model of a small block size is fitted."""

COLLAPSED_KL = 1.0
"""Nats: a posterior this close to the prior says nothing of its image."""


def run(request: command_line.Request) -> None:
    """Train one method from one seed and write the run folder."""
    import numpy as np
    import torch

    from experiments.data.faces import load_faces
    from experiments.introvae_updates import (
        adversarial_step,
        build_balances,
        build_networks,
        decode,
        recompute_batch_statistics,
        reconstruct,
        warmup_step,
    )
    from experiments.metrics.niqe import niqe_pooled
    from experiments.progress import progress_bar
    from experiments.ranks import open_ranks
    from experiments.runs import Run

    torch.set_num_threads(request.threads)
    ranks = open_ranks()
    settings = request.settings.introvae
    name = request.variant["method"]
    method = settings.methods[name]
    folder = Run(
        request.output,
        {"experiment": "introvae", "method": name, "seed": request.seed, **method.model_dump(mode="json")}
        | {"settings": settings.model_dump(mode="json", exclude={"seeds", "methods"})}
        | {"ranks": ranks.count, "device": ranks.device.type},
        overwrite=request.overwrite,
        extendable=True,
        checkpoint_interval=request.checkpoint_interval,
        writer=ranks.first,
    )
    if folder.finished:
        if ranks.first:
            print(f"{request.output} is complete")
        return
    device = ranks.device
    faces = load_faces(
        settings.dataset, request.settings.data_dir, settings.image_size, settings.validation, settings.held_out
    )
    train = torch.from_numpy(np.asarray(faces.train)).to(device)
    evaluated = {
        part: torch.from_numpy(_spread(getattr(faces, part), settings.evaluated_images)).to(device).float() / 255
        for part in ("train", "validation", "held_out")
        if len(getattr(faces, part))
    }
    _check_blocks(evaluated, settings)
    pristine = _pristine_model(faces.train, settings.niqe_block_size)
    steps = len(train) // settings.batch_size
    if steps == 0:
        raise UserError(
            f"introvae.batch_size {settings.batch_size}: exceeds the {len(train)} training images; lower it (--batch-size)"
        )

    torch.manual_seed(request.seed)
    networks = build_networks(settings, train.shape[1], device, ranks)
    balance_encoder, balance_generator = build_balances(networks, method, f"introvae.methods.{name}", steps, device)
    codes = torch.randn(settings.evaluated_images, settings.latent_size).to(device)
    samples: dict[str, Any] = {f"{part}_originals": _shown(images).cpu() for part, images in evaluated.items()}
    epoch, step, order, sums, train_seconds, diverged = 1, 0, torch.empty(0), torch.empty(0), 0.0, False
    columns: list[str] = []
    if (state := folder.resume()) is not None:
        if state["data"] != faces.checksums:
            raise UserError(
                f"{request.output}: its checkpoint is of other images; bring those back, or remove the folder to start over"
            )
        epoch, step, order, columns = state["epoch"], state["step"], state["order"].to(device), state["columns"]
        sums, train_seconds, samples = state["sums"].to(device), state["train_seconds"], state["samples"]
        networks.restore(state["networks"])
        balance_encoder.load_state_dict(state["balance_encoder"])
        balance_generator.load_state_dict(state["balance_generator"])

    def checkpoint() -> dict[str, Any]:
        position = {"epoch": epoch, "step": step, "order": order, "columns": columns, "sums": sums}
        balances = {"balance_encoder": balance_encoder, "balance_generator": balance_generator}
        state = {name: balance.state_dict() for name, balance in balances.items()} | {"networks": networks.state()}
        return position | state | {"train_seconds": train_seconds, "samples": samples, "data": faces.checksums}

    description, done = f"introvae {name} seed {request.seed}", (epoch - 1) * steps + step
    ranks.check_same(done, f"{request.output}: the checkpoint")
    progress = progress_bar(settings.epochs * steps, description, "step", done, shown=ranks.first)
    with folder.interruptible(), progress as bar:
        while epoch <= settings.epochs and not diverged:
            before = folder.seconds
            warmup = epoch <= settings.warmup_epochs
            if step == 0:
                order, sums = torch.randperm(len(train), device=device), torch.zeros((), device=device)
            for batch in order.split(settings.batch_size)[step:steps]:
                images = ranks.mine(_augment(train[batch], flip=settings.flip, shift=settings.shift))
                if warmup:
                    losses = warmup_step(networks, images, settings)
                else:
                    losses = adversarial_step(
                        networks, images, balance_encoder, balance_generator, settings, method.margin
                    )
                    losses |= _named_weights("encoder", balance_encoder)
                    losses |= _named_weights("generator", balance_generator)
                sums, columns, step = sums + torch.stack(list(losses.values())), list(losses), step + 1
                bar.update()
                if folder.due:
                    train_seconds += folder.seconds - before
                    folder.save(checkpoint())
                    before = folder.seconds
            row: dict[str, Any] = {"epoch": epoch, "phase": "warmup" if warmup else "adversarial"}
            row |= dict(zip(columns, (sums / steps).tolist(), strict=True))
            train_seconds += folder.seconds - before
            diverged = not all(np.isfinite(value) for value in row.values() if isinstance(value, float))
            if epoch in settings.report_epochs and not diverged:
                if settings.batch_statistics == "recomputed":
                    recompute_batch_statistics(
                        networks, lambda: (_augment(x, flip=False) for x in train.split(settings.batch_size)), settings
                    )
                for part, images in evaluated.items():
                    reconstructions = reconstruct(networks, images, settings)
                    row |= _measure(images, reconstructions, part, pristine)
                    samples[f"{part}_epoch_{epoch}"] = _shown(reconstructions).cpu()
                decoded = decode(networks, codes, settings).cpu()
                row["prior_niqe"] = niqe_pooled(decoded, pristine.block_size, pristine)
                samples[f"prior_epoch_{epoch}"] = decoded[: 2 * SHOWN_IMAGES]
            folder.history.append(row)
            epoch, step = epoch + 1, 0
            if not diverged and (folder.due or epoch > settings.epochs):
                folder.save(checkpoint())
    last = folder.history[-1]
    folder.finish(
        {key: value for key, value in last.items() if isinstance(value, float) and np.isfinite(value)}
        | {"verdict": verdict(last), "epochs": last["epoch"]},
        samples={key: np.asarray(value, dtype=np.float32) for key, value in samples.items()},
        weights={network: getattr(networks, network).state_dict() for network in ("encoder", "generator")},
        data_checksums=faces.checksums,
        times={"train": train_seconds},
    )


def verdict(row: dict[str, Any]) -> str:
    """How a run ended, by the last row of its history: means over an epoch.

    ``diverged``: a loss, weight or gradient is not finite. ``posterior collapsed``: the posteriors of real images are the
    prior, so that all reconstructions are alike. ``margin passed``: every reconstruction and sample lies beyond the margin,
    the hinge is zero and nothing pushes them further: an adversarial part without an adversary. Else ``trained``.
    """
    import math

    measured = {name: value for name, value in row.items() if isinstance(value, float) and not name.endswith("_niqe")}
    if not all(map(math.isfinite, measured.values())):  # NIQE has no value for constant images
        return "diverged"
    if row["kl_real"] < COLLAPSED_KL:
        return "posterior collapsed"
    if row.get("beyond_margin_share", 0.0) == 1.0:
        return "margin passed"
    return "trained"


def _named_weights(network: str, balance: "nn.Module") -> dict[str, "Tensor"]:
    """The current weights of a network's loss components, scalars by name."""
    from models.introvae import COMPONENTS

    weights = balance.get_buffer("weights").clone().unbind()
    return {f"{network}_weight_{name}": weight for name, weight in zip(COMPONENTS[network], weights, strict=True)}


def _augment(images: "Tensor", *, flip: bool, shift: int = 0) -> "Tensor":
    """uint8 (N, C, S, S) -> float32 in [0, 1], channels last; at random half of them mirrored and each shifted.

    A shift is by up to `shift` pixels along each axis, borders replicated.
    """
    import torch

    images = images.to(memory_format=torch.channels_last).float() / 255
    count, _, _, size = images.shape
    device = images.device
    if flip:
        mirrored = torch.rand(count, 1, 1, 1, device=device) < 0.5
        images = torch.where(mirrored, images.flip(-1), images)
    if shift:
        padded = torch.nn.functional.pad(images, [shift] * 4, mode="replicate")
        rows, columns = torch.randint(2 * shift + 1, (2, count, 1), device=device) + torch.arange(size, device=device)
        index = torch.arange(count, device=device)[:, None, None]
        # Indices around a slice put its axis last: (N, S, S, C), which is channels last already.
        images = padded[index, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return images


def _pristine_model(images: Any, block_size: int) -> "PristineModel":
    """LIVE's model for its own block size; for any other, one fitted to these originals, uint8 (N, C, S, S)."""
    import torch

    from experiments.metrics.niqe import fit_pristine_model, live_model

    live = live_model()
    if block_size == live.block_size:
        return live
    try:
        return fit_pristine_model(torch.from_numpy(_spread(images, PRISTINE_IMAGES)).float() / 255, block_size)
    except ValueError as error:
        raise UserError(f"introvae.niqe_block_size {block_size}: {error}, or choose smaller blocks") from error


def _check_blocks(sets: dict[str, "Tensor"], settings: "IntroVAESettings") -> None:
    """Raise `UserError` for a set too small for the pooled NIQE."""
    from experiments.metrics.niqe import MINIMUM_BLOCKS

    each = (settings.image_size // settings.niqe_block_size) ** 2
    for part, images in sets.items():
        if len(images) * each < MINIMUM_BLOCKS:
            remedy = "introvae.evaluated_images" + ("" if part == "train" else f" or introvae.{part}")
            raise UserError(
                f"introvae: {len(images)} images of the {part} set hold {len(images) * each} blocks of "
                f"{settings.niqe_block_size} px, NIQE needs {MINIMUM_BLOCKS}; raise {remedy}, or lower introvae.niqe_block_size"
            )


def _measure(images: "Tensor", reconstructions: "Tensor", part: str, pristine: "PristineModel") -> dict[str, float]:
    """PSNR (dB) and SSIM, means over the images of a set, and the pooled NIQE of its reconstructions."""
    from experiments.metrics.niqe import niqe_pooled
    from experiments.metrics.psnr import psnr
    from experiments.metrics.ssim import ssim

    return {
        f"{part}_psnr": psnr(images, reconstructions).mean().item(),
        f"{part}_ssim": ssim(images, reconstructions).mean().item(),
        f"{part}_niqe": niqe_pooled(reconstructions, pristine.block_size, pristine),
    }


def _spread(images: Any, count: int) -> Any:
    """At most `count` images, evenly spaced over the set, as an array in memory."""
    import numpy as np

    return np.array(images[np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int)])


def _shown(images: "Tensor") -> "Tensor":
    """The images kept for the figures, evenly spaced over the set."""
    import torch

    return images[torch.linspace(0, len(images) - 1, SHOWN_IMAGES).round().long()]


def main(arguments: list[str] | None = None) -> None:
    """Entry point of ``python -m experiments.introvae``."""
    for request in command_line.parse(
        "introvae",
        "Train IntroVAE on faces with fixed weights or an adaptive rule, and measure its reconstructions of training "
        "and held-out images (paper section 4.2). Writes a run folder.",
        with_methods=True,
        arguments=arguments,
    ):
        run(request)


if __name__ == "__main__":
    run_main(main)
