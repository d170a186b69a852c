"""IntroVAE's experiment in its parts: augmentation, batch statistics, verdicts, the readings that the config offers."""

import pytest
import torch

from experiments import introvae
from experiments.introvae.updates import (
    adversarial_step,
    build_networks,
    decode,
    recompute_batch_statistics,
    reconstruct,
    warmup_step,
)
from experiments.scale import load
from experiments.weightings import build
from models.introvae import COMPONENTS, encoder_loss_components

CPU = torch.device("cpu")


@pytest.fixture
def settings(tiny_config):
    return load(tiny_config).introvae.model_copy(update={"normalization": "batch"})


def batches(count=3):
    return list(torch.rand(4 * count, 1, 16, 16).split(4))


def test_statistics_are_means_over_real_images_and_the_codes_that_will_be_decoded(settings):
    torch.manual_seed(0)
    networks = build_networks(settings, 1, CPU)
    images = batches()
    networks.encoder(torch.rand(8, 1, 16, 16) * 0.1)  # leaves other statistics behind
    recompute_batch_statistics(networks, lambda: images, settings)
    first = networks.encoder.features[1]
    inputs = [networks.encoder.features[0](batch * 2 - 1) for batch in images]
    torch.testing.assert_close(first.running_mean, torch.stack([x.mean((0, 2, 3)) for x in inputs]).mean(0))
    torch.testing.assert_close(first.running_var, torch.stack([x.var((0, 2, 3)) for x in inputs]).mean(0))

    networks.encoder.eval()
    codes = [networks.encoder(batch)[0] for batch in images]
    networks.encoder.train()
    block = networks.generator.features[0]
    inputs = [block.first(networks.generator.project(code)) for code in codes]
    torch.testing.assert_close(block.first_norm.running_mean, torch.stack([x.mean((0, 2, 3)) for x in inputs]).mean(0))
    assert first.momentum == block.first_norm.momentum == 0.1
    assert networks.encoder.training
    assert networks.generator.training


def test_recomputing_does_not_touch_what_training_goes_on_with(settings):
    """Parameters, optimisers and the random state stay; a run may be evaluated as often as one likes."""
    torch.manual_seed(0)
    networks = build_networks(settings, 1, CPU)
    images = batches()
    parameters = [parameter.clone() for parameter in networks.encoder.parameters()]
    random = torch.get_rng_state()
    recompute_batch_statistics(networks, lambda: images, settings)
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(parameters, networks.encoder.parameters(), strict=True))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_reconstruction_does_not_depend_on_the_batch_that_an_image_sits_in(settings, precision):
    settings = settings.model_copy(update={"precision": precision})
    torch.manual_seed(0)
    networks = build_networks(settings, 1, CPU)
    for images in batches():
        warmup_step(networks, images, settings)
    recompute_batch_statistics(networks, batches, settings)
    images = torch.rand(6, 1, 16, 16)
    together = reconstruct(networks, images, settings)
    alone = torch.cat([reconstruct(networks, image[None], settings) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6 if precision == "float32" else 2e-2)
    assert together.min() >= 0
    assert together.max() <= 1
    assert decode(networks, torch.randn(5, settings.latent_size), settings).shape == (5, 1, 16, 16)
    assert networks.encoder.training
    assert networks.generator.training


def test_augmented_images_are_mirrored_and_shifted_with_borders_replicated():
    torch.manual_seed(0)
    images = torch.randint(0, 256, (64, 3, 8, 8), dtype=torch.uint8)
    padded = torch.nn.functional.pad(images.float() / 255, [2] * 4, mode="replicate")
    possible = {
        (mirror, row, column): torch.nn.functional.pad(
            images.flip(-1).float() / 255 if mirror else images.float() / 255, [2] * 4, mode="replicate"
        )[:, :, row : row + 8, column : column + 8]
        for mirror in (False, True)
        for row in range(5)
        for column in range(5)
    }
    augmented = introvae._augment(images, flip=True, shift=2)
    seen = set()
    for index, image in enumerate(augmented):
        matches = [key for key, candidates in possible.items() if torch.equal(candidates[index], image)]
        assert len(matches) == 1
        seen.add(matches[0])
    assert len({mirror for mirror, _, _ in seen}) == 2
    assert len({row for _, row, _ in seen}) == len({column for _, _, column in seen}) == 5
    assert augmented.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(introvae._augment(images, flip=False), padded[:, :, 2:-2, 2:-2])


def test_the_hinge_of_every_image_or_of_the_batch():
    kl_reconstructed, kl_sampled = torch.tensor([4.0, 14.0]), torch.tensor([2.0, 6.0])
    arguments = (torch.ones(2), kl_reconstructed, kl_sampled, torch.zeros(()))
    image = encoder_loss_components(*arguments, margin=10.0, hinge="image")["margin_fake"]
    batch = encoder_loss_components(*arguments, margin=10.0, hinge="batch")["margin_fake"]
    assert image.item() == (6 + 0) / 2 + (8 + 4) / 2
    assert batch.item() == (10 - 9) + (10 - 4)


def test_the_total_of_the_weights_is_nothing_to_adam(settings):
    """So that SoftAdapt's weights, which sum to 1, train at the same rate as fixed ones, which do not."""
    settings = settings.model_copy(update={"precision": "float32"})
    trained = []
    for total in (1.0, 100.0):
        torch.manual_seed(0)
        networks = build_networks(settings, 1, CPU)
        pair = [build({"rule": "softadapt", "total": total}, names) for names in COMPONENTS.values()]
        for images in batches():
            adversarial_step(networks, images, *pair, settings, 10.0)
        trained.append(torch.cat([parameter.flatten() for parameter in networks.encoder.parameters()]))
    moved = (trained[0] - trained[1]).abs().mean() / settings.learning_rate
    assert moved < 0.05  # of one step, after three


def test_compiled_networks_keep_the_names_of_their_state(settings):
    plain, compiled = (build_networks(settings.model_copy(update={"compile": c}), 1, CPU) for c in (False, True))
    assert compiled.encoder.state_dict().keys() == plain.encoder.state_dict().keys()
    assert compiled.encoder._compiled_call_impl is not None
    assert plain.encoder._compiled_call_impl is None


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        ({"epoch": 9, "kl_real": 80.0, "beyond_margin_share": 0.4}, "trained"),
        ({"epoch": 9, "kl_real": 80.0}, "trained"),
        ({"epoch": 9, "kl_real": 80.0, "prior_niqe": float("nan")}, "trained"),
        ({"epoch": 9, "kl_real": float("nan"), "beyond_margin_share": 0.4}, "diverged"),
        ({"epoch": 9, "kl_real": 80.0, "reconstruction": float("inf")}, "diverged"),
        ({"epoch": 9, "kl_real": 0.3, "beyond_margin_share": 0.0}, "posterior collapsed"),
        ({"epoch": 9, "kl_real": 80.0, "beyond_margin_share": 1.0}, "margin passed"),
    ],
)
def test_verdicts_of_a_run(row, verdict):
    assert introvae.verdict(row) == verdict
