"""Peak signal-to-noise ratio (PSNR), and the check of image pairs that PSNR and SSIM share."""

import torch
from torch import Tensor


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Return the PSNR of each pair of images: 10 log10(1 / MSE).

    piq is not used here, since it adds 1e-8 to the mean squared error and so limits the ratio to 80 dB.

    Args:
        x: (N, C, H, W) floating point in [0, 1].
        y: the same shape.

    Returns:
        (N,) float64 in dB; infinite for equal images.

    Raises:
        ValueError: if shape, dtype or range differ from these.
    """
    check_pair(x, y)
    return -10 * (x.double() - y.double()).square().flatten(1).mean(1).log10()


def check_pair(x: Tensor, y: Tensor) -> None:
    """Raise `ValueError` unless both tensors have one shape (N, C, H, W), are floating point and lie in [0, 1].

    Tensors without pixels are refused too.
    """
    if x.dim() != 4 or x.shape != y.shape:
        raise ValueError(f"images must share a shape (N, C, H, W), got {tuple(x.shape)} and {tuple(y.shape)}")
    if not x.numel():
        raise ValueError(f"images must have pixels, got {tuple(x.shape)}")
    for name, images in (("x", x), ("y", y)):
        if not images.is_floating_point():
            raise ValueError(f"{name} must be floating point in [0, 1], got {images.dtype}")
        low, high = torch.aminmax(images)
        if not (low >= 0 and high <= 1):
            raise ValueError(f"{name} must lie in [0, 1], got values from {low.item():g} to {high.item():g}")
