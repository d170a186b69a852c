"""Peak signal-to-noise ratio."""

import torch
from torch import Tensor


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """PSNR in dB of each pair of images, 10 log10(1 / MSE), infinite for equal images.

    Computed here, not by piq, which adds 1e-8 to the mean squared error and so caps the ratio at 80 dB.

    Args:
        x: (N, C, H, W) floating point in [0, 1].
        y: the same shape.

    Returns:
        (N,) float64.

    Raises:
        ValueError: if shape, dtype or range do not fit.
    """
    check_pair(x, y)
    return -10 * (x.double() - y.double()).square().flatten(1).mean(1).log10()


def check_pair(x: Tensor, y: Tensor) -> None:
    """Raise `ValueError` unless both are (N, C, H, W), floating point and in [0, 1]."""
    if x.dim() != 4 or x.shape != y.shape:
        raise ValueError(f"images must share a shape (N, C, H, W), got {tuple(x.shape)} and {tuple(y.shape)}")
    for name, images in (("x", x), ("y", y)):
        if not images.is_floating_point():
            raise ValueError(f"{name} must be floating point in [0, 1], got {images.dtype}")
        low, high = torch.aminmax(images)
        if not (low >= 0 and high <= 1):
            raise ValueError(f"{name} must lie in [0, 1], got values from {low.item():g} to {high.item():g}")
