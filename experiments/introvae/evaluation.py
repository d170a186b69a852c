"""The networks as they are evaluated and kept: those that train, or moving averages of their weights."""

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from experiments.introvae.updates import NETWORKS, Networks

Batches = Callable[[], Iterable[Tensor]]


class Evaluated:
    """The encoder and the generator to evaluate.

    Without averages they are the networks that train. With ``ema_decay`` d they are copies whose parameters follow after
    each step: average <- d' average + (1 - d') parameter, with d' = min(d, (1 + n) / (10 + n)) at step n, so that the
    first weights are soon forgotten.

    Args:
        networks: that train.

    Attributes:
        encoder: in training mode outside of these methods, as is `generator`.
        generator: see `encoder`.
    """

    def __init__(self, networks: Networks) -> None:
        self.networks, self.settings = networks, networks.settings
        self.averages = self.settings.ema_decay > 0
        self.encoder = copy.deepcopy(networks.encoder) if self.averages else networks.encoder
        self.generator = copy.deepcopy(networks.generator) if self.averages else networks.generator

    def state_dict(self) -> dict[str, Any]:
        """State of the averages, for a checkpoint; empty without averages."""
        return {name: getattr(self, name).state_dict() for name in NETWORKS} if self.averages else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for name, values in state.items():
            getattr(self, name).load_state_dict(values)

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Bring the averages up to the parameters after a step, counted from 0."""
        if self.averages:
            decay = min(self.settings.ema_decay, (1 + step) / (10 + step))
            for name in NETWORKS:
                averages = list(getattr(self, name).parameters())
                torch._foreach_lerp_(averages, list(getattr(self.networks, name).parameters()), 1 - decay)

    def set_batch_statistics(self, batches: Batches) -> None:
        """Set the statistics of batch normalisation as ``batch_statistics`` says; without that layer nothing changes.

        ``running``: those of the networks that train. ``recomputed``: means over real images and their reconstructions.
        While training, the encoder meets real, reconstructed and sampled images in turn and its running averages mix them,
        so that in evaluation mode no kind of image has the statistics it was trained with. The averages are replaced, the
        encoder's first, then the generator's for the codes of the encoder as it will be used. (Precise batch
        normalisation, Wu and Johnson 2021.) Training itself does not read them.

        Args:
            batches: called twice, each time gives batches (N, C, S, S) in [0, 1] one by one. Several ranks see the same
                batches, so that their shared statistics are those of one, but for counting every pixel once per rank in
                the correction of the variance (n - 1).
        """
        if self.settings.batch_statistics == "running":
            if self.averages:
                for name in NETWORKS:
                    buffers = dict(getattr(self.networks, name).named_buffers())
                    getattr(self, name).load_state_dict(buffers, strict=False)
            return
        with torch.no_grad():
            with _cumulative_averages(self.encoder):
                for images in batches():
                    with self.networks.autocast(images):
                        self.encoder(images)
            with _evaluating(self.encoder), _cumulative_averages(self.generator):
                for images in batches():
                    with self.networks.autocast(images):
                        self.generator(self.encoder(images)[0])

    @torch.no_grad()
    def reconstruct(self, images: Tensor) -> Tensor:
        """Reconstructions (N, C, S, S) from the posterior's mean, cut to [0, 1]; networks in evaluation mode."""
        with _evaluating(self.encoder), _evaluating(self.generator), self.networks.autocast(images):
            batches = images.split(self.settings.batch_size)
            return torch.cat([self.generator(self.encoder(batch)[0]) for batch in batches]).clamp(0, 1)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Images (N, C, S, S), cut to [0, 1], from latent codes (N, latent_size); generator in evaluation mode."""
        with _evaluating(self.generator), self.networks.autocast(codes):
            batches = codes.split(self.settings.batch_size)
            return torch.cat([self.generator(batch) for batch in batches]).clamp(0, 1)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Inside, the network is in evaluation mode; afterwards it is in training mode."""
    network.eval()
    try:
        yield
    finally:
        network.train()


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
