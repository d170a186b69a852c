"""The networks and their loss components against literal transcriptions."""

import math

import pytest
import torch

from models import introvae, soft_introvae
from models.digit_classifier import DigitClassifier
from models.introvae import (
    Encoder,
    Generator,
    ResidualBlock,
    encoder_loss_components,
    generator_loss_components,
    kl_divergence,
    reconstruction_error,
    sample_posterior,
)
from models.sparse_autoencoder import COMPONENTS, SparseAutoencoder, loss_components


@pytest.mark.parametrize(("size", "channels"), [(16, [4, 8]), (32, [4, 8, 8]), (128, [2, 4, 4, 8, 8])])
@pytest.mark.parametrize("normalization", ["batch", "group"])
def test_introvae_shapes(size, channels, normalization):
    encoder = Encoder(size, 3, channels, 5, normalization)
    generator = Generator(size, 3, channels, 5, normalization)
    mean, log_variance = encoder(torch.rand(2, 3, size, size))
    assert mean.shape == log_variance.shape == (2, 5)
    assert generator(mean).shape == (2, 3, size, size)


@pytest.mark.parametrize("normalization", ["batch", "group"])
def test_in_evaluation_mode_an_image_is_treated_alike_in_any_batch(normalization):
    encoder = Encoder(16, 1, [8, 16], 4, normalization)
    encoder(torch.rand(8, 1, 16, 16))
    encoder.eval()
    images = torch.rand(6, 1, 16, 16)
    together = encoder(images)[0]
    torch.testing.assert_close(together[:1], encoder(images[:1])[0], rtol=1e-4, atol=1e-6)


def test_group_normalisation_ignores_the_batch_in_training_mode_too():
    encoder = Encoder(16, 1, [8, 16], 4, "group")
    images = torch.rand(6, 1, 16, 16)
    torch.testing.assert_close(encoder(images)[0][:1], encoder(images[:1])[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("normalization", ["batch", "group"])
@pytest.mark.parametrize("channels_out", [6, 9])
def test_a_residual_block_adds_its_input(channels_out, normalization):
    """Where the convolutions give nothing, the shortcut is left, the features themselves or their projection, normalised."""
    block = ResidualBlock(6, channels_out, normalization)
    features = torch.randn(3, 6, 4, 4)
    torch.nn.init.zeros_(block.second.weight)
    shortcut = features if channels_out == 6 else torch.nn.functional.conv2d(features, block.shortcut.weight)
    axes = (0, 2, 3) if normalization == "batch" else (1, 2, 3)
    variance, mean = torch.var_mean(shortcut, axes, correction=0, keepdim=True)
    expected = (shortcut - mean) / (variance + 1e-5).sqrt()
    torch.testing.assert_close(block(features), torch.where(expected > 0, expected, 0.2 * expected))
    assert sum(parameter.numel() for parameter in block.shortcut.parameters()) == (0 if channels_out == 6 else 6 * 9)


def test_kl_divergence_is_that_of_torch_distributions():
    mean, log_variance = torch.randn(4, 7, dtype=torch.float64), torch.randn(4, 7, dtype=torch.float64)
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    prior = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    expected = torch.distributions.kl_divergence(posterior, prior).sum(-1)
    torch.testing.assert_close(kl_divergence(mean, log_variance), expected)
    assert kl_divergence(torch.zeros(1, 3), torch.zeros(1, 3)).item() == 0


def test_posterior_samples_have_the_stated_moments():
    noise = torch.randn(200_000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    codes = sample_posterior(torch.full_like(noise, 3.0), torch.full_like(noise, math.log(4.0)), noise)
    assert codes.mean().item() == pytest.approx(3, abs=0.02)
    assert codes.std().item() == pytest.approx(2, abs=0.02)


def test_introvae_components_are_the_equations_written_out():
    images, reconstructions = torch.rand(3, 1, 4, 4, dtype=torch.float64), torch.rand(3, 1, 4, 4, dtype=torch.float64)
    error = reconstruction_error(images, reconstructions)
    for one, x, y in zip(error, images, reconstructions, strict=True):
        torch.testing.assert_close(one, 0.5 * ((x - y) ** 2).sum())
    real, fake, sampled = (torch.tensor(v, dtype=torch.float64) for v in ([1.0, 2.0], [3.0, 9.0], [8.0, 2.0]))
    encoder = encoder_loss_components(real, fake, sampled, error, margin=7.0)
    assert encoder["kl_real"].item() == 1.5
    torch.testing.assert_close(encoder["reconstruction"], error.sum() / 3)
    assert encoder["margin_fake"].item() == (4 + 0) / 2 + (0 + 5) / 2
    generator = generator_loss_components(fake, sampled, error)
    assert generator["kl_fake"].item() == 6 + 5
    torch.testing.assert_close(generator["reconstruction"], error.sum() / 3)


def test_autoencoder_components_are_sums_over_an_image_and_means_over_the_batch():
    model = SparseAutoencoder(12, 5)
    images = torch.rand(4, 12)
    reconstructions, code = model(images)
    losses = loss_components(images, reconstructions, code)
    by_image = [((r - x) ** 2).sum().item() for r, x in zip(reconstructions, images, strict=True)]
    assert losses["reconstruction"].item() == pytest.approx(sum(by_image) / 4, rel=1e-5)
    assert losses["sparsity"].item() == pytest.approx(code.abs().sum().item() / 4, rel=1e-5)
    assert (code >= 0).all()


def test_the_autoencoder_is_two_layers_written_out():
    torch.manual_seed(0)
    model, images = SparseAutoencoder(12, 5).double(), torch.rand(4, 12, dtype=torch.float64)
    weight, bias, back, more = model.parameters()
    code = torch.clamp(images @ weight.T + bias, min=0)
    expected = 1 / (1 + torch.exp(-(code @ back.T + more)))
    reconstructions, found = model(images)
    torch.testing.assert_close(found, code)
    torch.testing.assert_close(reconstructions, expected)
    torch.testing.assert_close(model.decode(model.encode(images)), expected)


def test_columns_of_the_decoder_are_scaled_to_norm_one():
    """A column is the image that one unit adds; its direction stays, and so do all other parameters."""
    torch.manual_seed(0)
    model = SparseAutoencoder(12, 5).double()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    columns = before["decoder.weight"].T
    lengths = torch.stack([(column**2).sum().sqrt() for column in columns])
    torch.testing.assert_close(model.decoder_norms.detach(), lengths)
    model.normalize_decoder()
    after = model.state_dict()
    torch.testing.assert_close(
        after.pop("decoder.weight").T, torch.stack([c / n for c, n in zip(columns, lengths, strict=True)])
    )
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    torch.testing.assert_close(model.decoder_norms.detach(), torch.ones(5, dtype=torch.float64))
    assert model.decoder.weight.requires_grad
    assert model.decoder.weight.grad_fn is None


def test_the_autoencoder_is_made_for_mnist():
    assert [tuple(p.shape) for p in SparseAutoencoder().parameters()] == [(128, 784), (128,), (784, 128), (784,)]


@pytest.mark.parametrize("training", [True, False])
def test_the_digit_classifier_written_out(training):
    """Activation before the pooling, as one usually has it; statistics of the batch, or running ones of 0 and 1."""
    torch.manual_seed(0)
    model, images = DigitClassifier().double().train(training), torch.rand(3, 1, 28, 28, dtype=torch.float64)
    take = iter(model.parameters()).__next__

    def stage(x):
        x = torch.nn.functional.conv2d(x, take(), padding=1)
        mean = x.mean((0, 2, 3), keepdim=True) if training else 0.0
        variance = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True) if training else torch.ones((), dtype=x.dtype)
        x = (x - mean) / (variance + 1e-5).sqrt() * take()[:, None, None] + take()[:, None, None]
        n, c, h, w = x.shape
        return x.clamp(min=0).reshape(n, c, h // 2, 2, w // 2, 2).amax((3, 5))

    x = stage(stage(images * 2 - 1)).reshape(3, 32 * 7 * 7)
    hidden = torch.clamp(x @ take().T + take(), min=0)
    expected = hidden @ take().T + take()
    assert expected.shape == (3, 10)
    torch.testing.assert_close(model(images), expected)
    with pytest.raises(StopIteration):
        take()


@pytest.mark.parametrize(("channels", "groups"), [(3, 1), (8, 1), (15, 1), (16, 2), (32, 4)])
def test_group_normalisation_has_eight_channels_to_a_group(channels, groups):
    block = ResidualBlock(channels, channels, "group")
    assert (block.first_norm.num_groups, block.sum_norm.num_groups) == (groups, groups)


@pytest.mark.parametrize(("dtype", "expected"), [(torch.float32, torch.float32), (torch.float64, torch.float64)])
def test_outputs_are_in_full_precision_also_under_autocast(dtype, expected):
    encoder, generator = (network(8, 1, [4], 2).to(dtype) for network in (Encoder, Generator))
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.float32):
        mean, log_variance = encoder(torch.rand(2, 1, 8, 8, dtype=dtype))
        images = generator(mean)
    assert {mean.dtype, log_variance.dtype, images.dtype} == {expected}


def test_the_names_of_the_components_are_those_of_the_losses():
    """In the order of the weights, which a list of weights, such as a prior, relies on."""
    one, error = torch.ones(2), torch.zeros(2)
    assert (*encoder_loss_components(one, one, one, error, 1.0),) == introvae.COMPONENTS["encoder"]
    assert (*generator_loss_components(one, one, error),) == introvae.COMPONENTS["generator"]
    assert (*soft_introvae.encoder_loss_components(one, one, one, error),) == soft_introvae.COMPONENTS["encoder"]
    generator = soft_introvae.generator_loss_components(one, one, error, error, error)
    assert (*generator,) == soft_introvae.COMPONENTS["generator"]
    images = torch.zeros(1, 4)
    assert (*loss_components(images, images, images),) == COMPONENTS


def test_the_components_of_soft_introvae_by_hand():
    real, one, two = torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.7]), torch.tensor([0.1, 0.2])
    error = torch.tensor([3.0, 5.0])
    encoder = soft_introvae.encoder_loss_components(real, one, two, error)
    assert {name: value.item() for name, value in encoder.items()} == pytest.approx(
        {"kl_real": 1.5, "exp_fake": 0.6 + 0.15, "reconstruction": 4.0}
    )
    generator = soft_introvae.generator_loss_components(one, two, error, 10 * one, 10 * two)
    assert {name: value.item() for name, value in generator.items()} == pytest.approx(
        {"kl_fake": 0.6 + 0.15, "reconstruction": 4.0, "reconstruction_fake": 6.0 + 1.5}
    )


def test_the_exponential_of_fakes_by_hand():
    """s = 1/2, beta_rec 3, beta_neg 5: exp(-(3 x 2 x 0.1 + 5 x 0.2))."""
    found = soft_introvae.exponential(torch.tensor([0.2, 0.0]), torch.tensor([0.1, 0.0]), 0.5, 3.0, 5.0)
    torch.testing.assert_close(found, torch.tensor([math.exp(-1.6), 1.0]))
