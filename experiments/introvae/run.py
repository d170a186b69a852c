"""IntroVAE on faces with fixed weights or an adaptive rule's (paper section 4.2).

One process, or under torchrun one per device (`experiments.introvae.ranks`), trains one method from one seed. Methods of the same
seed start from the same networks and see the images in the same order. Reconstructions are made from the posterior's mean,
in evaluation mode. The updates themselves are in `experiments.introvae.updates`.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from experiments.data.faces import load_faces
from experiments.introvae.ranks import open_ranks
from experiments.introvae.settings import IntroVAESettings
from experiments.introvae.updates import (
    adversarial_step,
    build_balances,
    build_networks,
    decode,
    recompute_batch_statistics,
    reconstruct,
    warmup_step,
)
from experiments.metrics.niqe import MINIMUM_BLOCKS, PristineModel, fit_pristine_model, live_model, niqe_pooled
from experiments.metrics.psnr import psnr
from experiments.metrics.ssim import ssim
from experiments.runs.command_line import Request
from experiments.runs.errors import UserError
from experiments.runs.folder import Run
from experiments.runs.loop import Loop
from experiments.weightings import build
from models.introvae import COMPONENTS

SHOWN_IMAGES = 8
"""Images kept at every report epoch for Figures 3 and 4, evenly spaced over each set."""

PRISTINE_IMAGES = 1000
"""Training images, at most, to which the pristine model of a small block size is fitted."""

MEASURES = ("psnr", "ssim", "niqe")
"""What is measured on images: quality, by which no run diverges. A perfect image has an infinite PSNR."""

COLLAPSED_KL = 1.0
"""Nats: a posterior this close to the prior says nothing of its image."""


def check(scale: Any, source: str) -> None:
    """Build every rule of both networks once.

    Raises:
        UserError: one line naming `source` and the key.
    """
    for name, method in scale.introvae.methods.items():
        for network, components in COMPONENTS.items():
            build(getattr(method, network), components, f"{source}: introvae.methods.{name}.{network}")


def run(request: Request) -> None:
    """Train one method from one seed and write the run folder."""
    ranks = open_ranks()
    device = ranks.device
    settings, name = request.settings, request.variant["method"]
    method = settings.methods[name]
    folder = Run.of(request, extendable=True, writer=ranks.first, ranks=ranks.count, device=device.type)
    if folder.finished:
        return
    sizes = (settings.image_size, settings.validation, settings.held_out, settings.crop)
    faces = load_faces(settings.dataset, request.scale.data_dir, *sizes, settings.folder.path, settings.folder.parts)
    folder.data = faces.checksums
    train = torch.from_numpy(np.asarray(faces.train)).to(device)
    evaluated = {
        part: torch.from_numpy(_spread(getattr(faces, part), settings.evaluated_images)).to(device).float() / 255
        for part in ("train", "validation", "held_out")
        if len(getattr(faces, part))
    }
    _check_blocks(evaluated, settings)
    pristine = _pristine_model(faces.train, settings.niqe_block_size)
    if len(train) < settings.batch_size:
        raise UserError(
            f"introvae.batch_size {settings.batch_size}: exceeds the {len(train)} training images; lower it (--batch-size)"
        )

    torch.manual_seed(request.seed)
    networks = build_networks(settings, train.shape[1], device, ranks)
    steps = len(train) // settings.batch_size
    balance_encoder, balance_generator = build_balances(networks, method, f"introvae.methods.{name}", steps, device)
    codes = torch.randn(settings.evaluated_images, settings.latent_size).to(device)
    loop = Loop(
        folder,
        {"networks": networks, "balance_encoder": balance_encoder, "balance_generator": balance_generator},
        description=f"introvae {name} seed {request.seed}",
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
    loop.samples |= {f"{part}_originals": _shown(images).cpu() for part, images in evaluated.items()}
    with loop.running():
        for epoch in loop.epochs():
            warmup = epoch <= settings.warmup_epochs
            for batch in loop.batches():
                images = ranks.mine(_augment(train[batch], flip=settings.flip, shift=settings.shift))
                if warmup:
                    losses = warmup_step(networks, images, settings)
                else:
                    losses = adversarial_step(
                        networks, images, balance_encoder, balance_generator, settings, method.margin
                    )
                    losses |= _named_weights("encoder", balance_encoder)
                    losses |= _named_weights("generator", balance_generator)
                loop.add(losses)
            row: dict[str, Any] = {"phase": "warmup" if warmup else "adversarial", **loop.means()}
            diverged = verdict(row) == "diverged"
            if epoch in settings.report_epochs and not diverged:
                if settings.batch_statistics == "recomputed":
                    recompute_batch_statistics(
                        networks,
                        lambda: (_augment(train[i], flip=False) for i in mixed.split(settings.batch_size)),
                        settings,
                    )
                for part, images in evaluated.items():
                    reconstructions = reconstruct(networks, images, settings)
                    row |= _measure(images, reconstructions, part, pristine)
                    loop.samples[f"{part}_epoch_{epoch}"] = _shown(reconstructions).cpu()
                decoded = decode(networks, codes, settings).cpu()
                row["prior_niqe"] = niqe_pooled(decoded, pristine.block_size, pristine)
                loop.samples[f"prior_epoch_{epoch}"] = decoded[: 2 * SHOWN_IMAGES]
            loop.end_epoch(row, diverged=diverged)
    last = folder.history[-1]
    folder.finish(
        {key: value for key, value in last.items() if isinstance(value, float) and np.isfinite(value)}
        | {"verdict": verdict(last), "epochs": last["epoch"]},
        samples={key: np.asarray(value, dtype=np.float32) for key, value in loop.samples.items()},
        weights={network: getattr(networks, network).state_dict() for network in ("encoder", "generator")},
        times={"train": loop.seconds},
    )


def verdict(row: dict[str, Any]) -> str:
    """How a run ended, by the last row of its history: means over an epoch.

    ``diverged``: a loss, weight or gradient is not finite. ``posterior collapsed``: the posteriors of real images are the
    prior, so that all reconstructions are alike. ``margin passed``: every reconstruction and sample lies beyond the margin,
    the hinge is zero and nothing pushes them further: an adversarial part without an adversary. Else ``trained``.
    """
    trained = [value for name, value in row.items() if isinstance(value, float) and not name.endswith(MEASURES)]
    if not all(map(math.isfinite, trained)):
        return "diverged"
    if row["kl_real"] < COLLAPSED_KL:
        return "posterior collapsed"
    if row.get("beyond_margin_share", 0.0) == 1.0:
        return "margin passed"
    return "trained"


def _named_weights(network: str, balance: nn.Module) -> dict[str, Tensor]:
    """The current weights of a network's loss components, scalars by name."""
    weights = balance.get_buffer("weights").clone().unbind()
    return {f"{network}_weight_{name}": weight for name, weight in zip(COMPONENTS[network], weights, strict=True)}


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


def _spread(images: Any, count: int) -> Any:
    """At most `count` images, evenly spaced over the set, as an array in memory."""
    return np.array(images[np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int)])


def _shown(images: Tensor) -> Tensor:
    """The images kept for the figures, evenly spaced over the set."""
    return images[torch.linspace(0, len(images) - 1, SHOWN_IMAGES).round().long()]
