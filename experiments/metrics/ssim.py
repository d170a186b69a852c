"""Structural similarity (SSIM)."""

import torch
from torch import Tensor

from experiments.metrics.psnr import check_pair

WINDOW = 11
"""Side of the Gaussian window in pixels."""


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Return the SSIM of each pair of images (Wang, Bovik, Sheikh and Simoncelli 2004), as piq computes it.

    The window is Gaussian, 11x11 pixels with sigma 1.5, and is placed only where it fits into the image. Images are not
    downsampled. The value is the mean over positions and channels.

    Args:
        x: (N, C, H, W) floating point in [0, 1], H and W at least 11.
        y: the same shape.

    Returns:
        (N,) float64, at most 1, which equal images reach.

    Raises:
        ValueError: if shape, dtype or range differ from these.
    """
    import piq

    check_pair(x, y)
    if min(x.shape[-2:]) < WINDOW:
        raise ValueError(f"images must measure at least {WINDOW} px, got {tuple(x.shape[-2:])}")
    values = piq.ssim(
        x.double(), y.double(), kernel_size=WINDOW, kernel_sigma=1.5, data_range=1.0, reduction="none", downsample=False
    )
    assert isinstance(values, torch.Tensor)
    return values
