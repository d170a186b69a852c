"""NIQE against published check values, its refusal of single blocks, and the closed form of the collapse."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage import data

from experiments.metrics.niqe import (
    block_features,
    collapse_constants,
    collapsed_score,
    fit_pristine_model,
    live_model,
    niqe,
    niqe_pooled,
)


def as_images(photograph):
    values = np.asarray(photograph, dtype=np.float64) / 255
    return torch.from_numpy(values[None, None] if values.ndim == 2 else values.transpose(2, 0, 1)[None].copy())


@pytest.mark.parametrize(("name", "value"), [("coffee", 4.0585), ("camera", 3.0962)])
def test_check_values(name, value):
    """Values that other implementations of the published parameters print for these two photographs."""
    assert niqe(as_images(getattr(data, name)()))[0] == pytest.approx(value, abs=1e-3)


def test_a_batch_is_its_images():
    camera, astronaut = as_images(data.camera()), as_images(data.astronaut())[:, :1]
    together = niqe(torch.cat((camera, astronaut)))
    np.testing.assert_allclose(together, [niqe(camera)[0], niqe(astronaut)[0]], rtol=1e-12)
    assert together.dtype == np.float64


def test_grey_as_three_channels_is_grey():
    camera = as_images(data.camera())
    assert niqe(camera.expand(1, 3, -1, -1))[0] == pytest.approx(niqe(camera)[0], abs=1e-9)


@pytest.mark.parametrize("size", [(96, 96), (128, 128), (191, 300), (96, 287)])
def test_images_with_too_few_blocks_are_refused_and_the_collapse_is_named(size):
    with pytest.raises(ValueError, match=r"collapses.*niqe_pooled"):
        niqe(torch.rand(2, 1, *size))


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
        niqe(images)


def test_constant_images_have_no_niqe_and_break_nothing():
    random = torch.rand(60, 1, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = fit_pristine_model(random, 32)
    flat = torch.full((8, 1, 32, 32), 0.5, dtype=torch.float64)
    assert np.isnan(niqe_pooled(flat, 32, model))
    assert niqe_pooled(torch.cat((random, flat)), 32, model) == pytest.approx(niqe_pooled(random, 32, model))
    with_flat = fit_pristine_model(torch.cat((random, flat)), 32)
    np.testing.assert_allclose(with_flat.covariance, model.covariance)
    assert np.isnan(niqe(torch.ones(1, 1, 192, 192))).all()


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
