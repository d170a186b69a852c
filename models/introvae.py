"""IntroVAE: an encoder and a generator that play against each other, without a discriminator (Huang et al. 2018).

The networks follow the published design; the loss components are those of equations 10 and 11 of the SoftAdapt paper,
unweighted. `models.soft_introvae` has other losses for the same networks.
"""

import itertools
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

COMPONENTS: dict[str, tuple[str, ...]] = {
    "encoder": ("kl_real", "margin_fake", "reconstruction"),
    "generator": ("kl_fake", "reconstruction"),
}
"""Names of the loss components of L_E and of L_G, in the order of their weights."""

SMALLEST_MAP = 4
"""Side in pixels of the feature maps between the convolutions and the latent code, as published."""

Normalization = Literal["batch", "group"]
Hinge = Literal["image", "batch"]


def _normalization(kind: Normalization, channels: int) -> nn.Module:
    """Batch normalisation as published; group normalisation treats an image alike whatever batch it sits in."""
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.GroupNorm(max(1, channels // 8), channels)


def _full_precision(values: Tensor) -> Tensor:
    """Undo autocast, under which losses would be summed in bfloat16."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _check_sizes(image_size: int, channels: Sequence[int]) -> None:
    if image_size != SMALLEST_MAP << len(channels):
        raise ValueError(
            f"{len(channels)} channels take images of {SMALLEST_MAP << len(channels)} px, got {image_size}"
        )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut: (N, C_in, H, W) -> (N, C_out, H, W).

    The sum of both is normalised, as published; the shortcut is a 1x1 convolution where C_in and C_out differ.
    """

    def __init__(self, channels_in: int, channels_out: int, normalization: Normalization) -> None:
        super().__init__()
        self.shortcut = (
            nn.Identity() if channels_in == channels_out else nn.Conv2d(channels_in, channels_out, 1, bias=False)
        )
        self.first = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.first_norm = _normalization(normalization, channels_out)
        self.second = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.sum_norm = _normalization(normalization, channels_out)
        self.activation = nn.LeakyReLU(0.2, inplace=True)  # normalisations do not need their outputs again

    def forward(self, features: Tensor) -> Tensor:
        """Return the transformed features."""
        inner = self.activation(self.first_norm(self.first(features)))
        return self.activation(self.sum_norm(self.second(inner).add_(self.shortcut(features))))


class Encoder(nn.Module):
    """Images (N, C, S, S) in [0, 1] -> mean and log-variance of the posterior, (N, latent_size) each.

    Args:
        image_size: side S = 4 * 2^n for n channels.
        image_channels: C.
        channels: feature maps after each halving of the resolution; the smallest maps have 4 px.
        latent_size: dimension of the latent code.
        normalization: ``"batch"`` as published, or ``"group"``.

    Raises:
        ValueError: if the image size does not fit the number of channels.
    """

    def __init__(
        self,
        image_size: int,
        image_channels: int,
        channels: Sequence[int],
        latent_size: int,
        normalization: Normalization = "batch",
    ) -> None:
        super().__init__()
        _check_sizes(image_size, channels)
        self.image_channels = image_channels
        layers: list[nn.Module] = [
            nn.Conv2d(image_channels, channels[0], 5, padding=2, bias=False),
            _normalization(normalization, channels[0]),
            nn.LeakyReLU(0.2, inplace=True),
            nn.AvgPool2d(2),
        ]
        for narrow, wide in itertools.pairwise(channels):
            layers += [ResidualBlock(narrow, wide, normalization), nn.AvgPool2d(2)]
        layers.append(ResidualBlock(channels[-1], channels[-1], normalization))
        self.features = nn.Sequential(*layers)
        self.posterior = nn.Linear(channels[-1] * SMALLEST_MAP**2, 2 * latent_size)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the posterior's mean and log-variance, in full precision also under autocast."""
        mean, log_variance = _full_precision(self.posterior(self.features(images).flatten(1))).chunk(2, dim=-1)
        return mean, log_variance


class Generator(nn.Module):
    """Latent codes (N, latent_size) -> images (N, C, S, S); arguments and errors as for `Encoder`.

    The output is linear, as published: training draws it towards [0, 1], but nothing holds it there.
    """

    def __init__(
        self,
        image_size: int,
        image_channels: int,
        channels: Sequence[int],
        latent_size: int,
        normalization: Normalization = "batch",
    ) -> None:
        super().__init__()
        _check_sizes(image_size, channels)
        self.project = nn.Sequential(
            nn.Linear(latent_size, channels[-1] * SMALLEST_MAP**2),
            nn.ReLU(),
            nn.Unflatten(1, (channels[-1], SMALLEST_MAP, SMALLEST_MAP)),
        )
        layers: list[nn.Module] = []
        for wide, narrow in itertools.pairwise([channels[-1], *reversed(channels)]):
            layers += [ResidualBlock(wide, narrow, normalization), nn.Upsample(scale_factor=2)]
        layers += [
            ResidualBlock(channels[0], channels[0], normalization),
            nn.Conv2d(channels[0], image_channels, 5, padding=2),
        ]
        self.features = nn.Sequential(*layers)

    def forward(self, codes: Tensor) -> Tensor:
        """Return images, in full precision also under autocast."""
        return _full_precision(self.features(self.project(codes)))


def sample_posterior(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """Reparameterised sample mean + exp(log_variance / 2) * noise, (N, latent_size)."""
    return mean + (0.5 * log_variance).exp() * noise


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, I)) per image, nats: (N, latent_size) twice -> (N,) (equation 12)."""
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(-1)


def reconstruction_error(images: Tensor, reconstructions: Tensor) -> Tensor:
    """L_AE per image, half the squared error summed over its pixels: (N, C, S, S) twice -> (N,) (equation 13)."""
    return 0.5 * (reconstructions - images).square().flatten(1).sum(-1)


def encoder_loss_components(
    kl_real: Tensor,
    kl_reconstructed: Tensor,
    kl_sampled: Tensor,
    reconstruction: Tensor,
    margin: float,
    hinge: Hinge = "image",
) -> dict[str, Tensor]:
    """Components of L_E, unweighted scalars (equation 10).

    Args:
        kl_real: KL of the posteriors of real images (N,).
        kl_reconstructed: the same of reconstructions (N,), computed from detached images.
        kl_sampled: the same of images decoded from the prior (N,), computed from detached images.
        reconstruction: L_AE (N,).
        margin: m, nats.
        hinge: ``"image"`` takes [m - KL]^+ of every image, as the equation reads; ``"batch"`` of the batch's mean KL,
            as the code of IntroVAE's authors does. They differ while some images lie beyond the margin.
    """
    if hinge == "batch":
        kl_reconstructed, kl_sampled = kl_reconstructed.mean(), kl_sampled.mean()
    margin_fake = (margin - kl_reconstructed).relu().mean() + (margin - kl_sampled).relu().mean()
    return {"kl_real": kl_real.mean(), "margin_fake": margin_fake, "reconstruction": reconstruction.mean()}


def generator_loss_components(
    kl_reconstructed: Tensor, kl_sampled: Tensor, reconstruction: Tensor
) -> dict[str, Tensor]:
    """Components of L_G, unweighted scalars (equation 11); arguments as for `encoder_loss_components`, nothing detached."""
    return {"kl_fake": kl_reconstructed.mean() + kl_sampled.mean(), "reconstruction": reconstruction.mean()}
