"""IntroVAE's experiment in its parts: augmentation, batch statistics, verdicts, the readings that the config offers."""

import numpy as np
import pandas as pd
import pytest
import torch
from commands import run_room

from experiments.data.faces import Faces, load_faces
from experiments.introvae import run as introvae
from experiments.introvae.evaluation import Evaluated
from experiments.introvae.updates import adversarial_step, build_networks, warmup_step
from experiments.scale import load
from experiments.weightings import build
from models.introvae import COMPONENTS, encoder_loss_components

CPU = torch.device("cpu")


@pytest.fixture
def settings(tiny_config):
    return load(tiny_config).introvae.model_copy(update={"normalization": "batch", "ema_decay": 0.0})


def batches(count=3):
    return list(torch.rand(4 * count, 1, 16, 16).split(4))


def test_statistics_are_means_over_real_images_and_the_codes_that_will_be_decoded(settings):
    torch.manual_seed(0)
    networks = build_networks(settings, 1, CPU)
    images = batches()
    networks.encoder(torch.rand(8, 1, 16, 16) * 0.1)  # leaves other statistics behind
    Evaluated(networks).set_batch_statistics(lambda: images)
    first = networks.encoder.features[1]
    inputs = [networks.encoder.features[0](batch) for batch in images]
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
    Evaluated(networks).set_batch_statistics(lambda: images)
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(parameters, networks.encoder.parameters(), strict=True))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_reconstruction_does_not_depend_on_the_batch_that_an_image_sits_in(settings, precision):
    settings = settings.model_copy(update={"precision": precision})
    torch.manual_seed(0)
    networks = build_networks(settings, 1, CPU)
    for images in batches():
        warmup_step(networks, images)
    evaluated = Evaluated(networks)
    evaluated.set_batch_statistics(batches)
    images = torch.rand(6, 1, 16, 16)
    together = evaluated.reconstruct(images)
    alone = torch.cat([evaluated.reconstruct(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6 if precision == "float32" else 2e-2)
    assert together.min() >= 0
    assert together.max() <= 1
    assert evaluated.decode(torch.randn(5, settings.latent_size)).shape == (5, 1, 16, 16)
    assert networks.encoder.training
    assert networks.generator.training


def test_reconstructions_are_made_from_the_mean_whatever_the_variance(settings):
    """Neither an image nor the statistics of the generator change when every posterior is made wider or narrower."""
    images = torch.rand(8, 1, 16, 16)
    found = []
    for shift in (0.0, 3.0, -3.0):
        torch.manual_seed(0)
        networks = build_networks(settings, 1, CPU)
        with torch.no_grad():
            networks.encoder.posterior.bias[settings.latent_size :] += shift
        evaluated = Evaluated(networks)
        evaluated.set_batch_statistics(lambda: images.split(4))
        found.append((evaluated.reconstruct(images), networks.generator.state_dict()))
    for reconstructions, state in found[1:]:
        assert torch.equal(reconstructions, found[0][0])
        assert all(torch.equal(state[name], value) for name, value in found[0][1].items())


def test_a_failed_update_of_the_generator_leaves_the_encoder_trainable(settings):
    class Failed(Exception):
        pass

    class Fails(torch.nn.Module):
        def forward(self, losses):
            raise Failed

    networks = build_networks(settings, 1, CPU)
    balance = build(settings.methods["fixed"].encoder, COMPONENTS["encoder"])
    with pytest.raises(Failed):
        adversarial_step(networks, batches()[0], balance, Fails(), 10.0)
    assert all(parameter.requires_grad for parameter in networks.encoder.parameters())


def test_failed_statistics_leave_the_running_averages_as_they_work(settings):
    networks = build_networks(settings, 1, CPU)
    with pytest.raises(RuntimeError):
        Evaluated(networks).set_batch_statistics(lambda: [torch.rand(2, 7, 16, 16)])
    norms = [layer for layer in networks.encoder.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    assert {layer.momentum for layer in norms} == {0.1}


def test_measured_images_are_spread_over_their_set():
    images = np.arange(101)
    assert introvae._spread(images, 5).tolist() == [0, 25, 50, 75, 100]
    assert introvae._spread(images, 1000).tolist() == images.tolist()
    faces = Faces(images[:71, None, None, None], images[:0], images[:8, None, None, None], {})
    sets = introvae._of_each_set(faces, 8, CPU)
    assert (255 * sets["train"]).flatten().round().tolist() == [0, 10, 20, 30, 40, 50, 60, 70]
    assert list(sets) == ["train", "held_out"]


def test_a_run_measures_images_from_all_over_its_sets(tiny_config, made_faces, tmp_path):
    """As many are shown as are measured here, so that the files hold all that the measures come from."""
    run_room("introvae", "--config", tiny_config, "--output", tmp_path / "run", "--evaluated-images", "8")
    settings = load(tiny_config).introvae
    faces = load_faces(settings.dataset, made_faces, settings.image_size, settings.validation, settings.held_out)
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    with np.load(tmp_path / "run" / "samples.npz") as samples:
        for part in ("train", "validation", "held_out"):
            images = getattr(faces, part)
            places = np.linspace(0, len(images) - 1, 8).round().astype(int)
            assert places[-1] == len(images) - 1 > 8
            np.testing.assert_array_equal(samples[f"{part}_originals"], (images[places] / 255).astype(np.float32))
            error = samples[f"{part}_originals"].astype(float) - samples[f"{part}_epoch_4"]
            expected = (-10 * np.log10((error**2).mean(axis=(1, 2, 3)))).mean()
            assert history[f"{part}_psnr"].iloc[-1] == pytest.approx(expected, rel=1e-5)


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
            adversarial_step(networks, images, *pair, 10.0)
        trained.append(torch.cat([parameter.flatten() for parameter in networks.encoder.parameters()]))
    moved = (trained[0] - trained[1]).abs().mean() / settings.learning_rate
    assert moved < 0.05  # of one step, after three


def test_compiled_networks_keep_the_names_of_their_state(settings):
    plain, compiled = (build_networks(settings.model_copy(update={"compile": c}), 1, CPU) for c in (False, True))
    assert compiled.encoder.state_dict().keys() == plain.encoder.state_dict().keys()
    assert compiled.encoder._compiled_call_impl is not None
    assert plain.encoder._compiled_call_impl is None


GOOD = {"phase": "adversarial", "kl_real": 80.0, "kl_sampled": 90.0, "beyond_margin_share": 0.4}
WARM = {"phase": "warmup", "kl_real": 80.0}


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        (GOOD, "trained"),
        (WARM, "trained"),
        (GOOD | {"prior_niqe": float("nan")}, "trained"),
        (GOOD | {"train_psnr": float("inf"), "held_out_ssim": float("nan"), "prior_swd": float("nan")}, "trained"),
        (GOOD | {"encoder_weight_kl_real": float("nan")}, "diverged"),
        (GOOD | {"gradient_norm_generator": float("inf")}, "diverged"),
        (GOOD | {"kl_real": float("nan")}, "diverged"),
        (GOOD | {"reconstruction": float("inf")}, "diverged"),
        (GOOD | {"kl_real": 0.3, "beyond_margin_share": 0.0}, "posterior collapsed"),
        (GOOD | {"beyond_margin_share": 1.0}, "no adversary"),
        (GOOD | {"kl_sampled": 79.0}, "order inverted"),
        (GOOD | {"kl_sampled": 79.0, "beyond_margin_share": 1.0}, "no adversary"),
    ],
)
def test_verdicts_of_a_run(row, verdict):
    assert introvae.verdict([row]) == verdict


@pytest.mark.parametrize(
    ("gaps", "verdict"),
    [
        ([-1, -1, -1, -1, -1, -1, -1, -1, 1, 2], "trained"),  # the last two of ten decide
        ([1, 1, 1, 1, 1, 1, 1, 1, -1, -2], "order inverted"),
        ([1, 1, 1, 1, 1, 1, 1, 1, 2, -1], "trained"),  # their mean does
        ([1, 1, 1, 1, 1, 1, 1, 1, 1, -2], "order inverted"),
        ([1, 1, 1, 1, 1, 1, 1, 1, 0, 0], "trained"),
        ([9, 9, 9, 9, -1, -1], "order inverted"),  # two of six
        ([9, 9, 9, 9, -2, 1], "order inverted"),
        ([None, None, None, None, None, None, None, None, None, -1], "order inverted"),  # warm-up has no samples
        ([None, None, None, None, None, None, None, None, 3, -1], "trained"),
    ],
)
def test_the_order_of_the_divergences_is_that_of_the_last_fifth(gaps, verdict):
    """A gap is the KL of samples less that of real images."""
    rows = [WARM if gap is None else GOOD | {"kl_sampled": 80.0 + gap} for gap in gaps]
    assert introvae.verdict(rows) == verdict


def test_batch_statistics_are_recomputed_over_mixed_images_each_once(tmp_path, made_faces, faces_config, monkeypatch):
    """Faces are sorted by person: batches in file order would lack the variance between people."""
    batches, originals = [], []

    def recompute(self, make):
        batches.append([batch.clone() for batch in make()])

    def load(*arguments):
        faces = load_faces(*arguments)
        originals.append(torch.from_numpy(np.array(faces.train)).float() / 255)
        return faces

    monkeypatch.setattr(Evaluated, "set_batch_statistics", recompute)
    monkeypatch.setattr(introvae, "load_faces", load)
    run_room("introvae", "--config", faces_config, "--epochs", "4", "--output", tmp_path / "run")
    seen, train = torch.cat(batches[0]), originals[0]
    assert not torch.equal(seen, train)
    assert sorted(image.sum().item() for image in seen) == sorted(image.sum().item() for image in train)
    assert len(batches) == 4
    assert all(torch.equal(torch.cat(batch), seen) for batch in batches)  # the same order at every report epoch
