"""IntroVAE or Soft-IntroVAE on faces with fixed weights or an adaptive rule's (paper section 4.2).

One process, or under torchrun one per device (`experiments.introvae.ranks`), trains one method from one seed. Methods of the same
seed start from the same networks and see the images in the same order. Reconstructions are made from the posterior's mean,
in evaluation mode. The updates themselves are in `experiments.introvae.updates`.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.data.faces import Faces, load_faces
from experiments.introvae.evaluation import Evaluated
from experiments.introvae.ranks import open_ranks
from experiments.introvae.settings import IntroVAEMethod, IntroVAESettings
from experiments.introvae.updates import (
    NETWORKS,
    adversarial_step,
    build_balance,
    build_balances,
    build_networks,
    warmup_step,
)
from experiments.metrics.niqe import MINIMUM_BLOCKS, PristineModel, fit_pristine_model, live_model, niqe_pooled
from experiments.metrics.psnr import psnr
from experiments.metrics.sliced_wasserstein import sliced_wasserstein
from experiments.metrics.ssim import ssim
from experiments.runs.command_line import Request
from experiments.runs.errors import UserError
from experiments.runs.folder import Run
from experiments.runs.loop import Loop

SHOWN_IMAGES = 8
"""Images of each set that every sample file and every figure shows."""

PRISTINE_IMAGES = 1000
"""Training images, at most, to which the pristine model of a small block size is fitted."""

MEASURES = ("psnr", "ssim", "niqe", "swd")
"""What is measured on images: quality, by which no run diverges. A perfect image has an infinite PSNR."""

COLLAPSED_KL = 1.0
"""Nats: a posterior this close to the prior says nothing of its image."""


def check(scale: Any, source: str) -> None:
    """Build every rule of both networks once.

    Raises:
        UserError: one line naming `source` and the key.
    """
    for name, method in scale.introvae.methods.items():
        for network in NETWORKS:
            build_balance(method, network, scale.introvae.objective, f"{source}: introvae.methods.{name}")


def run(request: Request) -> None:
    """Train one method from one seed and write the run folder."""
    settings, name, seed = request.settings, request.variant["method"], request.seed
    method: IntroVAEMethod = settings.methods[name]
    ranks = open_ranks()
    device = ranks.device
    folder = Run.of(
        request,
        extendable=not settings.decay_share,  # with a decay, all steps depend on how many there are
        writer=ranks.first,
        ranks=ranks.count,
        device=device.type,
    )
    if folder.finished:
        return
    sizes = (settings.image_size, settings.validation, settings.held_out, settings.crop)
    faces = load_faces(settings.dataset, request.scale.data_dir, *sizes, settings.folder.path, settings.folder.parts)
    folder.data = faces.checksums
    train = torch.from_numpy(np.asarray(faces.train)).to(device)
    measured = _of_each_set(faces, settings.evaluated_images, device)
    shown = _of_each_set(faces, SHOWN_IMAGES, device)
    _check_blocks(measured, settings)
    pristine = _pristine_model(faces.train, settings.niqe_block_size)
    if len(train) < settings.batch_size:
        raise UserError(
            f"introvae.batch_size {settings.batch_size}: exceeds the {len(train)} training images; lower it (--batch-size)"
        )

    torch.manual_seed(seed)
    networks = build_networks(settings, train.shape[1], device, ranks)
    steps = len(train) // settings.batch_size
    balance_encoder, balance_generator = build_balances(networks, method, f"introvae.methods.{name}", steps, device)
    evaluated = Evaluated(networks)
    codes = torch.randn(settings.evaluated_images, settings.latent_size).to(device)
    loop = Loop(
        folder,
        {
            "networks": networks,
            "balance_encoder": balance_encoder,
            "balance_generator": balance_generator,
            "evaluated": evaluated,
        },
        description=f"introvae {name} seed {seed}",
        epochs=settings.epochs,
        items=len(train),
        batch_size=settings.batch_size,
        drop_last=True,
        device=device,
        shown=ranks.first,
    )
    # Faces are sorted by person: a batch in file order would lack the variance between people.
    mixed = torch.randperm(len(train), generator=torch.Generator().manual_seed(0)).to(device)
    ranks.check_same(loop.steps_done, f"{request.output}: the checkpoint")
    loop.samples |= {f"{part}_originals": images.cpu() for part, images in shown.items()}
    with loop.running():
        for epoch in loop.epochs():
            warmup = epoch <= settings.warmup_epochs
            margin = None if warmup else margin_of(method, folder.history)
            for batch in loop.batches():
                images = ranks.mine(_augment(train[batch], flip=settings.flip, shift=settings.shift))
                networks.schedule(loop.steps_done, settings.epochs * steps)
                if warmup:
                    losses = warmup_step(networks, images)
                else:
                    losses = adversarial_step(networks, images, balance_encoder, balance_generator, margin)
                    losses |= {f"encoder_weight_{key}": weight for key, weight in balance_encoder.weights().items()}
                    losses |= {f"generator_weight_{key}": weight for key, weight in balance_generator.weights().items()}
                evaluated.follow(loop.steps_done)
                loop.add(losses)
            row: dict[str, Any] = {"phase": "warmup" if warmup else "adversarial", **loop.means()}
            if margin is not None:
                row["margin"] = margin
            diverged = has_diverged(row)
            if epoch in settings.report_epochs and not diverged:
                evaluated.set_batch_statistics(
                    lambda: (_augment(train[i], flip=False) for i in mixed.split(settings.batch_size))
                )
                for part, images in measured.items():
                    row |= _measure(images, evaluated.reconstruct(images), part, pristine)
                    loop.samples[f"{part}_epoch_{epoch}"] = evaluated.reconstruct(shown[part]).cpu()
                samples = evaluated.decode(codes).cpu()
                row |= _measure_samples(samples, measured, pristine)
                loop.samples[f"prior_epoch_{epoch}"] = samples[: 2 * SHOWN_IMAGES]
            loop.end_epoch(row, diverged=diverged)
    last = folder.history[-1]
    folder.finish(
        {key: value for key, value in last.items() if isinstance(value, float) and np.isfinite(value)}
        | {"verdict": verdict(folder.history), "epochs": last["epoch"]},
        samples={key: np.asarray(value, dtype=np.float32) for key, value in loop.samples.items()},
        weights={network: getattr(evaluated, network).state_dict() for network in NETWORKS},
        times={"train": loop.seconds},
    )


def margin_of(method: IntroVAEMethod, history: Sequence[dict[str, Any]]) -> float | None:
    """The margin of a method once its warm-up has ended, nats; None if it has none.

    A margin from data is the same in all epochs that follow, and after resumption, because it is taken from the row of the
    last warm-up epoch.
    """
    if not isinstance(method.margin, dict):
        return method.margin
    warmup = [row for row in history if row["phase"] == "warmup"]
    return method.margin["times_kl_real"] * warmup[-1]["kl_real"]


def has_diverged(row: dict[str, Any]) -> bool:
    """Whether a loss, weight or gradient of an epoch, a row of the history, is not finite."""
    trained = [value for name, value in row.items() if isinstance(value, float) and not name.endswith(MEASURES)]
    return not all(map(math.isfinite, trained))


def verdict(history: Sequence[dict[str, Any]]) -> str:
    """How a run ended, by the rows of its history, which are means over an epoch. The first that fits:

    ``diverged``: a loss, weight or gradient is not finite. ``posterior collapsed``: the posteriors of real images are the
    prior, so that all reconstructions are alike. ``no adversary``: every reconstruction and sample lies beyond the margin,
    the hinge is zero and nothing pushes them further. ``order inverted``: over the last fifth of the epochs the encoder
    finds samples closer to the prior than real images, the opposite of what it is trained for. Else ``trained``.
    """
    last = history[-1]
    if has_diverged(last):
        return "diverged"
    if last["kl_real"] < COLLAPSED_KL:
        return "posterior collapsed"
    if last.get("beyond_margin_share", 0.0) == 1.0:
        return "no adversary"
    late = [row for row in history[-math.ceil(len(history) / 5) :] if row["phase"] == "adversarial"]
    if sum(row["kl_real"] - row["kl_sampled"] for row in late) > 0:
        return "order inverted"
    return "trained"


def _augment(images: Tensor, *, flip: bool, shift: int = 0) -> Tensor:
    """uint8 (N, C, S, S) -> float32 in [0, 1], channels last; at random half of them mirrored and each shifted.

    A shift is by up to `shift` pixels along each axis, borders replicated.
    """
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


def _pristine_model(images: Any, block_size: int) -> PristineModel:
    """LIVE's model for its own block size; for any other, one fitted to these originals, uint8 (N, C, S, S)."""
    live = live_model()
    if block_size == live.block_size:
        return live
    try:
        return fit_pristine_model(torch.from_numpy(_spread(images, PRISTINE_IMAGES)).float() / 255, block_size)
    except ValueError as error:
        raise UserError(f"introvae.niqe_block_size {block_size}: {error}, or choose smaller blocks") from error


def _check_blocks(sets: dict[str, Tensor], settings: IntroVAESettings) -> None:
    """Raise `UserError` for a set too small for the pooled NIQE."""
    each = (settings.image_size // settings.niqe_block_size) ** 2
    for part, images in sets.items():
        if len(images) * each < MINIMUM_BLOCKS:
            remedy = "introvae.evaluated_images" + ("" if part == "train" else f" or introvae.{part}")
            raise UserError(
                f"introvae: {len(images)} images of the {part} set hold {len(images) * each} blocks of "
                f"{settings.niqe_block_size} px, NIQE needs {MINIMUM_BLOCKS}; raise {remedy}, or lower introvae.niqe_block_size"
            )


def _measure(images: Tensor, reconstructions: Tensor, part: str, pristine: PristineModel) -> dict[str, float]:
    """PSNR (dB) and SSIM, means over the images of a set, and the pooled NIQE of its reconstructions."""
    return {
        f"{part}_psnr": psnr(images, reconstructions).mean().item(),
        f"{part}_ssim": ssim(images, reconstructions).mean().item(),
        f"{part}_niqe": niqe_pooled(reconstructions, pristine.block_size, pristine),
    }


def _measure_samples(samples: Tensor, measured: dict[str, Tensor], pristine: PristineModel) -> dict[str, float]:
    """Pooled NIQE of samples from the prior (N, C, S, S), and their distances from images that no run was trained on.

    `prior_swd` is from the images held out, `validation_swd` from those that settings are chosen by; sliced Wasserstein, of as
    many samples as there are images.
    """
    row = {"prior_niqe": niqe_pooled(samples, pristine.block_size, pristine)}
    for part, name in (("held_out", "prior_swd"), ("validation", "validation_swd")):
        if part in measured:
            count = min(len(samples), len(measured[part]))
            row[name] = sliced_wasserstein(samples[:count], measured[part][:count].cpu()).mean
    return row


def _of_each_set(faces: Faces, count: int, device: torch.device) -> dict[str, Tensor]:
    """At most `count` images of each set that has any, evenly spaced over it, float32 in [0, 1]."""
    sets = {part: getattr(faces, part) for part in ("train", "validation", "held_out")}
    return {
        part: torch.from_numpy(_spread(images, count)).to(device).float() / 255
        for part, images in sets.items()
        if len(images)
    }


def _spread(images: Any, count: int) -> Any:
    """At most `count` images, evenly spaced over the set, as an array in memory."""
    return np.array(images[np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int)])
