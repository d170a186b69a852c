"""IntroVAE's networks against a transcription of the published design, and their sizes against a formula."""

import itertools

import pytest
import torch
from published_introvae import encode, generate

from models.introvae import Encoder, Generator

SIZES = [([3], 8), ([2, 5], 16), ([4, 4, 7], 32), ([3, 4, 6, 6], 64)]


@pytest.fixture(autouse=True)
def _double():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def unlike_the_start(network):
    """Normalisations start at scale 1 and shift 0, where an error in them may not show."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


@pytest.mark.parametrize(("channels", "size"), SIZES)
def test_networks_are_the_published_ones(channels, size):
    encoder = unlike_the_start(Encoder(size, 3, channels, 5))
    generator = unlike_the_start(Generator(size, 3, channels, 5))
    images = torch.rand(4, 3, size, size)
    found = encoder(images)
    torch.testing.assert_close(found, encode(images, channels, list(encoder.parameters())))
    torch.testing.assert_close(generator(found[0]), generate(found[0], channels, list(generator.parameters())))


def of_block(i, o):
    """3x3 convolutions, a 1x1 where widths differ, two normalisations."""
    return 9 * i * o + 9 * o * o + (i * o if i != o else 0) + 4 * o


@pytest.mark.parametrize("normalization", ["batch", "group"])
@pytest.mark.parametrize(("channels", "size"), [*SIZES, ([16, 32, 64, 128], 64), ([32, 64, 128, 256, 512, 512], 256)])
@pytest.mark.parametrize(("colors", "latent"), [(1, 4), (3, 128)])
def test_number_of_parameters(channels, size, colors, latent, normalization):
    first, last = channels[0], channels[-1]
    steps = list(itertools.pairwise(channels))
    down = sum(of_block(i, o) for i, o in steps)
    up = sum(of_block(o, i) for i, o in steps)
    encoder = 25 * colors * first + 2 * first + down + of_block(last, last) + (16 * last + 1) * 2 * latent
    generator = (
        (latent + 1) * 16 * last + of_block(last, last) + up + of_block(first, first) + (25 * first + 1) * colors
    )
    with torch.device("meta"):
        networks = [network(size, colors, channels, latent, normalization) for network in (Encoder, Generator)]
    counts = [sum(parameter.numel() for parameter in network.parameters()) for network in networks]
    assert counts == [encoder, generator]


@pytest.mark.parametrize("network", [Encoder, Generator])
def test_the_smallest_map_has_4_px(network):
    for size in (32, 128, 60):
        with pytest.raises(ValueError, match=f"4 channels take images of 64 px, got {size}"):
            network(size, 3, [2, 2, 2, 2], 4)


def test_the_output_of_the_generator_is_linear():
    generator = Generator(8, 1, [3], 2)
    codes = torch.randn(4, 2)
    before = generator(codes)
    with torch.no_grad():
        generator.features[-1].bias.add_(7.0)
    torch.testing.assert_close(generator(codes), before + 7.0)
