"""The updates of IntroVAE: a step of each network, and reconstructions (Huang et al. 2018; SoftAdapt paper, eqs. 10, 11).

The order is that of the published code: the encoder sees reconstructions and samples detached, and is updated before the
generator's KL terms are computed. Each update differentiates only with respect to the parameters it changes: the
encoder's leaves the generator's weights out, the generator's goes through the encoder but not to its weights. Encoder
passes are not merged, since batch normalisation would then mix real, reconstructed and sampled images.

With several ranks (`experiments.introvae.ranks`) a pass whose gradients change a network goes through its replica, which averages
them; the generator's update goes through the encoder itself, as evaluation does. Whatever is not linear in a batch's mean,
a rule's weights or the hinge of the batch, sees the mean of the global batch.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from experiments.introvae.ranks import Ranks
from experiments.introvae.settings import IntroVAEMethod, IntroVAESettings
from experiments.runs.errors import UserError
from experiments.weightings import build
from models.introvae import (
    COMPONENTS,
    Encoder,
    Generator,
    encoder_loss_components,
    generator_loss_components,
    kl_divergence,
    reconstruction_error,
    sample_posterior,
)

_NETWORKS = ("encoder", "generator")
_PARTS = (*_NETWORKS, "encoder_optimizer", "generator_optimizer")


@dataclass
class Networks:
    """The two networks and their optimisers; the replicas are the networks themselves where there is one rank."""

    encoder: Encoder
    generator: Generator
    encoder_optimizer: torch.optim.Optimizer
    generator_optimizer: torch.optim.Optimizer
    ranks: Ranks = field(default_factory=Ranks)

    def __post_init__(self) -> None:
        self.encoder_replica = self.ranks.replicate(self.encoder)
        self.generator_replica = self.ranks.replicate(self.generator)

    def state_dict(self) -> dict[str, Any]:
        """State of networks and optimisers, for a checkpoint; the same on every rank, and for any number of them."""
        return {name: getattr(self, name).state_dict() for name in _PARTS}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for name in _PARTS:
            getattr(self, name).load_state_dict(state[name])

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Both networks in evaluation mode and without gradients, then back in training mode."""
        self.encoder.eval()
        self.generator.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.encoder.train()
            self.generator.train()


def build_networks(
    settings: IntroVAESettings, image_channels: int, device: torch.device, ranks: Ranks | None = None
) -> Networks:
    """Networks and fused Adam optimisers in channels-last layout, compiled if the settings say so.

    Raises:
        UserError: if these settings do not go with so many ranks (by default one).
    """
    ranks = ranks or Ranks()
    if settings.batch_size % ranks.count:
        raise UserError(
            f"introvae.batch_size {settings.batch_size}: the {ranks.count} ranks share a batch; take a multiple "
            "(--batch-size), or start another number of ranks"
        )
    sizes = (settings.image_size, image_channels, settings.channels, settings.latent_size, settings.normalization)
    encoder = Encoder(*sizes).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = Generator(*sizes).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if ranks.count > 1 and settings.normalization == "batch":
        if device.type != "cuda":
            raise UserError(
                "introvae.normalization batch: the ranks can share batch statistics on CUDA devices alone; take group "
                "(--normalization group), or start one rank"
            )
        for network in (encoder, generator):
            nn.SyncBatchNorm.convert_sync_batchnorm(network)  # in place, names and parameters kept
    if settings.compile:
        encoder.compile()
        generator.compile()
    encoder_optimizer, generator_optimizer = (
        torch.optim.Adam(network.parameters(), settings.learning_rate, fused=True) for network in (encoder, generator)
    )
    return Networks(encoder, generator, encoder_optimizer, generator_optimizer, ranks)


def build_balances(
    networks: Networks, method: IntroVAEMethod, source: str, steps_per_epoch: int, device: torch.device
) -> tuple[nn.Module, nn.Module]:
    """The rules that weigh L_E and L_G; what they learn by gradients goes to the network's optimiser."""
    balances = []
    for network, names in COMPONENTS.items():
        shared = getattr(networks, network).parameters()
        spec = getattr(method, network)
        balance = build(spec, names, f"{source}.{network}", steps_per_epoch, shared).to(device)
        if learned := list(balance.parameters()):
            getattr(networks, f"{network}_optimizer").add_param_group({"params": learned})
        balances.append(balance)
    return balances[0], balances[1]


def _changed_by(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def autocast(like: Tensor, settings: IntroVAESettings) -> torch.autocast:
    """Mixed precision on the device of `like`, if the settings ask for bfloat16."""
    return torch.autocast(like.device.type, torch.bfloat16, enabled=settings.precision == "bfloat16")


def warmup_step(networks: Networks, images: Tensor, settings: IntroVAESettings) -> dict[str, Tensor]:
    """One step of both networks as a plain VAE; returns the losses and gradient norms, detached scalars."""
    ranks = networks.ranks
    with autocast(images, settings):
        mean, log_variance = networks.encoder_replica(images)
        reconstructed = networks.generator_replica(sample_posterior(mean, log_variance, ranks.noise_like(mean)))
    kl_real = kl_divergence(mean, log_variance).mean()
    reconstruction = settings.reconstruction_scale * reconstruction_error(images, reconstructed)
    networks.encoder_optimizer.zero_grad()
    networks.generator_optimizer.zero_grad()
    (kl_real + settings.warmup_reconstruction_weight * reconstruction).backward()
    networks.encoder_optimizer.step()
    networks.generator_optimizer.step()
    losses = ranks.average({"kl_real": kl_real.detach(), "reconstruction": reconstruction.detach()})
    return losses | {f"gradient_norm_{name}": _gradient_norm(getattr(networks, name)) for name in _NETWORKS}


def adversarial_step(
    networks: Networks,
    images: Tensor,
    balance_encoder: nn.Module,
    balance_generator: nn.Module,
    settings: IntroVAESettings,
    margin: float,
) -> dict[str, Tensor]:
    """One update of the encoder, then one of the generator (equations 10 and 11).

    Args:
        networks: updated in place.
        images: (N, C, S, S) in [0, 1]; this rank's share of the batch.
        balance_encoder: weighs the components of L_E.
        balance_generator: weighs the components of L_G.
        settings: precision, scale of the reconstruction, reading of the hinge.
        margin: m of the hinge, nats.

    Returns:
        The loss components, KL terms, share beyond the margin and gradient norms, detached scalars; of the whole batch.
    """
    encoder, generator, ranks = networks.encoder_replica, networks.generator_replica, networks.ranks
    with autocast(images, settings):
        mean, log_variance = encoder(images)
        reconstructed = generator(sample_posterior(mean, log_variance, ranks.noise_like(mean)))
        sampled = generator(ranks.noise_like(mean))
        kl_reconstructed = kl_divergence(*encoder(reconstructed.detach()))
        kl_sampled = kl_divergence(*encoder(sampled.detach()))
    reconstruction = settings.reconstruction_scale * reconstruction_error(images, reconstructed)
    kl_real = kl_divergence(mean, log_variance)
    fakes = {"kl_reconstructed": kl_reconstructed, "kl_sampled": kl_sampled}
    if settings.hinge == "batch":  # not linear in the batch's mean, which has to be that of all ranks
        fakes = ranks.average({name: kl.mean() for name, kl in fakes.items()})
    encoder_losses = ranks.average(
        encoder_loss_components(kl_real, **fakes, reconstruction=reconstruction, margin=margin, hinge=settings.hinge)
    )
    networks.encoder_optimizer.zero_grad()
    balance_encoder(encoder_losses).backward(inputs=_changed_by(networks.encoder_optimizer), retain_graph=True)
    networks.encoder_optimizer.step()

    with _frozen(networks.encoder) as frozen:  # the generator's update needs gradients through it, not of it
        with autocast(images, settings):
            generator_losses = ranks.average(
                generator_loss_components(
                    kl_divergence(*frozen(reconstructed)), kl_divergence(*frozen(sampled)), reconstruction
                )
            )
        networks.generator_optimizer.zero_grad()
        balance_generator(generator_losses).backward(inputs=_changed_by(networks.generator_optimizer))
        networks.generator_optimizer.step()
    observed = {
        "kl_reconstructed": kl_reconstructed.mean(),
        "kl_sampled": kl_sampled.mean(),
        "beyond_margin_share": (torch.cat((kl_reconstructed, kl_sampled)) > margin).float().mean(),
    }
    observed = ranks.average({name: value.detach() for name, value in observed.items()})
    observed["kl_fake"] = generator_losses["kl_fake"]
    observed |= {f"gradient_norm_{name}": _gradient_norm(getattr(networks, name)) for name in _NETWORKS}
    return {name: value.detach() for name, value in (encoder_losses | observed).items()}


@contextmanager
def _frozen(network: nn.Module) -> Iterator[nn.Module]:
    """Inside, the network's parameters need no gradients; afterwards they do again, whatever happened."""
    try:
        yield network.requires_grad_(False)
    finally:
        network.requires_grad_(True)


def _gradient_norm(network: nn.Module) -> Tensor:
    """L2 norm () of the gradients of all parameters."""
    return nn.utils.get_total_norm([p.grad for p in network.parameters() if p.grad is not None])


def recompute_batch_statistics(
    networks: Networks, batches: Callable[[], Iterable[Tensor]], settings: IntroVAESettings
) -> None:
    """Set the statistics of batch normalisation to their means over real images and their reconstructions.

    While training, the encoder meets real, reconstructed and sampled images in turn and its running averages mix them, so
    that in evaluation mode no kind of image has the statistics it was trained with. The averages are replaced, the
    encoder's first, then the generator's for the codes of the encoder as it will be used. (Precise batch normalisation,
    Wu and Johnson 2021.) Training itself does not read them. Without batch normalisation nothing changes.

    Args:
        networks: in training mode; updated in place. Several ranks see the same batches, so that their shared statistics
            are those of one, but for counting every pixel once per rank in the correction of the variance (n - 1).
        batches: called twice, each time gives batches (N, C, S, S) in [0, 1] one by one.
        settings: precision.
    """
    with torch.no_grad():
        with _cumulative_averages(networks.encoder):
            for images in batches():
                with autocast(images, settings):
                    networks.encoder(images)
        networks.encoder.eval()
        with _cumulative_averages(networks.generator):
            for images in batches():
                with autocast(images, settings):
                    networks.generator(networks.encoder(images)[0])
        networks.encoder.train()


@contextmanager
def _cumulative_averages(network: nn.Module) -> Iterator[None]:
    """Start the running averages of batch normalisation anew, every batch counting alike."""
    layers = [module for module in network.modules() if isinstance(module, (nn.BatchNorm2d, nn.SyncBatchNorm))]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


def reconstruct(networks: Networks, images: Tensor, settings: IntroVAESettings) -> Tensor:
    """Reconstructions (N, C, S, S) in [0, 1] from the posterior's mean, networks in evaluation mode."""
    with networks.evaluating(), autocast(images, settings):
        batches = [networks.generator(networks.encoder(batch)[0]) for batch in images.split(settings.batch_size)]
    return torch.cat(batches)


def decode(networks: Networks, codes: Tensor, settings: IntroVAESettings) -> Tensor:
    """Images (N, C, S, S) in [0, 1] from latent codes (N, latent_size), generator in evaluation mode."""
    with networks.evaluating(), autocast(codes, settings):
        return torch.cat([networks.generator(batch) for batch in codes.split(settings.batch_size)])
