"""NIQE against published check values, its refusal of too few blocks, and the closed form of the collapse."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage import data

from experiments.metrics import niqe
from experiments.metrics.niqe import (
    block_features,
    collapse_constants,
    collapsed_score,
    fit_pristine_model,
    live_model,
    niqe_pooled,
)


def as_images(photograph):
    values = np.asarray(photograph, dtype=np.float64) / 255
    return torch.from_numpy(values[None, None] if values.ndim == 2 else values.transpose(2, 0, 1)[None].copy())


@pytest.mark.parametrize(("name", "value"), [("coffee", 4.0585), ("camera", 3.0962)])
def test_check_values(name, value):
    """Values that other implementations of the published parameters print for these two photographs."""
    assert niqe_pooled(as_images(getattr(data, name)())) == pytest.approx(value, abs=1e-3)


def test_the_features_of_a_batch_are_those_of_its_images():
    camera, astronaut = as_images(data.camera()), as_images(data.astronaut())[:, :1]
    together = block_features(torch.cat((camera, astronaut)), 96)
    np.testing.assert_array_equal(together, [block_features(camera, 96)[0], block_features(astronaut, 96)[0]])
    assert together.dtype == np.float64


@pytest.mark.parametrize("shape", [(1, 1, 15, 64), (1, 1, 64, 15)])
def test_images_that_hold_no_block_are_refused(shape):
    with pytest.raises(ValueError, match="hold no block of 16 px"):
        block_features(torch.zeros(shape), 16)


def test_grey_as_three_channels_is_grey():
    camera = as_images(data.camera())
    assert niqe_pooled(camera.expand(1, 3, -1, -1)) == pytest.approx(niqe_pooled(camera), abs=1e-9)


def test_colours_become_grey_as_in_matlab():
    """By the inverse of the NTSC matrix, as published, in more than the usual three digits."""
    ntsc = np.array([[1, 0.956, 0.621], [1, -0.272, -0.647], [1, -1.106, 1.703]])
    random = np.random.default_rng(0)
    colours = random.integers(0, 256, (1, 3, 200, 200))
    expected = np.round(np.tensordot(np.linalg.inv(ntsc)[0], colours, axes=(0, 1)))
    grey = niqe._grey_blocks_whole(torch.from_numpy(colours / 255), 2)
    np.testing.assert_array_equal(grey, expected)
    three_digits = np.round(np.tensordot([0.299, 0.587, 0.114], colours, axes=(0, 1)))
    assert (three_digits != expected).sum() > 100


@pytest.mark.parametrize(("size", "blocks"), [((96, 96), 1), ((128, 128), 1), ((191, 300), 3), ((96, 287), 2)])
def test_an_image_with_too_few_blocks_is_refused_and_the_collapse_is_named(size, blocks):
    with pytest.raises(ValueError, match=rf"holds {blocks} blocks of 96 px.*collapses"):
        niqe_pooled(torch.rand(1, 1, *size))


def crops(size=128):
    photographs = [as_images(photograph)[0] for photograph in (data.camera(), data.astronaut(), data.coffee())]
    grey = [photograph.mean(0) for photograph in photographs]
    corners = [(top, left) for top in (0, 90, 250) for left in range(0, 361, 90)]
    cut = [g[top : top + size, left : left + size] for g in grey for top, left in corners]
    return torch.stack(cut)[:, None]


def test_pooled_niqe_orders_clean_blurred_and_noisy_sets():
    clean = crops()
    blurred = torch.from_numpy(ndimage.gaussian_filter(clean.numpy(), (0, 0, 1.0, 1.0)))
    generator = torch.Generator().manual_seed(0)
    noisy = (clean + 0.2 * torch.randn(clean.shape, generator=generator)).clamp(0, 1)
    assert niqe_pooled(clean) < niqe_pooled(blurred) < niqe_pooled(noisy)


def test_pooled_niqe_does_not_depend_on_the_order_of_the_set():
    images = crops()
    assert niqe_pooled(images.flip(0)) == pytest.approx(niqe_pooled(images), rel=1e-9)


def test_smaller_blocks_need_a_model_of_their_size():
    images = crops()
    with pytest.raises(ValueError, match="needs a pristine model of that size"):
        niqe_pooled(images, block_size=32)
    model = fit_pristine_model(images, 32)
    assert model.mean.shape == (36,)
    blurred = torch.from_numpy(ndimage.gaussian_filter(images.numpy(), (0, 0, 2.0, 2.0)))
    assert niqe_pooled(images, 32, model) < niqe_pooled(blurred, 32, model)
    with pytest.raises(ValueError, match="cannot fit"):
        fit_pristine_model(images[:1], 64)


@pytest.mark.parametrize(
    "images",
    [
        torch.rand(20, 1, 128, 128, dtype=torch.float64),
        crops(),
        (torch.arange(128)[:, None] // 8 + torch.arange(128) // 8)[None, None] % 2 * 1.0,
    ],
    ids=["noise", "photographs", "checkerboard"],
)
def test_collapse_is_the_closed_form_and_a_constant(images):
    numeric, closed = collapsed_score(block_features(images, 96)[:, 0], live_model())
    np.testing.assert_allclose(numeric, closed, atol=1e-8)
    assert numeric.min() > 39.79
    assert numeric.max() < 39.81


def test_constants_of_lives_model():
    assert collapse_constants(live_model()) == pytest.approx((39.7906, 0.0253, 2.5e-5), rel=0.02)
    assert collapse_constants(live_model())[0] == pytest.approx(39.7906, abs=1e-4)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.rand(1, 2, 200, 200), "1 or 3"),
        (torch.zeros(1, 1, 200, 200, dtype=torch.uint8), "uint8"),
        (torch.full((1, 1, 200, 200), 2.0), r"\[0, 1\]"),
    ],
)
def test_niqe_refuses_what_it_cannot_judge(images, message):
    with pytest.raises(ValueError, match=message):
        niqe_pooled(images)


def contrasts(count, side, *contrasts):
    """Images that are rows of blocks, each block noise of one contrast, flat at its edges so that blocks do not mix."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (count, 1, len(contrasts), side, side))
    noise[..., :4, :] = noise[..., -4:, :] = noise[..., :4] = noise[..., -4:] = 0
    blocks = 0.5 + noise * np.array(contrasts)[:, None, None]
    return torch.from_numpy(np.concatenate(np.split(blocks, len(contrasts), axis=2), axis=-1)[:, :, 0])


def test_the_pristine_model_is_of_blocks_above_three_quarters_of_the_sharpest_of_their_image():
    images = contrasts(60, 32, 1.0, 0.65, 0.85)
    _, deviation = niqe._normalised(niqe._grey_blocks_whole(images, 32))
    sharpness = niqe._blocks(deviation, 32).mean((-2, -1))
    shares = sharpness / sharpness[:, :1]
    assert shares[:, 1].min() > 0.5
    assert shares[:, 1].max() < 0.75 < shares[:, 2].min()
    expected = block_features(images, 32)[:, [0, 2]].reshape(-1, 36)
    model = fit_pristine_model(images, 32)
    np.testing.assert_array_equal(model.mean, expected.mean(0))
    np.testing.assert_array_equal(model.covariance, np.cov(expected, rowvar=False))


@pytest.mark.parametrize("block_size", [16, 32])
def test_the_pristine_model_is_fitted_to_the_bits_of_features_and_sharpness(block_size, monkeypatch):
    """Computed apart, as published, they give the same bits; together they take each scale once."""
    images = crops()
    _, deviation = niqe._normalised(niqe._grey_blocks_whole(images, block_size))
    sharpness = niqe._blocks(deviation, block_size).mean((-2, -1))
    kept = block_features(images, block_size)[sharpness > 0.75 * sharpness.max(-1, keepdims=True)]
    kept = kept[np.isfinite(kept).all(-1)]
    normalised, calls = niqe._normalised, []
    monkeypatch.setattr(niqe, "_normalised", lambda grey: calls.append(grey.shape) or normalised(grey))
    model = fit_pristine_model(images, block_size)
    assert calls == [(len(images), 128, 128), (len(images), 64, 64)]
    assert model.mean.tobytes() == kept.mean(0).tobytes()
    assert model.covariance.tobytes() == np.cov(kept, rowvar=False).tobytes()


def test_constant_images_have_no_niqe_and_break_nothing():
    random = torch.rand(60, 1, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = fit_pristine_model(random, 32)
    flat = torch.full((8, 1, 32, 32), 0.5, dtype=torch.float64)
    assert np.isnan(niqe_pooled(flat, 32, model))
    assert niqe_pooled(torch.cat((random, flat)), 32, model) == pytest.approx(niqe_pooled(random, 32, model))
    with_flat = fit_pristine_model(torch.cat((random, flat)), 32)
    np.testing.assert_allclose(with_flat.covariance, model.covariance)
    assert np.isnan(niqe_pooled(torch.ones(1, 1, 192, 192)))


@pytest.mark.parametrize("block_size", [16, 32, 64])
def test_pooled_niqe_of_small_blocks_ranks_clean_blurred_noisy(block_size):
    """With a pristine model of that block size, as the reconstructions of small faces are measured."""
    from skimage import color, data

    grey = np.stack([color.rgb2gray(image)[:256, :448] for image in (data.astronaut(), data.coffee(), data.chelsea())])
    tiles = grey.reshape(3, 256 // 64, 64, 448 // 64, 64).swapaxes(2, 3).reshape(-1, 1, 64, 64)
    clean = torch.from_numpy(tiles)
    pristine, others = clean[::2], clean[1::2]
    model = fit_pristine_model(pristine, block_size)
    blurred = torch.from_numpy(ndimage.gaussian_filter(others.numpy(), (0, 0, 1, 1), mode="nearest"))
    noise = torch.randn(others.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scores = [niqe_pooled(x.clamp(0, 1), block_size, model) for x in (others, blurred, blurred + 0.3 * noise)]
    assert scores == sorted(scores)
    assert scores[1] > 1.3 * scores[0]
