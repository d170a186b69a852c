"""Sliced Wasserstein distance between two sets of images, scale by scale (Karras, Aila, Laine and Lehtinen 2018, section 5).

Each image becomes a Laplacian pyramid (Burt and Adelson 1983). Small patches of each level are drawn from both sets, and
the two clouds of patches are compared along random directions. The distance is small where the sets have the same
structures at that scale, whichever image shows them: it asks for the distribution of a set, as PSNR and SSIM ask for
each image.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from experiments.metrics.psnr import check_pair

COARSEST = 16
"""Side in pixels of the last level of the pyramid, which holds what all other levels leave."""

PATCH = 7
"""Side of a patch in pixels."""

CHUNK = 32
"""Directions that are projected on at once, which bounds the memory; their number changes no more than rounding."""

CONSTANT = 1e-6
"""Deviation below which the patches of a channel count as constant: they differ by rounding."""


class SlicedWasserstein(NamedTuple):
    """Distances between two sets of images, in standard deviations of a channel.

    Attributes:
        mean: mean over the levels.
        levels: distance by the side of the level in pixels, finest first.
    """

    mean: float
    levels: dict[int, float]


def sliced_wasserstein(
    x: Tensor, y: Tensor, *, patches: int = 128, directions: int = 512, seed: int = 0
) -> SlicedWasserstein:
    """Return the sliced Wasserstein distance of two sets of images, with the published settings as defaults.

    The values of each channel of a set's patches are brought to mean 0 and standard deviation 1 by the statistics of
    that set itself, as published. A level is therefore blind to a change of brightness or contrast of a whole set, but
    not to one that differs between images or between the frequencies of a level. A channel that is constant becomes 0.

    Published tables multiply the distance by 1,000; this function does not. Two sets from one source have a distance
    above 0, which falls with their size: compare it with the distance of two halves of the real images. Images and
    their reconstructions may come closer, since both sets are cut at the same places; a set has distance 0 to itself.

    The draws depend on the arguments alone, not on the device.

    Args:
        x: (N, C, S, S) floating point in [0, 1], N at least 2, S = 16, 32, 64, ...
        y: the same shape.
        patches: number of patches from each level of an image. Its places are drawn with replacement.
        directions: number of random directions.
        seed: of the places of the patches and of the directions.

    Returns:
        The distance of each level and their mean, at least 0, computed in float32.

    Raises:
        ValueError: if shape, dtype or range differ from these, or a number is not positive.
    """
    check_pair(x, y)
    count, channels, side, width = x.shape
    if side != width or side < COARSEST or side.bit_count() != 1:
        raise ValueError(f"images must be squares of 16, 32, 64, ... px, got {side}x{width} px")
    if count < 2:
        raise ValueError(f"each set must hold at least 2 images, got {count}")
    if patches < 1 or directions < 1:
        raise ValueError(f"patches and directions must be positive, got {patches} and {directions}")
    generator = torch.Generator().manual_seed(seed)
    levels = {}
    for of_x, of_y in zip(laplacian_pyramid(x.detach()), laplacian_pyramid(y.detach()), strict=True):
        size = of_x.shape[-1]
        places = torch.randint(size - PATCH + 1, (2, count, patches), generator=generator).to(x.device)
        axes = torch.randn(directions, channels * PATCH**2, generator=generator).to(x.device)
        clouds = [_normalised(_patches(level, places)) for level in (of_x, of_y)]
        levels[size] = cloud_distance(clouds[0], clouds[1], axes / axes.norm(dim=1, keepdim=True))
    return SlicedWasserstein(sum(levels.values()) / len(levels), levels)


def laplacian_pyramid(images: Tensor) -> list[Tensor]:
    """Split images into frequency bands.

    A level is what an image loses when it is halved and doubled again. Both steps smooth rows and columns with the weights
    1, 4, 6, 4, 1 over 16; borders are mirrored without repeating the outermost pixel.

    Args:
        images: (N, C, S, S) floating point, S = 16, 32, 64, ...

    Returns:
        Float32 tensors (N, C, S, S), (N, C, S / 2, S / 2), ... down to 16 px; the last one is the smoothed image.
    """
    levels, rest = [], images.float()
    while (side := rest.shape[-1]) > COARSEST:
        smooth = _smoothing(side).to(rest.device)
        halve, double = smooth[::2], 2 * smooth[:, ::2]  # doubling puts zeros between the pixels and smooths
        half = halve @ rest @ halve.T
        levels.append(rest - double @ half @ double.T)
        rest = half
    return [*levels, rest]


def _smoothing(side: int) -> Tensor:
    """Return the matrix (side, side) that smooths a column of pixels."""
    last = side - 1
    beyond = torch.arange(side)[:, None] + torch.arange(-2, 3)
    mirrored = last - (last - beyond.abs()).abs()
    weights = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    return torch.zeros(side, side).scatter_add_(1, mirrored, weights.expand(side, 5))


def _patches(level: Tensor, places: Tensor) -> Tensor:
    """Cut patches from images (N, C, S, S) at rows and columns (2, N, patches); returns (N x patches, C, 49)."""
    windows = level.unfold(2, PATCH, 1).unfold(3, PATCH, 1)
    images = torch.arange(len(level), device=level.device)[:, None]
    return windows[images, :, places[0], places[1]].flatten(0, 1).flatten(2)


def _normalised(patches: Tensor) -> Tensor:
    """Bring the values of each channel to mean 0 and deviation 1 over all patches (n, C, 49); returns (n, C x 49).

    The patches are overwritten.
    """
    deviation, mean = torch.std_mean(patches, dim=(0, 2), correction=0, keepdim=True)
    scale = torch.where(deviation > CONSTANT, 1 / deviation, 0)
    return patches.sub_(mean).mul_(scale).flatten(1)


def cloud_distance(x: Tensor, y: Tensor, axes: Tensor) -> float:
    """Return the mean over directions of the Wasserstein distance between the projections of two clouds of points.

    In one dimension this distance pairs the points by rank: it is the mean absolute difference of the sorted projections.

    Args:
        x: points (n, d), float32.
        y: points (n, d), float32.
        axes: unit vectors (directions, d), float32.
    """
    distances = [_sorted(chunk @ x.T).sub_(_sorted(chunk @ y.T)).abs_().mean(1) for chunk in axes.split(CHUNK)]
    return torch.cat(distances).double().mean().item()


def _sorted(values: Tensor) -> Tensor:
    """Sort each row, on a CPU in place: NumPy takes a twentieth of torch's time where the processor has AVX-512."""
    if values.device.type != "cpu":
        return values.sort().values
    values.numpy().sort(axis=1)
    return values
