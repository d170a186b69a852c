"""The updates of IntroVAE and Soft-IntroVAE: one step of each network (Huang et al. 2018, Daniel and Tamar 2021).

The order is that of the published codes: the encoder sees reconstructions and samples detached, and is updated before the
generator's KL terms are computed. Each update differentiates only with respect to the parameters it changes: the
encoder's leaves the generator's weights out, the generator's goes through the encoder but not to its weights. Encoder
passes are not merged, since batch normalisation would then mix real, reconstructed and sampled images.

With several ranks (`experiments.introvae.ranks`) a pass whose gradients change a network goes through its replica, which averages
them; the generator's update goes through the encoder itself, as evaluation does. Whatever is not linear in a batch's mean,
a rule's weights or the hinge of the batch, sees the mean of the global batch.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from experiments.introvae.ranks import Ranks
from experiments.introvae.settings import IntroVAEMethod, IntroVAESettings
from experiments.runs.errors import UserError
from experiments.weightings import build
from models import introvae, soft_introvae
from models.introvae import Encoder, Generator, kl_divergence, reconstruction_error, sample_posterior

COMPONENTS: dict[str, dict[str, tuple[str, ...]]] = {
    "introvae": introvae.COMPONENTS,
    "soft-introvae": soft_introvae.COMPONENTS,
}
"""Objective -> network -> names of its loss components, in the order of their weights."""

NETWORKS = ("encoder", "generator")
_PARTS = (*NETWORKS, "encoder_optimizer", "generator_optimizer")


@dataclass
class Networks:
    """The two networks, their optimisers and how they are trained.

    The replicas are the networks themselves where there is one rank.
    """

    encoder: Encoder
    generator: Generator
    encoder_optimizer: torch.optim.Optimizer
    generator_optimizer: torch.optim.Optimizer
    settings: IntroVAESettings
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

    def schedule(self, step: int, steps: int) -> None:
        """Set the learning rate of a step, counted from 0, of so many in all: constant, then falling linearly to zero."""
        falling = self.settings.decay_share * steps
        share = min(1.0, (steps - step) / falling) if falling else 1.0
        for optimizer in (self.encoder_optimizer, self.generator_optimizer):
            for group in optimizer.param_groups:
                group["lr"] = share * self.settings.learning_rate

    @property
    def pixel_share(self) -> float:
        """One over the number of an image's pixels, colours counted apart: s of Soft-IntroVAE."""
        return 1 / (self.encoder.image_channels * self.settings.image_size**2)

    def error(self, images: Tensor, reconstructions: Tensor) -> Tensor:
        """L_AE per image (N,), scaled as the settings say."""
        return self.settings.reconstruction_scale * reconstruction_error(images, reconstructions)

    def autocast(self, like: Tensor) -> torch.autocast:
        """Mixed precision on the device of `like`, if the settings ask for bfloat16."""
        return torch.autocast(like.device.type, torch.bfloat16, enabled=self.settings.precision == "bfloat16")


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
    return Networks(encoder, generator, encoder_optimizer, generator_optimizer, settings, ranks)


class Balance(nn.Module):
    """The weighted sum of a network's loss components: a rule weighs them, but for those that keep weight 1.

    Args:
        rule: weighs the components that are not in `unweighted`, in their order.
        names: of all components.
        unweighted: names of the components that have weight 1.
    """

    def __init__(self, rule: nn.Module, names: Sequence[str], unweighted: Sequence[str] = ()) -> None:
        super().__init__()
        self.rule, self.names, self.unweighted = rule, tuple(names), tuple(unweighted)
        self.weighed = tuple(name for name in names if name not in unweighted)

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum () of the named scalar losses."""
        total = self.rule({name: losses[name] for name in self.weighed})
        return sum((losses[name] for name in self.unweighted), total)

    def weights(self) -> dict[str, Tensor]:
        """The weights just used, scalars by name."""
        current = self.rule.get_buffer("weights").clone()
        by_name = dict(zip(self.weighed, current.unbind(), strict=True))
        return {name: by_name.get(name, current.new_ones(())) for name in self.names}


def build_balance(
    method: IntroVAEMethod,
    network: str,
    objective: str,
    source: str,
    steps_per_epoch: int = 1,
    shared: Iterable[Tensor] = (),
) -> Balance:
    """The rule that weighs the loss of ``"encoder"`` or ``"generator"``; `source`, for messages, names the method.

    Raises:
        UserError: if the rule refuses its options, or if fewer than two components are left to it.
    """
    names = COMPONENTS[objective][network]
    unweighted = method.unweighted if network == "encoder" else []
    weighed = [name for name in names if name not in unweighted]
    if len(names) - len(weighed) != len(unweighted) or len(weighed) < 2:
        raise UserError(
            f"{source}.unweighted: must name components of L_E ({', '.join(names)}), each once, and leave two to the "
            f"rule, got {', '.join(unweighted)}"
        )
    rule = build(getattr(method, network), weighed, f"{source}.{network}", steps_per_epoch, shared)
    return Balance(rule, names, unweighted)


def build_balances(
    networks: Networks, method: IntroVAEMethod, source: str, steps_per_epoch: int, device: torch.device
) -> tuple[Balance, Balance]:
    """The rules that weigh L_E and L_G; what they learn by gradients goes to the network's optimiser."""
    balances = []
    for network in NETWORKS:
        shared = getattr(networks, network).parameters()
        objective = networks.settings.objective
        balance = build_balance(method, network, objective, source, steps_per_epoch, shared).to(device)
        if learned := list(balance.parameters()):
            getattr(networks, f"{network}_optimizer").add_param_group({"params": learned})
        balances.append(balance)
    return balances[0], balances[1]


def warmup_step(networks: Networks, images: Tensor) -> dict[str, Tensor]:
    """One step of both networks as a plain VAE; returns the losses and gradient norms, detached scalars."""
    ranks = networks.ranks
    with networks.autocast(images):
        mean, log_variance = networks.encoder_replica(images)
        reconstructed = networks.generator_replica(sample_posterior(mean, log_variance, ranks.noise_like(mean)))
    kl_real = kl_divergence(mean, log_variance).mean()
    reconstruction = networks.error(images, reconstructed).mean()
    networks.encoder_optimizer.zero_grad()
    networks.generator_optimizer.zero_grad()
    (kl_real + networks.settings.warmup_reconstruction_weight * reconstruction).backward()
    networks.encoder_optimizer.step()
    networks.generator_optimizer.step()
    losses = ranks.average({"kl_real": kl_real.detach(), "reconstruction": reconstruction.detach()})
    return losses | {f"gradient_norm_{name}": _gradient_norm(getattr(networks, name)) for name in NETWORKS}


def adversarial_step(
    networks: Networks,
    images: Tensor,
    balance_encoder: nn.Module,
    balance_generator: nn.Module,
    margin: float | None,
) -> dict[str, Tensor]:
    """One update of the encoder, then one of the generator (SoftAdapt paper, equations 10 and 11; or `soft_introvae`).

    Args:
        networks: updated in place.
        images: (N, C, S, S) in [0, 1]; this rank's share of the batch.
        balance_encoder: weighs the components of L_E.
        balance_generator: weighs the components of L_G.
        margin: m of the hinge, nats; None for Soft-IntroVAE.

    Returns:
        The loss components, KL terms, gradient norms and, with a margin, the share of fakes beyond it: detached scalars, of
        the whole batch.
    """
    encoder, generator, ranks = networks.encoder_replica, networks.generator_replica, networks.ranks
    with networks.autocast(images):
        mean, log_variance = encoder(images)
        reconstructed = generator(sample_posterior(mean, log_variance, ranks.noise_like(mean)))
        sampled = generator(ranks.noise_like(mean))
        of_reconstructed, of_sampled = encoder(reconstructed.detach()), encoder(sampled.detach())
    reconstruction = networks.error(images, reconstructed)
    kl_real = kl_divergence(mean, log_variance)
    kl_reconstructed, kl_sampled = kl_divergence(*of_reconstructed), kl_divergence(*of_sampled)
    if margin is None:
        exp_reconstructed = _exponential(
            networks, kl_reconstructed, _error_again(networks, reconstructed, of_reconstructed)
        )
        exp_sampled = _exponential(networks, kl_sampled, _error_again(networks, sampled, of_sampled))
        components = soft_introvae.encoder_loss_components(kl_real, exp_reconstructed, exp_sampled, reconstruction)
    else:
        fakes, hinge = {"kl_reconstructed": kl_reconstructed, "kl_sampled": kl_sampled}, networks.settings.hinge
        if hinge == "batch":  # not linear in the batch's mean, which has to be that of all ranks
            fakes = ranks.average({name: kl.mean() for name, kl in fakes.items()})
        components = introvae.encoder_loss_components(
            kl_real, **fakes, reconstruction=reconstruction, margin=margin, hinge=hinge
        )
    encoder_losses = ranks.average(components)
    networks.encoder_optimizer.zero_grad()
    balance_encoder(encoder_losses).backward(inputs=_changed_by(networks.encoder_optimizer), retain_graph=True)
    networks.encoder_optimizer.step()

    observed = {"kl_reconstructed": kl_reconstructed.mean(), "kl_sampled": kl_sampled.mean()}
    if margin is not None:
        observed["beyond_margin_share"] = (torch.cat((kl_reconstructed, kl_sampled)) > margin).float().mean()

    with _frozen(networks.encoder) as frozen:  # the generator's update needs gradients through it, not of it
        with networks.autocast(images):
            of_reconstructed, of_sampled = frozen(reconstructed), frozen(sampled)
        kl_reconstructed, kl_sampled = kl_divergence(*of_reconstructed), kl_divergence(*of_sampled)
        if margin is None:
            again = [
                _error_again(networks, fake, (mean.detach(), log_variance.detach()))
                for fake, (mean, log_variance) in ((reconstructed, of_reconstructed), (sampled, of_sampled))
            ]
            components = soft_introvae.generator_loss_components(kl_reconstructed, kl_sampled, reconstruction, *again)
        else:
            components = introvae.generator_loss_components(kl_reconstructed, kl_sampled, reconstruction)
        generator_losses = ranks.average(components)
        networks.generator_optimizer.zero_grad()
        balance_generator(generator_losses).backward(inputs=_changed_by(networks.generator_optimizer))
        networks.generator_optimizer.step()

    observed = ranks.average({name: value.detach() for name, value in observed.items()})
    observed |= {f"gradient_norm_{name}": _gradient_norm(getattr(networks, name)) for name in NETWORKS}
    return {name: value.detach() for name, value in (encoder_losses | generator_losses | observed).items()}


def _error_again(networks: Networks, fake: Tensor, posterior: tuple[Tensor, Tensor]) -> Tensor:
    """L_AE per image (N,) between detached fakes and what the generator makes of codes from their posteriors."""
    mean, log_variance = posterior
    with networks.autocast(fake):
        again = networks.generator_replica(sample_posterior(mean, log_variance, networks.ranks.noise_like(mean)))
    return networks.error(fake.detach(), again)


def _exponential(networks: Networks, kl: Tensor, error: Tensor) -> Tensor:
    """exp(2 s ELBO) of fakes, per image (N,), with the constants of the settings; the error is the scaled one."""
    return soft_introvae.exponential(
        kl, error, networks.pixel_share, networks.settings.beta_rec, networks.settings.beta_neg
    )


def _changed_by(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


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
