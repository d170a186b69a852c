"""The training step of IntroVAE against a plain one and against the processor's peak, SoftAdapt's share of the step, and
the time of evaluation.

make bench

All ratios come from alternating steps in one process, so that both sides meet the same machine. What bfloat16 gains
depends on the processor: much with matrix instructions (AMX), about a factor of two with AVX-512 alone, a loss
without either.
"""

import time

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from experiments.introvae.updates import Networks, adversarial_step, build_balance, build_networks
from experiments.metrics.psnr import psnr
from experiments.metrics.ssim import ssim
from experiments.scale import load
from models.introvae import (
    COMPONENTS,
    encoder_loss_components,
    generator_loss_components,
    kl_divergence,
    sample_posterior,
)

REFERENCE = {"image_size": 64, "channels": [32, 64, 128, 128], "latent_size": 128, "batch_size": 32}
"""64 px colour images: the setting at which steps are compared."""


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)  # as a run of the workflow has


@pytest.fixture
def images(settings):
    """A batch (N, 3, S, S) in channels-last layout."""
    images = torch.rand(settings.batch_size, 3, settings.image_size, settings.image_size)
    return images.contiguous(memory_format=torch.channels_last)


@pytest.fixture
def settings():
    return load("config/laptop.yaml").introvae.model_copy(
        update=REFERENCE | {"normalization": "batch", "precision": "bfloat16"}
    )


def balances(settings, name):
    method = settings.methods[name]
    return [build_balance(method, network, settings.objective, name) for network in COMPONENTS]


def plain_step(networks: Networks, images, balance_encoder, balance_generator, margin):
    """The same updates as they are commonly written: float32, NCHW, gradients of everything in both passes."""
    encoder, generator = networks.encoder, networks.generator
    mean, log_variance = encoder(images)
    reconstructed = generator(sample_posterior(mean, log_variance, torch.randn_like(mean)))
    sampled = generator(torch.randn_like(mean))
    kl_reconstructed = kl_divergence(*encoder(reconstructed.detach()))
    kl_sampled = kl_divergence(*encoder(sampled.detach()))
    reconstruction = networks.error(images, reconstructed)
    kl_real = kl_divergence(mean, log_variance)
    losses = encoder_loss_components(
        kl_real, kl_reconstructed, kl_sampled, reconstruction, margin, networks.settings.hinge
    )
    networks.encoder_optimizer.zero_grad()
    networks.generator_optimizer.zero_grad()
    balance_encoder(losses).backward(retain_graph=True)
    gradients = [parameter.grad for parameter in encoder.parameters()]
    losses = generator_loss_components(
        kl_divergence(*encoder(reconstructed)), kl_divergence(*encoder(sampled)), reconstruction
    )
    for parameter in encoder.parameters():
        parameter.grad = None
    networks.generator_optimizer.zero_grad()
    balance_generator(losses).backward()
    for parameter, gradient in zip(encoder.parameters(), gradients, strict=True):
        parameter.grad = gradient
    networks.encoder_optimizer.step()
    networks.generator_optimizer.step()


def median_seconds(benchmark, steps, rounds, label):
    """Run the named steps in turn, `rounds` times after one that does not count; return the median time of each."""
    seconds = {name: [] for name in steps}

    def one_of_each():
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - started)

    one_of_each()
    for values in seconds.values():
        values.clear()
    benchmark.group = label
    benchmark.pedantic(one_of_each, rounds=rounds)
    return {name: sorted(values)[len(values) // 2] for name, values in seconds.items()}


def median_ratio(benchmark, steps, rounds, label):
    """Print and record the ratio of the median times of two named steps."""
    (first, first_seconds), (second, second_seconds) = median_seconds(benchmark, steps, rounds, label).items()
    benchmark.extra_info["ratio"] = first_seconds / second_seconds
    print(
        f"\n{label}: {first} {first_seconds:.4f} s, {second} {second_seconds:.4f} s, ratio {first_seconds / second_seconds:.4f}"
    )


def test_step_against_the_plain_one(benchmark, settings, images):
    device = torch.device("cpu")
    ours = build_networks(settings, 3, device)
    plain = build_networks(settings.model_copy(update={"precision": "float32"}), 3, device)
    for network in (plain.encoder, plain.generator):
        network.to(memory_format=torch.contiguous_format)
    contiguous = images.contiguous()
    weights = balances(settings, "fixed"), balances(settings, "fixed")
    steps = {
        "plain": lambda: plain_step(plain, contiguous, *weights[0], 90.0),
        "ours": lambda: adversarial_step(ours, images, *weights[1], 90.0),
    }
    median_ratio(benchmark, steps, 10, "IntroVAE step, plain over ours")


def test_share_of_the_bfloat16_peak(benchmark, settings, images):
    """One thread: the multiplications and additions of a step, per second, over those of the fastest bfloat16 operation.

    On an EPYC with AVX-512 and without AMX the peak is 232 GFLOP/s and a step reaches 157. Four fifths of its time are
    convolutions, at 85 % of the peak; batch normalisation (9 %), leaky ReLU (4 %) and pooling (3 %) wait for memory.
    With torch.compile a step takes a fifth longer.
    """
    networks = build_networks(settings, 3, torch.device("cpu"))
    weights = balances(settings, "fixed")
    with FlopCounterMode(display=False) as counter:
        adversarial_step(networks, images, *weights, 90.0)
    matrix = torch.randn(2048, 2048, dtype=torch.bfloat16)
    features = torch.randn(32, 128, 32, 32, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    kernel = torch.randn(128, 128, 3, 3, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    label = "IntroVAE step, share of the bfloat16 peak"
    steps = {
        "step": lambda: adversarial_step(networks, images, *weights, 90.0),
        "matrix product": lambda: matrix @ matrix,
        "convolution": lambda: torch.conv2d(features, kernel, padding=1),
    }
    flops = {
        "step": counter.get_total_flops(),
        "matrix product": 2 * 2048**3,
        "convolution": 2 * 32 * 32**2 * 9 * 128**2,
    }
    rate = {name: flops[name] / seconds / 1e9 for name, seconds in median_seconds(benchmark, steps, 10, label).items()}
    benchmark.extra_info["share"] = rate["step"] / max(rate["matrix product"], rate["convolution"])
    print(f"\n{label}: {benchmark.extra_info['share']:.3f}, GFLOP/s: {rate}")


def test_share_of_softadapt(benchmark, settings, images):
    networks = build_networks(settings, 3, torch.device("cpu"))
    weights = {name: balances(settings, name) for name in ("softadapt", "fixed")}
    steps = {name: lambda pair=pair: adversarial_step(networks, images, *pair, 90.0) for name, pair in weights.items()}
    median_ratio(benchmark, steps, 20, "IntroVAE step, SoftAdapt over fixed weights")


def test_call_of_both_balances(benchmark, settings):
    """Times SoftAdapt's two calls of a step alone, backward included, so that the noise of the step stays out."""
    encoder, generator = balances(settings, "softadapt")
    losses = {name: torch.rand((), requires_grad=True) for names in COMPONENTS.values() for name in names}

    def calls():
        encoder({name: losses[name] for name in COMPONENTS["encoder"]}).backward()
        generator({name: losses[name] for name in COMPONENTS["generator"]}).backward()

    benchmark.group = "both SoftAdapt calls of an IntroVAE step"
    benchmark(calls)


def test_evaluation_of_400_images(benchmark):
    """PSNR and SSIM of 400 colour images at 64 px."""
    images, others = torch.rand(400, 3, 64, 64), torch.rand(400, 3, 64, 64)
    benchmark.group = "PSNR and SSIM of 400 images at 64 px"
    benchmark.pedantic(lambda: (psnr(images, others), ssim(images, others)), rounds=5, warmup_rounds=1)
