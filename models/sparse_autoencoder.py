"""Sparse autoencoder: one hidden layer, and an L1 norm that drives its activations to zero (paper section 4.3)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

COMPONENTS = ("reconstruction", "sparsity")
"""Names of the loss components, in the order of their weights."""


class SparseAutoencoder(nn.Module):
    """Code h = ReLU(W x + b), reconstruction sigmoid(V h + c).

    Args:
        pixels: number of inputs.
        hidden_units: size of the code.
    """

    def __init__(self, pixels: int = 784, hidden_units: int = 128) -> None:
        super().__init__()
        self.encoder = nn.Linear(pixels, hidden_units)
        self.decoder = nn.Linear(hidden_units, pixels)

    def encode(self, images: Tensor) -> Tensor:
        """Images (N, pixels) in [0, 1] -> code (N, hidden_units) >= 0."""
        return torch.relu(self.encoder(images))

    def decode(self, code: Tensor) -> Tensor:
        """Code (N, hidden_units) -> reconstructions (N, pixels) in [0, 1]."""
        return torch.sigmoid(self.decoder(code))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, pixels) -> reconstructions (N, pixels) and code (N, hidden_units)."""
        code = self.encode(images)
        return self.decode(code), code

    @property
    def decoder_norms(self) -> Tensor:
        """Euclidean norms (hidden_units,) of the decoder's columns, the images that the units add."""
        return self.decoder.weight.norm(dim=0)

    @torch.no_grad()
    def normalize_decoder(self) -> None:
        """Scale every column of the decoder to norm 1. The L1 norm of the code then has a fixed unit."""
        self.decoder.weight.div_(self.decoder_norms)


def loss_components(images: Tensor, reconstructions: Tensor, code: Tensor) -> dict[str, Tensor]:
    """Return the two terms of the loss, unweighted scalars (equation 17).

    ``reconstruction`` is the squared error, summed over an image's pixels; ``sparsity`` is the L1 norm of its code.
    Both are averaged over the images. One sum over everything, divided by the number of images, reads memory once.
    """
    return {
        "reconstruction": mse_loss(reconstructions, images, reduction="sum") / len(images),
        "sparsity": code.abs().sum() / len(images),
    }
