"""Structural similarity."""

import torch
from torch import Tensor

from experiments.metrics.psnr import check_pair

WINDOW = 11


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """SSIM of each pair of images (Wang et al. 2004).

    Gaussian window of 11 taps, sigma 1.5, over the region where it fits; no downsampling; mean over the channels.

    Args:
        x: (N, C, H, W) floating point in [0, 1], H and W at least 11.
        y: the same shape.

    Returns:
        (N,) float64.

    Raises:
        ValueError: if shape, dtype or range do not fit.
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
