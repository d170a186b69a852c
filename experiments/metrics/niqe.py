"""NIQE, the natural image quality evaluator (Mittal, Soundararajan and Bovik 2013).

Each block of an image gives 36 features, 18 at each of two scales: the shape of the distribution of its locally
normalised grey values, and of products of neighbouring values. NIQE is the distance between the Gaussian of an image's
features and the Gaussian of pristine images; lower is better. A Gaussian needs several blocks: with a single block,
some implementations return a constant instead, see `collapsed_score`.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy import ndimage, special
from torch import Tensor

FEATURES = 36
"""Features of a block."""

MINIMUM_BLOCKS = 4
"""Smallest number of blocks to which a Gaussian is fitted here."""

DATA_FILES = ("niqe_live_model.npz",)
"""Files beside this one that its numbers come from (`experiments.runs.sources`)."""

LIVE_MODEL = Path(__file__).with_name(DATA_FILES[0])


@dataclass(frozen=True)
class PristineModel:
    """Gaussian of the features of pristine images.

    Attributes:
        mean: (36,) float64.
        covariance: (36, 36) float64.
        block_size: side in pixels of the blocks from which the features were computed.
    """

    mean: np.ndarray
    covariance: np.ndarray
    block_size: int


@cache
def live_model() -> PristineModel:
    """Return the pristine model that LIVE released, fitted to blocks of 96 px; see ``niqe_live_model.NOTICE``."""
    with np.load(LIVE_MODEL, allow_pickle=False) as arrays:
        return PristineModel(arrays["mean"], arrays["covariance"], 96)


def niqe_pooled(images: Tensor, block_size: int = 96, model: PristineModel | None = None) -> float:
    """Return the NIQE of a set of images, with one Gaussian fitted to the blocks of all images.

    For a single image this is the usual NIQE of that image.

    Args:
        images: (N, C, H, W) floating point in [0, 1], C = 1 or 3.
        block_size: side of the blocks in pixels, even.
        model: pristine model of this block size (`fit_pristine_model`); ``None`` means LIVE's model of 96 px.

    Returns:
        One value for the set, lower is better; NaN if fewer than four blocks are not constant.

    Raises:
        ValueError: if the set holds fewer than four blocks, if the model has another block size, or if shape, dtype or
            range of the images differ from these.
    """
    model = model or live_model()
    if model.block_size != block_size:
        raise ValueError(
            f"block_size {block_size} needs a pristine model of that size, this one has {model.block_size}"
        )
    features = block_features(images, block_size).reshape(-1, FEATURES)
    if len(features) < MINIMUM_BLOCKS:
        raise ValueError(
            f"the set holds {len(features)} blocks of {block_size} px, NIQE needs at least {MINIMUM_BLOCKS}: with one "
            "block the score collapses to a constant"
        )
    return gaussian_distance(features, model)


def fit_pristine_model(images: Tensor, block_size: int, sharpest: float = 0.75) -> PristineModel:
    """Fit a pristine model to the sharp blocks of pristine images, as Mittal et al. did.

    Args:
        images: (N, C, H, W) floating point in [0, 1].
        block_size: side of the blocks in pixels, even.
        sharpest: share, 0 to 1. A block is kept if its mean local deviation exceeds this share of the largest one in
            the same image.

    Raises:
        ValueError: if no more blocks remain than there are features, so that the covariance would be singular, or if
            shape, dtype or range of the images differ from these.
    """
    features, deviation = _features_and_deviation(_grey_blocks_whole(images, block_size), block_size)
    sharpness = _blocks(deviation, block_size).mean((-2, -1))
    kept = features[sharpness > sharpest * sharpness.max(-1, keepdims=True)]
    kept = kept[np.isfinite(kept).all(-1)]
    if len(kept) <= FEATURES:
        raise ValueError(
            f"{len(kept)} sharp blocks of {block_size} px cannot fit {FEATURES} features; give more images"
        )
    return PristineModel(kept.mean(0), np.cov(kept, rowvar=False), block_size)


def gaussian_distance(features: np.ndarray, model: PristineModel) -> float:
    """Return the distance between the Gaussian of feature rows (n, 36) and the pristine Gaussian.

    Constant blocks have rows with NaN, which do not count. The distance is NaN if fewer than four other rows remain.
    """
    rows = features[np.isfinite(features).all(-1)]
    if len(rows) < MINIMUM_BLOCKS:
        return float("nan")
    difference = rows.mean(0) - model.mean
    pooled = (np.cov(rows, rowvar=False) + model.covariance) / 2
    return float(np.sqrt(difference @ np.linalg.pinv(pooled) @ difference))


def collapsed_score(features: np.ndarray, model: PristineModel) -> tuple[np.ndarray, np.ndarray]:
    """Return the score that some implementations give to a single block, and its closed form.

    Such implementations take moments down the rows of features, but along the row where there is only one. MATLAB's
    ``nanmean`` and ``nancov`` do so: for one row they return the *scalars* m and v, mean and variance of the 36
    numbers. The scalars are then broadcast against the pristine mean mu and covariance S. With 1 the vector of ones,
    s = 1 / (1' S^-1 1), m_0 = s (1' S^-1 mu) and c^2 = 2 (mu - m_0 1)' S^-1 (mu - m_0 1), the distance is

        sqrt(c^2 + 2 (m - m_0)^2 / (v + s)),

    which is close to c, a constant of the pristine model, for every image.

    Args:
        features: (N, 36), one row per image.
        model: the pristine model.

    Returns:
        The scores (N,) computed with the broadcast scalars, and by the closed form (N,), both float64.
    """
    mean, variance = features.mean(-1), features.var(-1, ddof=1)
    numeric = []
    for m, v in zip(mean, variance, strict=True):
        difference = model.mean - m
        numeric.append(np.sqrt(difference @ np.linalg.pinv((model.covariance + v) / 2) @ difference))
    c, m0, s = collapse_constants(model)
    return np.array(numeric), np.sqrt(c**2 + 2 * (mean - m0) ** 2 / (variance + s))


def collapse_constants(model: PristineModel) -> tuple[float, float, float]:
    """Return the constants c, m_0 and s of `collapsed_score`."""
    precision = np.linalg.inv(model.covariance)
    ones = np.ones(FEATURES)
    s = 1 / (ones @ precision @ ones)
    m0 = s * (ones @ precision @ model.mean)
    centred = model.mean - m0
    return float(np.sqrt(2 * centred @ precision @ centred)), float(m0), float(s)


def block_features(images: Tensor, block_size: int) -> np.ndarray:
    """Compute the features of all blocks.

    Colours become MATLAB's luma (`_LUMA`), rounded to integers of 0 to 255. Images are cropped to whole blocks. The
    second scale is the image halved by bicubic interpolation with antialiasing.

    Args:
        images: (N, C, H, W) floating point in [0, 1], C = 1 or 3.
        block_size: side of the blocks in pixels, even.

    Returns:
        (N, blocks, 36) float64; NaN in rows of constant blocks.

    Raises:
        ValueError: if shape, dtype or range differ from these, or an image holds no whole block.
    """
    return _features_and_deviation(_grey_blocks_whole(images, block_size), block_size)[0]


def _features_and_deviation(grey: np.ndarray, block_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the features (N, blocks, 36) and the local deviations (N, H, W) at full scale of grey images (N, H, W)."""
    full, deviation = _normalised(grey)
    half, _ = _normalised(_halved(grey))
    scales = [_features(_blocks(full, block_size)), _features(_blocks(half, block_size // 2))]
    return np.concatenate(scales, axis=-1), deviation


_LUMA = (0.298936021293775, 0.587043074451121, 0.114020904255103)
"""Weights of R, G and B in MATLAB's rgb2gray, which the reference values use: the first row of the inverse of the NTSC
matrix. Rounding them to four digits shifts a score by 0.008."""


def _grey_blocks_whole(images: Tensor, block_size: int) -> np.ndarray:
    """Return the images as grey values, integers of 0 to 255 as float64 (N, H, W), cropped to whole blocks."""
    if images.dim() != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"images must have shape (N, 1 or 3, H, W), got {tuple(images.shape)}")
    if not images.is_floating_point():
        raise ValueError(f"images must be floating point in [0, 1], got {images.dtype}")
    if block_size < 2 or block_size % 2:
        raise ValueError(f"block_size must be even and positive, got {block_size}")
    values = images.detach().cpu().numpy().astype(np.float64)
    if not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(f"images must lie in [0, 1], got values from {values.min():g} to {values.max():g}")
    height, width = (side // block_size * block_size for side in values.shape[-2:])
    if height == 0 or width == 0:
        raise ValueError(f"images of {values.shape[-2]}x{values.shape[-1]} px hold no block of {block_size} px")
    values = values[..., :height, :width] * 255
    grey = values[:, 0] if values.shape[1] == 1 else np.tensordot(_LUMA, values, axes=(0, 1))
    return np.round(grey)


def _normalised(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Subtract the local mean and divide by the local deviation plus 1, under a 7x7 Gaussian window with sigma 7/6.

    Returns the normalised values and the local deviations, both (N, H, W).
    """
    taps = np.exp(-0.5 * (np.arange(-3, 4) / (7 / 6)) ** 2)
    taps /= taps.sum()

    def smooth(values: np.ndarray) -> np.ndarray:
        rows = ndimage.correlate1d(values, taps, axis=-2, mode="nearest")
        return ndimage.correlate1d(rows, taps, axis=-1, mode="nearest")

    mean = smooth(grey)
    deviation = np.sqrt(np.abs(smooth(grey**2) - mean**2))
    return (grey - mean) / (deviation + 1), deviation


def _halved(grey: np.ndarray) -> np.ndarray:
    """Halve images (N, H, W) by bicubic interpolation with antialiasing.

    The filter has eight taps, the kernel with a = -1/2 stretched by two. Borders are mirrored.
    """
    distance = np.abs(np.arange(-3.5, 4)) / 2
    inner = 1.5 * distance**3 - 2.5 * distance**2 + 1
    outer = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    taps = np.where(distance <= 1, inner, outer)
    taps /= taps.sum()
    for axis in (-2, -1):
        # A filter with an even number of taps is centred half a pixel too late. Origin -1 centres output 2i between the
        # inputs 2i and 2i + 1.
        grey = ndimage.correlate1d(grey, taps, axis=axis, mode="reflect", origin=-1)
    return grey[..., ::2, ::2]


def _blocks(values: np.ndarray, side: int) -> np.ndarray:
    """Cut images (N, H, W) into blocks (N, blocks, side, side), row by row."""
    count, height, width = values.shape
    tiles = values.reshape(count, height // side, side, width // side, side).swapaxes(2, 3)
    return tiles.reshape(count, -1, side, side)


def _features(blocks: np.ndarray) -> np.ndarray:
    """Return the 18 features (N, blocks, 18) of blocks (N, blocks, side, side) at one scale.

    They are shape and scale of the values, and shape, mean and both scales of four products of neighbours.
    """
    shape, left, right = _asymmetric_gaussian(blocks)
    columns = [shape, (left + right) / 2]
    for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
        shape, left, right = _asymmetric_gaussian(blocks * np.roll(blocks, shift, axis=(-2, -1)))
        mean = (right - left) * special.gamma(2 / shape) / special.gamma(1 / shape)
        columns += [shape, mean, left, right]
    return np.stack(columns, axis=-1)


_SHAPES = np.arange(0.2, 10.001, 0.001)
_RATIOS = np.exp(2 * special.gammaln(2 / _SHAPES) - special.gammaln(1 / _SHAPES) - special.gammaln(3 / _SHAPES))


def _asymmetric_gaussian(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit an asymmetric generalised Gaussian to each block by its moments.

    Returns the shape, the left scale and the right scale, each (N, blocks).
    """
    values = blocks.reshape(*blocks.shape[:-2], -1)
    square = values**2
    with np.errstate(invalid="ignore", divide="ignore"):
        left = np.sqrt((square * (values < 0)).sum(-1) / (values < 0).sum(-1))
        right = np.sqrt((square * (values > 0)).sum(-1) / (values > 0).sum(-1))
        ratio = left / right
        moment = np.abs(values).mean(-1) ** 2 / square.mean(-1)
        target = moment * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    # The ratio grows with the shape, so that the nearest entry of the table is next to the place of insertion.
    after = np.searchsorted(_RATIOS, target).clip(1, len(_RATIOS) - 1)
    nearest = np.where(target - _RATIOS[after - 1] < _RATIOS[after] - target, after - 1, after)
    shape = np.where(np.isfinite(target), _SHAPES[nearest], np.nan)
    scale = np.sqrt(special.gamma(1 / shape) / special.gamma(3 / shape))
    return shape, left * scale, right * scale
