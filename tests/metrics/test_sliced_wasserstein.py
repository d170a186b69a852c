"""The sliced Wasserstein distance against loops in double precision and closed forms."""

import math

import numpy as np
import pytest
import torch

from experiments.metrics import sliced_wasserstein as module
from experiments.metrics.sliced_wasserstein import cloud_distance, laplacian_pyramid, sliced_wasserstein


def made_images(count, channels, side, seed=0):
    """Smooth blobs with noise, all frequencies in them."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, channels, 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")
    return (smooth + 0.1 * torch.randn(smooth.shape, generator=generator)).clamp(0, 1)


def mirrored(index, side):
    return -index if index < 0 else 2 * (side - 1) - index if index >= side else index


WEIGHTS = {-2: 1 / 16, -1: 4 / 16, 0: 6 / 16, 1: 4 / 16, 2: 1 / 16}


def smoothed(image):
    side = len(image)
    result = np.zeros((side, side))
    for row in range(side):
        for column in range(side):
            for down, first in WEIGHTS.items():
                for right, second in WEIGHTS.items():
                    pixel = image[mirrored(row + down, side), mirrored(column + right, side)]
                    result[row, column] += first * second * pixel
    return result


def bands(image):
    """The pyramid of one channel, finest first."""
    levels = []
    while len(image) > 16:
        half = smoothed(image)[::2, ::2]
        doubled = np.zeros_like(image)
        doubled[::2, ::2] = 4 * half
        levels.append(image - smoothed(doubled))
        image = half
    return [*levels, image]


def expected(x, y, places, axes):
    """The distance of one level from its bands (N, C, S, S), with the same draws."""
    clouds = []
    for bands_of_set in (x, y):
        cloud = []
        for image in range(places.shape[1]):
            for patch in range(places.shape[2]):
                row, column = places[:, image, patch]
                cloud.append([band[row : row + 7, column : column + 7] for band in bands_of_set[image]])
        cloud = np.array(cloud)
        for channel in range(cloud.shape[1]):
            cloud[:, channel] = (cloud[:, channel] - cloud[:, channel].mean()) / cloud[:, channel].std()
        clouds.append([np.concatenate([part.ravel() for part in patch]) for patch in cloud])
    total = 0.0
    for axis in axes:
        axis = axis / math.sqrt((axis**2).sum())
        first, second = (sorted(float(point @ axis) for point in cloud) for cloud in clouds)
        total += sum(abs(a - b) for a, b in zip(first, second, strict=True)) / len(first)
    return total / len(axes)


@pytest.mark.parametrize("channels", [1, 3])
def test_loops_in_double_precision_find_the_same(channels, monkeypatch):
    """The draws are taken over, in their order: places and axes of the finest level, then of the next."""
    x, y = made_images(4, channels, 64, 1), made_images(4, channels, 64, 2)
    found = sliced_wasserstein(x, y, patches=5, directions=7, seed=3)
    generator = torch.Generator().manual_seed(3)
    pyramids = [[[bands(c) for c in image] for image in images.double().numpy()] for images in (x, y)]
    distances = {}
    for level, size in enumerate((64, 32, 16)):
        places = torch.randint(size - 6, (2, 4, 5), generator=generator).numpy()
        axes = torch.randn(7, 49 * channels, generator=generator).double().numpy()
        of_level = [[[channel[level] for channel in image] for image in pyramid] for pyramid in pyramids]
        distances[size] = expected(*of_level, places, axes)
    assert list(found.levels) == [64, 32, 16]
    assert found.levels == pytest.approx(distances, abs=1e-5)
    assert found.mean == pytest.approx(sum(distances.values()) / 3, abs=1e-5)
    assert min(distances.values()) > 0.05
    monkeypatch.setattr(module, "CHUNK", 3)
    assert sliced_wasserstein(x, y, patches=5, directions=7, seed=3).levels == pytest.approx(found.levels, abs=1e-6)


def test_the_pyramid_adds_up_to_the_image():
    images = made_images(2, 3, 32).double()
    fine, coarse = laplacian_pyramid(images)
    assert [level.shape for level in (fine, coarse)] == [(2, 3, 32, 32), (2, 3, 16, 16)]
    assert fine.dtype == torch.float32
    for image, detail, rest in zip(images.flatten(0, 1), fine.flatten(0, 1), coarse.flatten(0, 1), strict=True):
        doubled = np.zeros((32, 32))
        doubled[::2, ::2] = 4 * rest
        np.testing.assert_allclose(detail.numpy() + smoothed(doubled), image.numpy(), atol=1e-6)


def test_a_set_is_no_distance_from_itself():
    x = made_images(3, 3, 32)
    assert sliced_wasserstein(x, x.clone()) == (0.0, {32: 0.0, 16: 0.0})


def test_the_distance_is_symmetric_and_repeats():
    x, y = made_images(6, 1, 32, 1), made_images(6, 1, 32, 2)
    assert sliced_wasserstein(x, y) == sliced_wasserstein(y, x) == sliced_wasserstein(x, y)
    assert sliced_wasserstein(x, y, seed=1) != sliced_wasserstein(x, y)


def test_the_order_of_the_images_matters_no_more_than_the_draws():
    x, y = made_images(24, 1, 32, 1), made_images(24, 1, 32, 2)
    draws = [sliced_wasserstein(x, y, seed=seed).mean for seed in range(10)]
    orders = [
        sliced_wasserstein(x, y[torch.randperm(24, generator=torch.Generator().manual_seed(seed))]).mean
        for seed in range(10)
    ]
    assert np.std(orders) < 2 * np.std(draws)
    assert abs(np.mean(orders) - np.mean(draws)) < 2 * np.std(draws)


def test_points_that_are_shifted_are_as_far_as_the_shift_along_each_direction():
    generator = torch.Generator().manual_seed(0)
    points, axes = torch.randn(50, 4, generator=generator), torch.randn(300, 4, generator=generator)
    axes /= axes.norm(dim=1, keepdim=True)
    shift = torch.tensor([1.0, -2.0, 0.5, 3.0])
    found = cloud_distance(points, (points + shift).flip(0), axes)
    assert found == pytest.approx((axes @ shift).abs().mean().item(), rel=1e-5)


def test_points_on_a_line_by_hand():
    """0, 1, 5 and 2, 2, 2 along the first axis: |0 - 2| + |1 - 2| + |5 - 2| over 3; nothing along the second."""
    x, y = torch.tensor([[5.0, 7.0], [0.0, 7.0], [1.0, 7.0]]), torch.tensor([[2.0, 7.0]]).expand(3, 2)
    assert cloud_distance(x, y, torch.tensor([[1.0, 0.0]])) == 2.0
    assert cloud_distance(x, y, torch.tensor([[-1.0, 0.0], [0.0, 1.0]])) == 1.0


def mean_of_one_coordinate(dimension):
    """Mean absolute value of a coordinate of a uniform random unit vector."""
    return math.exp(math.lgamma(dimension / 2) - math.lgamma((dimension + 1) / 2)) / math.sqrt(math.pi)


@pytest.mark.parametrize("channels", [1, 3])
def test_plain_images_of_known_brightness(channels):
    """Half of one set is bright, three quarters of the other.

    Every patch is a multiple of the vector of ones. Brought to deviation 1, the multiples are -1, -1, 1, 1 in one set
    and -r, 1/r, 1/r, 1/r with r = sqrt(3) in the other.
    """
    x, y = (
        torch.tensor(brightness).reshape(4, 1, 1, 1).expand(4, channels, 16, 16)
        for brightness in ([0.2, 0.2, 0.8, 0.8], [0.3, 0.6, 0.6, 0.6])
    )
    r = math.sqrt(3)
    along_the_ones = (r - 1 + 1 + 1 / r + 2 * (1 - 1 / r)) / 4
    size = 49 * channels
    mean = along_the_ones * math.sqrt(size) * mean_of_one_coordinate(size)
    found = sliced_wasserstein(x, y, patches=2, directions=20_000)
    assert found.levels == {16: pytest.approx(mean, rel=0.02)}


def test_directions_have_length_one_and_patches_lie_everywhere(monkeypatch):
    drawn = []
    monkeypatch.setattr(module, "cloud_distance", lambda x, y, axes: drawn.append((x, axes)) or 0.0)
    ramp = torch.arange(256.0).reshape(1, 1, 16, 16).expand(2, 1, 16, 16) / 255
    sliced_wasserstein(ramp, ramp, patches=2000, directions=40)
    cloud, axes = drawn[0]
    assert axes.shape == (40, 49)
    torch.testing.assert_close(axes.norm(dim=1), torch.ones(40))
    assert abs(axes.mean()) < 0.02
    assert len(cloud) == 4000
    corners = cloud[:, 0].unique(return_counts=True)[1]  # ten rows by ten columns, each about forty times
    assert len(corners) == 100
    assert 10 < corners.min() <= corners.max() < 90


def test_brightness_and_contrast_of_a_whole_set_do_not_count():
    x = made_images(5, 3, 32)
    change = torch.tensor([0.5, 0.7, 0.9]).reshape(3, 1, 1), torch.tensor([0.0, 0.1, 0.05]).reshape(3, 1, 1)
    assert sliced_wasserstein(x, x * change[0] + change[1]).mean == pytest.approx(0, abs=1e-5)
    assert sliced_wasserstein(x, x * torch.rand(5, 1, 1, 1)).mean > 0.05


def test_blur_shows_in_the_fine_level_and_another_brightness_of_each_image_in_the_coarse_one():
    x = made_images(40, 1, 32)
    blurred = torch.nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    shaded = (x + 0.4 * (torch.arange(40) % 2).reshape(40, 1, 1, 1)) / 1.4
    fine, coarse = sliced_wasserstein(x, blurred).levels.values()
    assert fine > 3 * coarse
    fine, coarse = sliced_wasserstein(x, shaded).levels.values()
    assert coarse > 3 * fine


def test_what_is_constant_is_zero_and_not_the_noise_of_rounding():
    plain = torch.full((3, 1, 32, 32), 0.3)
    assert sliced_wasserstein(plain, plain / 3).levels == {32: 0.0, 16: 0.0}
    levels = sliced_wasserstein(plain, made_images(3, 1, 32)).levels
    assert all(0.1 < distance < 3 for distance in levels.values())


def test_two_samples_of_one_source_are_closer_the_larger_they_are():
    """Noise of the distance: a difference has to be compared with it."""
    small = sliced_wasserstein(made_images(8, 1, 32, 1), made_images(8, 1, 32, 2)).mean
    large = sliced_wasserstein(made_images(128, 1, 32, 1), made_images(128, 1, 32, 2)).mean
    assert 0 < large < small / 2


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((1, 1, 16, 16), {}, "at least 2 images, got 1"),
        ((0, 1, 16, 16), {}, "must have pixels"),
        ((2, 1, 8, 8), {}, r"squares of 16, 32, 64, ... px, got 8x8 px"),
        ((2, 1, 48, 48), {}, "got 48x48 px"),
        ((2, 1, 32, 16), {}, "got 32x16 px"),
        ((2, 1, 16, 16), {"patches": 0}, "must be positive, got 0 and 512"),
        ((2, 1, 16, 16), {"directions": -1}, "must be positive, got 128 and -1"),
    ],
)
def test_too_few_or_too_small_images_are_one_clear_line(shape, options, message):
    with pytest.raises(ValueError, match=message) as error:
        sliced_wasserstein(torch.zeros(shape), torch.zeros(shape), **options)
    assert "\n" not in str(error.value)


def test_fewest_and_smallest_that_can_be_judged():
    x, y = made_images(2, 1, 16, 1), made_images(2, 1, 16, 2)
    assert sliced_wasserstein(x, y, patches=1, directions=1).levels[16] > 0


def test_gradients_and_the_images_themselves_are_left_alone():
    x, y = made_images(3, 1, 16, 1).requires_grad_(), made_images(3, 1, 16, 2).requires_grad_()
    before = x.detach().clone()
    assert sliced_wasserstein(x, y) == sliced_wasserstein(x.detach(), y.detach())
    assert torch.equal(x, before)


def test_all_is_computed_on_the_device_of_the_images(monkeypatch):
    """A device without memory stands in for a GPU: an operation with a tensor elsewhere would fail."""
    devices = []

    def distance(x, y, axes):
        devices.append({tensor.device.type for tensor in (x, y, axes, module._sorted(axes @ x.T))})
        return 0.0

    monkeypatch.setattr(module, "check_pair", lambda x, y: None)
    monkeypatch.setattr(module, "cloud_distance", distance)
    x, y = torch.empty(2, 2, 3, 32, 32, device="meta")
    sliced_wasserstein(x, y)
    assert devices == 2 * [{"meta"}]
