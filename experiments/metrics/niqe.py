"""NIQE, the natural image quality evaluator (Mittal, Soundararajan and Bovik 2013), and why it needs many blocks.

Each block of an image gives 36 features: the shape of its locally normalised grey values and of products of neighbours,
at two scales. NIQE is the distance between the Gaussian of an image's features and that of pristine images; lower is
better. The Gaussian of an image with a single block does not exist: see `collapsed_score`.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy import ndimage, special
from torch import Tensor

FEATURES = 36
MINIMUM_BLOCKS = 4
DATA_FILES = ("niqe_live_model.npz",)
"""Files beside this one that its numbers come from (`experiments.runs.sources`)."""

LIVE_MODEL = Path(__file__).with_name(DATA_FILES[0])


@dataclass(frozen=True)
class PristineModel:
    """Gaussian of the features of pristine images.

    Attributes:
        mean: (36,) float64.
        covariance: (36, 36) float64.
        block_size: side in pixels of the blocks that the features were taken from.
    """

    mean: np.ndarray
    covariance: np.ndarray
    block_size: int


@cache
def live_model() -> PristineModel:
    """The model released by LIVE, fitted to blocks of 96 px; see ``niqe_live_model.NOTICE``."""
    with np.load(LIVE_MODEL, allow_pickle=False) as arrays:
        return PristineModel(arrays["mean"], arrays["covariance"], 96)


def niqe(images: Tensor) -> np.ndarray:
    """NIQE of each image, with LIVE's pristine model.

    Args:
        images: (N, C, H, W) floating point in [0, 1], C = 1 or 3.

    Returns:
        (N,) float64, lower is better; NaN for an image of constant blocks.

    Raises:
        ValueError: for images that hold fewer than four blocks of 96 px, whose score would collapse to a constant of
            the pristine model (pool the blocks of a set instead: `niqe_pooled`), or of another shape, dtype or range.
    """
    model = live_model()
    height, width = images.shape[-2:]
    blocks = (height // model.block_size) * (width // model.block_size)
    if blocks < MINIMUM_BLOCKS:
        raise ValueError(
            f"images of {height}x{width} px hold {blocks} blocks of {model.block_size} px, NIQE needs at least "
            f"{MINIMUM_BLOCKS}: with one block the score collapses to a constant; use niqe_pooled on the set"
        )
    features = block_features(images, model.block_size)
    return np.array([gaussian_distance(rows, model) for rows in features])


def niqe_pooled(images: Tensor, block_size: int = 96, model: PristineModel | None = None) -> float:
    """NIQE of a set: one Gaussian fitted to the blocks of all its images.

    Args:
        images: (N, C, H, W) floating point in [0, 1], C = 1 or 3.
        block_size: side of the blocks in pixels, even.
        model: pristine model of this block size (`fit_pristine_model`); ``None`` is LIVE's, of 96 px.

    Returns:
        One value for the set, lower is better; NaN if all but three blocks are constant.

    Raises:
        ValueError: if the set holds fewer than four blocks, or block size and model disagree.
    """
    model = model or live_model()
    if model.block_size != block_size:
        raise ValueError(
            f"block_size {block_size} needs a pristine model of that size, this one has {model.block_size}"
        )
    features = block_features(images, block_size).reshape(-1, FEATURES)
    if len(features) < MINIMUM_BLOCKS:
        raise ValueError(f"the set holds {len(features)} blocks of {block_size} px, NIQE needs {MINIMUM_BLOCKS}")
    return gaussian_distance(features, model)


def fit_pristine_model(images: Tensor, block_size: int, sharpest: float = 0.75) -> PristineModel:
    """Fit a pristine model to the sharp blocks of pristine images, as Mittal et al. did.

    Args:
        images: (N, C, H, W) floating point in [0, 1].
        block_size: side of the blocks in pixels, even.
        sharpest: blocks are kept whose mean local deviation is above this share of the largest in their image.

    Raises:
        ValueError: if fewer blocks than features remain, which leaves the covariance singular.
    """
    features = block_features(images, block_size)
    _, deviation = _normalised(_grey_blocks_whole(images, block_size))
    sharpness = _blocks(deviation, block_size).mean((-2, -1))
    kept = features[sharpness > sharpest * sharpness.max(-1, keepdims=True)]
    kept = kept[np.isfinite(kept).all(-1)]
    if len(kept) <= FEATURES:
        raise ValueError(
            f"{len(kept)} sharp blocks of {block_size} px cannot fit {FEATURES} features; give more images"
        )
    return PristineModel(kept.mean(0), np.cov(kept, rowvar=False), block_size)


def gaussian_distance(features: np.ndarray, model: PristineModel) -> float:
    """Distance of the Gaussian of feature rows (n, 36) from the pristine one.

    Rows with NaN, those of constant blocks, do not count; with fewer than four others the distance is NaN.
    """
    rows = features[np.isfinite(features).all(-1)]
    if len(rows) < MINIMUM_BLOCKS:
        return float("nan")
    difference = rows.mean(0) - model.mean
    pooled = (np.cov(rows, rowvar=False) + model.covariance) / 2
    return float(np.sqrt(difference @ np.linalg.pinv(pooled) @ difference))


def collapsed_score(features: np.ndarray, model: PristineModel) -> tuple[np.ndarray, np.ndarray]:
    """What code that takes means and covariances along the only long axis makes of single feature rows.

    Of a row vector, such code (MATLAB's ``nanmean`` and ``nancov`` do so) returns the *scalars* m and v, mean and
    variance of the 36 numbers, which then spread over the pristine mean and covariance. With 1 the vector of ones,
    s = 1 / (1' S^-1 1), m_0 = s (1' S^-1 mu) and c^2 = 2 (mu - m_0 1)' S^-1 (mu - m_0 1), the distance is

        sqrt(c^2 + 2 (m - m_0)^2 / (v + s)),

    close to c, a constant of the pristine model, whatever the image.

    Args:
        features: (N, 36), one row per image.
        model: the pristine model.

    Returns:
        The scores (N,) computed with the spread scalars, and the closed form (N,).
    """
    mean, variance = features.mean(-1), features.var(-1, ddof=1)
    numeric = []
    for m, v in zip(mean, variance, strict=True):
        difference = model.mean - m
        numeric.append(np.sqrt(difference @ np.linalg.pinv((model.covariance + v) / 2) @ difference))
    c, m0, s = collapse_constants(model)
    return np.array(numeric), np.sqrt(c**2 + 2 * (mean - m0) ** 2 / (variance + s))


def collapse_constants(model: PristineModel) -> tuple[float, float, float]:
    """The constants c, m_0 and s of `collapsed_score`."""
    precision = np.linalg.inv(model.covariance)
    ones = np.ones(FEATURES)
    s = 1 / (ones @ precision @ ones)
    m0 = s * (ones @ precision @ model.mean)
    centred = model.mean - m0
    return float(np.sqrt(2 * centred @ precision @ centred)), float(m0), float(s)


def block_features(images: Tensor, block_size: int) -> np.ndarray:
    """Features of all blocks: (N, C, H, W) in [0, 1] -> (N, blocks, 36) float64.

    Grey values are the luma 0.2989 R + 0.5870 G + 0.1140 B in full precision, rounded, in 0 to 255. The image is cropped to whole blocks, and the
    second scale is its antialiased bicubic half.
    """
    grey = _grey_blocks_whole(images, block_size)
    scales = []
    for scale, side in ((1, block_size), (2, block_size // 2)):
        normalised, _ = _normalised(grey)
        scales.append(_features(_blocks(normalised, side)))
        if scale == 1:
            grey = _halved(grey)
    return np.concatenate(scales, axis=-1)


_LUMA = (0.298936021293775, 0.587043074451121, 0.114020904255103)
"""MATLAB's rgb2gray, with which the reference values were made; four digits of it shift a score by 0.008."""


def _grey_blocks_whole(images: Tensor, block_size: int) -> np.ndarray:
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
    """Mean-subtracted, contrast-normalised values and local deviations, (N, H, W) each; 7x7 Gaussian, sigma 7/6."""
    taps = np.exp(-0.5 * (np.arange(-3, 4) / (7 / 6)) ** 2)
    taps /= taps.sum()

    def smooth(values: np.ndarray) -> np.ndarray:
        rows = ndimage.correlate1d(values, taps, axis=-2, mode="nearest")
        return ndimage.correlate1d(rows, taps, axis=-1, mode="nearest")

    mean = smooth(grey)
    deviation = np.sqrt(np.abs(smooth(grey**2) - mean**2))
    return (grey - mean) / (deviation + 1), deviation


def _halved(grey: np.ndarray) -> np.ndarray:
    """Bicubic half with antialiasing: eight taps of the kernel (a = -1/2) stretched by two, mirrored borders."""
    distance = np.abs(np.arange(-3.5, 4)) / 2
    inner = 1.5 * distance**3 - 2.5 * distance**2 + 1
    outer = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    taps = np.where(distance <= 1, inner, outer)
    taps /= taps.sum()
    for axis in (-2, -1):
        # An even filter is centred half a pixel late; origin -1 centres output 2i between inputs 2i and 2i + 1.
        grey = ndimage.correlate1d(grey, taps, axis=axis, mode="reflect", origin=-1)
    return grey[..., ::2, ::2]


def _blocks(values: np.ndarray, side: int) -> np.ndarray:
    """(N, H, W) -> (N, blocks, side, side)."""
    count, height, width = values.shape
    tiles = values.reshape(count, height // side, side, width // side, side).swapaxes(2, 3)
    return tiles.reshape(count, -1, side, side)


def _features(blocks: np.ndarray) -> np.ndarray:
    """(N, blocks, side, side) -> (N, blocks, 18): shape and spread of the values and of four products of neighbours."""
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
    """Shape and left and right scale of the asymmetric generalised Gaussian, by moments, per block (N, blocks)."""
    values = blocks.reshape(*blocks.shape[:-2], -1)
    square = values**2
    with np.errstate(invalid="ignore", divide="ignore"):
        left = np.sqrt((square * (values < 0)).sum(-1) / (values < 0).sum(-1))
        right = np.sqrt((square * (values > 0)).sum(-1) / (values > 0).sum(-1))
        ratio = left / right
        moment = np.abs(values).mean(-1) ** 2 / square.mean(-1)
        target = moment * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    # The ratio grows with the shape, so that the nearest entry of the table is beside the place of insertion.
    after = np.searchsorted(_RATIOS, target).clip(1, len(_RATIOS) - 1)
    nearest = np.where(target - _RATIOS[after - 1] < _RATIOS[after] - target, after - 1, after)
    shape = np.where(np.isfinite(target), _SHAPES[nearest], np.nan)
    scale = np.sqrt(special.gamma(1 / shape) / special.gamma(3 / shape))
    return shape, left * scale, right * scale
