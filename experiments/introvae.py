"""IntroVAE on faces with fixed weights or SoftAdapt's (paper section 4.2).

One process trains one method from one seed. Methods of the same seed start from the same networks and see the images in
the same order. The updates follow the published code: the encoder sees reconstructions and samples detached, and is
updated before the generator's KL terms are computed. Each update differentiates only with respect to the parameters it
changes. Reconstructions are made from the posterior's mean, in evaluation mode.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments import command_line
from experiments.errors import run_main

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from experiments.config import IntroVAESettings
    from models.introvae import Encoder, Generator

SHOWN_IMAGES = 8
"""Images kept at every report epoch for Figures 3 and 4, evenly spaced over each set."""


@dataclass
class Networks:
    """The two networks and their optimisers."""

    encoder: "Encoder"
    generator: "Generator"
    encoder_optimizer: "torch.optim.Optimizer"
    generator_optimizer: "torch.optim.Optimizer"

    def state(self) -> dict[str, Any]:
        """State of all four, for a checkpoint."""
        return {name: part.state_dict() for name, part in vars(self).items()}

    def restore(self, state: dict[str, Any]) -> None:
        """Undo `state`."""
        for name, part in vars(self).items():
            part.load_state_dict(state[name])


def build_networks(settings: "IntroVAESettings", image_channels: int, device: "torch.device") -> Networks:
    """Networks and Adam optimisers in channels-last layout."""
    import torch

    from models.introvae import Encoder, Generator

    sizes = (settings.image_size, image_channels, settings.channels, settings.latent_size, settings.normalization)
    encoder = Encoder(*sizes).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = Generator(*sizes).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizers = [
        torch.optim.Adam(network.parameters(), settings.learning_rate, fused=True) for network in (encoder, generator)
    ]
    return Networks(encoder, generator, *optimizers)


def warmup_step(networks: Networks, images: "Tensor", settings: "IntroVAESettings") -> dict[str, "Tensor"]:
    """One step of both networks as a plain VAE; returns the losses, detached."""
    import torch

    from models.introvae import kl_divergence, reconstruction_error, sample_posterior

    with _autocast(images, settings):
        mean, log_variance = networks.encoder(images)
        reconstructed = networks.generator(sample_posterior(mean, log_variance, torch.randn_like(mean)))
    kl_real = kl_divergence(mean, log_variance).mean()
    reconstruction = settings.reconstruction_scale * reconstruction_error(images, reconstructed)
    networks.encoder_optimizer.zero_grad()
    networks.generator_optimizer.zero_grad()
    (kl_real + settings.warmup_reconstruction_weight * reconstruction).backward()
    networks.encoder_optimizer.step()
    networks.generator_optimizer.step()
    return {"kl_real": kl_real.detach(), "reconstruction": reconstruction.detach()}


def adversarial_step(
    networks: Networks,
    images: "Tensor",
    balance_encoder: "nn.Module",
    balance_generator: "nn.Module",
    settings: "IntroVAESettings",
) -> dict[str, "Tensor"]:
    """One update of the encoder, then one of the generator (equations 12 and 13).

    Args:
        networks: updated in place.
        images: (N, C, S, S) in [0, 1].
        balance_encoder: weighs the components of L_E.
        balance_generator: weighs the components of L_G.
        settings: margin, precision and scale of the reconstruction.

    Returns:
        The loss components, detached scalars.
    """
    import torch

    from models.introvae import (
        encoder_loss_components,
        generator_loss_components,
        kl_divergence,
        reconstruction_error,
        sample_posterior,
    )

    encoder, generator = networks.encoder, networks.generator
    with _autocast(images, settings):
        mean, log_variance = encoder(images)
        reconstructed = generator(sample_posterior(mean, log_variance, torch.randn_like(mean)))
        sampled = generator(torch.randn_like(mean))
        kl_reconstructed = kl_divergence(*encoder(reconstructed.detach()))
        kl_sampled = kl_divergence(*encoder(sampled.detach()))
    reconstruction = settings.reconstruction_scale * reconstruction_error(images, reconstructed)
    kl_real = kl_divergence(mean, log_variance)
    encoder_losses = encoder_loss_components(kl_real, kl_reconstructed, kl_sampled, reconstruction, settings.margin)
    networks.encoder_optimizer.zero_grad()
    balance_encoder(encoder_losses).backward(inputs=list(encoder.parameters()), retain_graph=True)
    networks.encoder_optimizer.step()

    encoder.requires_grad_(False)  # the generator's update needs gradients through the encoder, not of its weights
    with _autocast(images, settings):
        generator_losses = generator_loss_components(
            kl_divergence(*encoder(reconstructed)), kl_divergence(*encoder(sampled)), reconstruction
        )
    networks.generator_optimizer.zero_grad()
    balance_generator(generator_losses).backward(inputs=list(generator.parameters()))
    networks.generator_optimizer.step()
    encoder.requires_grad_(True)
    observed = {
        "kl_reconstructed": kl_reconstructed.mean(),
        "kl_sampled": kl_sampled.mean(),
        "beyond_margin_share": (torch.cat((kl_reconstructed, kl_sampled)) > settings.margin).float().mean(),
        "kl_fake": generator_losses["kl_fake"],
    }
    return {name: value.detach() for name, value in (encoder_losses | observed).items()}


def reconstruct(networks: Networks, images: "Tensor", settings: "IntroVAESettings") -> "Tensor":
    """Reconstructions (N, C, S, S) from the posterior's mean, networks in evaluation mode."""
    import torch

    networks.encoder.eval()
    networks.generator.eval()
    with torch.no_grad(), _autocast(images, settings):
        batches = [networks.generator(networks.encoder(batch)[0]) for batch in images.split(settings.batch_size)]
    networks.encoder.train()
    networks.generator.train()
    return torch.cat(batches)


def run(request: command_line.Request) -> None:
    """Train one method from one seed and write the run folder."""
    import numpy as np
    import torch

    from experiments.data.faces import load_faces
    from experiments.progress import progress_bar
    from experiments.runs import Run, random_state, restore_random_state
    from experiments.weightings import build
    from models.introvae import COMPONENTS

    torch.set_num_threads(request.threads)
    settings = request.settings.introvae
    name = request.variant["method"]
    method = settings.methods[name]
    folder = Run(
        request.output,
        {"experiment": "introvae", "method": name, "seed": request.seed, **method.model_dump(mode="json")}
        | {"settings": settings.model_dump(mode="json", exclude={"seeds", "methods"})},
        overwrite=request.overwrite,
    )
    if folder.finished:
        print(f"{request.output} is complete")
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    faces = load_faces(settings.dataset, request.settings.data_dir, settings.image_size, settings.held_out)
    train = torch.from_numpy(np.array(faces.train)).to(device)
    evaluated = {"train": _spread(faces.train, settings.evaluated_images)}
    evaluated["held_out"] = _spread(faces.held_out, settings.evaluated_images)
    sets = {key: torch.from_numpy(array).to(device).float() / 255 for key, array in evaluated.items()}

    torch.manual_seed(request.seed)
    networks = build_networks(settings, train.shape[1], device)
    balance_encoder = build(method.encoder, COMPONENTS["encoder"], f"introvae.methods.{name}.encoder").to(device)
    balance_generator = build(method.generator, COMPONENTS["generator"], f"introvae.methods.{name}.generator").to(
        device
    )
    fixed_codes = torch.randn(2 * SHOWN_IMAGES, settings.latent_size).to(device)
    samples: dict[str, Any] = {f"{key}_originals": _shown(images).cpu() for key, images in sets.items()}
    start, train_seconds, diverged = 0, 0.0, False
    state = folder.resume()
    if state is not None:
        start, train_seconds, samples = state["epoch"], state["train_seconds"], state["samples"]
        networks.restore(state["networks"])
        balance_encoder.load_state_dict(state["balance_encoder"])
        balance_generator.load_state_dict(state["balance_generator"])
        restore_random_state(state["random"])
    steps = len(train) // settings.batch_size
    with progress_bar(settings.epochs * steps, f"introvae {name} seed {request.seed}", "step", start * steps) as bar:
        for epoch in range(start + 1, settings.epochs + 1):
            before = folder.seconds
            sums: dict[str, Tensor] = {}
            for batch in torch.randperm(len(train)).split(settings.batch_size)[:steps]:
                images = _augment(train[batch.to(device)], flip=settings.flip)
                if epoch <= settings.warmup_epochs:
                    losses = warmup_step(networks, images, settings)
                else:
                    losses = adversarial_step(networks, images, balance_encoder, balance_generator, settings)
                    losses |= _named_weights("encoder", balance_encoder) | _named_weights(
                        "generator", balance_generator
                    )
                sums = {key: sums.get(key, 0.0) + value for key, value in losses.items()}
                bar.update()
            train_seconds += folder.seconds - before
            row: dict[str, Any] = {
                "epoch": epoch,
                "phase": "warmup" if epoch <= settings.warmup_epochs else "adversarial",
            }
            row |= {key: value.item() / steps for key, value in sums.items()}
            diverged = not all(np.isfinite(value) for value in row.values() if isinstance(value, float))
            if epoch in settings.report_epochs and not diverged:
                for key, images in sets.items():
                    reconstructions = reconstruct(networks, images, settings)
                    row |= _measure(images.cpu(), reconstructions.cpu(), key)
                    samples[f"{key}_epoch_{epoch}"] = _shown(reconstructions).cpu()
            folder.history.append(row)
            if diverged:
                break
            folder.save(
                {
                    "epoch": epoch,
                    "train_seconds": train_seconds,
                    "samples": samples,
                    "networks": networks.state(),
                    "balance_encoder": balance_encoder.state_dict(),
                    "balance_generator": balance_generator.state_dict(),
                    "random": random_state(),
                },
                now=epoch == settings.epochs,
            )
    networks.generator.eval()
    with torch.no_grad(), _autocast(fixed_codes, settings):
        samples["prior"] = networks.generator(fixed_codes).cpu()
    last = folder.history[-1]
    folder.finish(
        {key: value for key, value in last.items() if isinstance(value, float) and np.isfinite(value)}
        | {"verdict": "diverged" if diverged else "trained", "epochs": last["epoch"]},
        samples={key: np.asarray(value, dtype=np.float32) for key, value in samples.items()},
        data_checksums=faces.checksums,
        times={"train": train_seconds},
    )


def _named_weights(network: str, balance: "nn.Module") -> dict[str, "Tensor"]:
    """The current weights of a network's loss components, scalars by name."""
    from models.introvae import COMPONENTS

    weights = balance.get_buffer("weights").clone().unbind()
    return {f"{network}_weight_{name}": weight for name, weight in zip(COMPONENTS[network], weights, strict=True)}


def _autocast(like: "Tensor", settings: "IntroVAESettings") -> Any:
    import torch

    return torch.autocast(like.device.type, torch.bfloat16, enabled=settings.precision == "bfloat16")


def _augment(images: "Tensor", *, flip: bool) -> "Tensor":
    """uint8 (N, C, S, S) -> float32 in [0, 1], channels last, half of them mirrored if asked."""
    import torch

    images = images.to(memory_format=torch.channels_last).float() / 255
    if not flip:
        return images
    mirrored = torch.rand(len(images), 1, 1, 1).to(images.device) < 0.5
    return torch.where(mirrored, images.flip(-1), images)


def _measure(images: "Tensor", reconstructions: "Tensor", name: str) -> dict[str, float]:
    """PSNR (dB) and SSIM, means over the images of a set."""
    from experiments.metrics.psnr import psnr
    from experiments.metrics.ssim import ssim

    return {
        f"{name}_psnr": psnr(images, reconstructions).mean().item(),
        f"{name}_ssim": ssim(images, reconstructions).mean().item(),
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
    run(
        command_line.parse(
            "introvae",
            "Train IntroVAE on faces with fixed weights or an adaptive rule, and measure its reconstructions of training "
            "and held-out images (paper section 4.2). Writes a run folder.",
            with_methods=True,
            arguments=arguments,
        )
    )


if __name__ == "__main__":
    run_main(main)
