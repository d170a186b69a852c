"""Whole updates of IntroVAE and Soft-IntroVAE against transcriptions of the publications; weights and schedules."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from commands import run_room
from published_introvae import Adam, introvae_step, soft_introvae_step

from experiments.introvae.evaluation import Evaluated
from experiments.introvae.settings import IntroVAEMethod
from experiments.introvae.updates import adversarial_step, build_balance, build_balances, build_networks
from experiments.runs.errors import UserError
from experiments.runs.folder import Run
from experiments.scale import load

CPU = torch.device("cpu")
FIXED = {"rule": "fixed", "weights": {"kl_fake": 0.5, "reconstruction": 4.0}}
SOFT = {"beta_rec": 0.75, "beta_kl": 0.5, "beta_neg": 3.0, "gamma_r": 1 / 64}  # exact in float32, as weights are kept


@pytest.fixture
def settings(tiny_config):
    changes = {"normalization": "batch", "precision": "float32", "decay_share": 0.0, "ema_decay": 0.0}
    return load(tiny_config).introvae.model_copy(update=changes)


def method_of(encoder, generator=FIXED, **more):
    return IntroVAEMethod(encoder=encoder, generator=generator, **more)


def compare(settings, method, transcription, margin):
    """Three steps in double precision: losses, gradients and weights."""
    torch.manual_seed(0)
    networks = build_networks(settings, 1, CPU)
    networks.encoder.double()
    networks.generator.double()
    balances = [balance.double() for balance in build_balances(networks, method, "method", 1, CPU)]
    twins = [
        Adam(
            [parameter.detach().clone().requires_grad_() for parameter in network.parameters()], settings.learning_rate
        )
        for network in (networks.encoder, networks.generator)
    ]
    for step in range(3):
        images = torch.rand(6, 1, 16, 16, dtype=torch.float64)
        torch.manual_seed(step + 1)
        losses = adversarial_step(networks, images, *balances, margin)
        torch.manual_seed(step + 1)
        expected, *gradients = transcription(images, settings.channels, *twins)
        for name, value in expected.items():
            torch.testing.assert_close(losses[name], value.detach(), msg=f"step {step}, {name}")
        for name, twin, theirs in zip(("encoder", "generator"), twins, gradients, strict=True):
            ours = list(getattr(networks, name).parameters())
            torch.testing.assert_close([p.grad for p in ours], list(theirs), rtol=1e-8, atol=1e-11)
            torch.testing.assert_close(
                [p.detach() for p in ours], [w.detach() for w in twin.weights], rtol=1e-8, atol=1e-11
            )
            norm = torch.cat([gradient.flatten() for gradient in theirs]).norm()
            torch.testing.assert_close(losses[f"gradient_norm_{name}"], norm)


@pytest.mark.parametrize("unweighted", [[], ["kl_real"]])
@pytest.mark.parametrize("hinge", ["image", "batch"])
def test_three_steps_of_introvae(settings, hinge, unweighted):
    """alpha differs between the networks, as published; the margin is within reach of some images."""
    settings = settings.model_copy(update={"hinge": hinge, "reconstruction_scale": 0.3})
    weights = {"kl_real": 1.0, "margin_fake": 0.25, "reconstruction": 4.0}
    encoder = {"rule": "fixed", "weights": {name: w for name, w in weights.items() if name not in unweighted}}

    def transcription(*arguments):
        constants = {"margin": 1.5, "hinge": hinge, "scale": 0.3, "alphas": (0.25, 0.5), "weight": 4.0}
        return introvae_step(*arguments, **constants)

    compare(settings, method_of(encoder, margin=1.5, unweighted=unweighted), transcription, 1.5)


def test_three_steps_of_soft_introvae(settings):
    """With the weights that the docstring of the model gives."""
    constants = {"objective": "soft-introvae", "beta_rec": SOFT["beta_rec"], "beta_neg": SOFT["beta_neg"]}
    settings = settings.model_copy(update=constants | {"reconstruction_scale": 1.0})
    rec = 2 * SOFT["beta_rec"]
    encoder = {"kl_real": SOFT["beta_kl"], "exp_fake": 16 * 16 / 4, "reconstruction": rec}
    generator = {"kl_fake": SOFT["beta_kl"] / 2, "reconstruction": rec}
    generator["reconstruction_fake"] = SOFT["gamma_r"] * SOFT["beta_rec"]
    method = method_of({"rule": "fixed", "weights": encoder}, {"rule": "fixed", "weights": generator})
    compare(settings, method, lambda *arguments: soft_introvae_step(*arguments, **SOFT), None)


RULES = ["softadapt", "softadapt_swapped", "uncertainty", "gradnorm", "jacobian_descent", "relobralo", "random_weights"]


@pytest.mark.parametrize("rule", [*RULES, "dynamic_weight_average"])
def test_a_component_outside_of_a_rule_has_weight_1(settings, rule):
    """The rule sees the others alone, and what it does with two components is what it does without the third."""
    torch.manual_seed(0)
    networks = build_networks(settings, 1, CPU)
    method = method_of({"rule": rule}, margin=10.0, unweighted=["kl_real"])
    balance, _ = build_balances(networks, method, "method", 1, CPU)
    shared = list(networks.encoder.parameters())
    losses = {"kl_real": 100 * (shared[0] ** 2).sum(), "margin_fake": (shared[0] ** 4).sum() + 1}
    losses["reconstruction"] = (shared[0] - 1).square().sum()
    total = balance(losses)
    weights = balance.weights()
    assert list(weights) == ["kl_real", "margin_fake", "reconstruction"]
    assert weights["kl_real"] == 1
    gradient = torch.autograd.grad(total, shared[0], retain_graph=True)[0]
    expected = sum(
        weight * torch.autograd.grad(losses[name], shared[0], retain_graph=True)[0] for name, weight in weights.items()
    )
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("unweighted", [["kl_fake"], ["kl_real", "kl_real"], ["kl_real", "margin_fake"]])
def test_only_components_of_the_encoder_may_stay_outside(unweighted):
    method = method_of({"rule": "softadapt"}, margin=1.0, unweighted=unweighted)
    with pytest.raises(UserError, match=r"one\.unweighted: must name components of L_E .* leave two to the rule, got"):
        build_balance(method, "encoder", "introvae", "one")


def test_the_learning_rate_falls_linearly_to_zero(settings):
    """Of 20 steps, the last 5: 1, 4/5, ..., 1/5 of it, and zero after the last."""
    networks = build_networks(settings.model_copy(update={"decay_share": 0.25, "learning_rate": 0.1}), 1, CPU)
    rates = []
    for step in range(21):
        networks.schedule(step, 20)
        optimizers = (networks.encoder_optimizer, networks.generator_optimizer)
        (rate,) = {group["lr"] for optimizer in optimizers for group in optimizer.param_groups}
        rates.append(rate)
    assert rates[:16] == [0.1] * 16
    assert rates[16:] == pytest.approx([0.08, 0.06, 0.04, 0.02, 0.0])


def test_without_decay_the_learning_rate_stays(settings):
    networks = build_networks(settings, 1, CPU)
    networks.schedule(19, 20)
    assert networks.encoder_optimizer.param_groups[0]["lr"] == settings.learning_rate


def test_averages_follow_the_weights_and_forget_the_first_ones(settings):
    networks = build_networks(settings.model_copy(update={"ema_decay": 0.3}), 1, CPU)
    evaluated = Evaluated(networks)
    parameter, average = networks.encoder.posterior.bias, evaluated.encoder.posterior.bias
    expected = parameter.detach().clone()
    for step, decay in enumerate([1 / 10, 2 / 11, 3 / 12, 0.3, 0.3]):
        with torch.no_grad():
            parameter.add_(1.0)
        evaluated.follow(step)
        expected = decay * expected + (1 - decay) * parameter.detach()
        torch.testing.assert_close(average.detach(), expected)
    other = Evaluated(networks)
    other.load_state_dict(evaluated.state_dict())
    assert torch.equal(other.encoder.posterior.bias, average)
    plain = Evaluated(build_networks(settings, 1, CPU))
    plain.follow(0)
    assert plain.state_dict() == {}
    assert plain.encoder is plain.networks.encoder


@pytest.mark.parametrize("statistics", ["running", "recomputed"])
def test_averages_have_batch_statistics_of_their_own(settings, statistics):
    """Either copied from the networks that train, or made for the averages; training's stay as they are."""
    settings = settings.model_copy(update={"ema_decay": 0.5, "batch_statistics": statistics})
    torch.manual_seed(0)
    networks = build_networks(settings, 1, CPU)
    evaluated = Evaluated(networks)
    images = torch.rand(8, 1, 16, 16)
    networks.encoder(images * 0.1)
    before = {name: buffer.clone() for name, buffer in networks.encoder.named_buffers()}
    evaluated.set_batch_statistics(lambda: images.split(4))
    for name, buffer in networks.encoder.named_buffers():
        assert torch.equal(buffer, before[name])
        assert torch.equal(dict(evaluated.encoder.named_buffers())[name], buffer) == (statistics == "running")


@pytest.fixture
def start(tmp_path, tiny_config, made_faces):
    def run(folder, *options):
        run_room("introvae", "--config", tiny_config, "--output", tmp_path / folder, *options)
        return pd.read_csv(tmp_path / folder / "history.csv"), json.loads(
            (tmp_path / folder / "metrics.json").read_text()
        )

    return run


def test_a_margin_from_data_is_fixed_when_the_warm_up_ends(start):
    history, metrics = start("run", "--warmup-epochs", "2", "--margin", "{times_kl_real: 1.5}")
    assert history["margin"].isna().tolist() == [True, True, False, False]
    assert metrics["margin"] == 1.5 * history["kl_real"].iloc[1] == history["margin"].iloc[2]


def test_a_killed_run_goes_on_with_its_margin_its_rate_and_its_averages(start, tmp_path, monkeypatch):
    """Killed in the third of four epochs, the first of them a warm-up; the rate falls from the second on."""
    options = [
        "--warmup-epochs",
        "1",
        "--margin",
        "{times_kl_real: 1.5}",
        "--decay-share",
        "0.75",
        "--ema-decay",
        "0.9",
    ]
    start("undisturbed", *options)
    save, count = Run.save, []

    def save_and_die(self, state):
        save(self, state)
        count.append(state)
        if len(count) == 11:
            self.release()
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        start("killed", *options, "--checkpoint-interval", "0")
    monkeypatch.setattr(Run, "save", save)
    assert count[-1]["epoch"] == 3
    start("killed", *options, "--checkpoint-interval", "0")
    for name in ("metrics.json", "history.csv", "weights.pt"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()


def test_a_margin_in_nats_is_kept_with_the_numbers(start):
    assert start("run", "--margin", "7")[1]["margin"] == 7.0


def test_the_weight_of_a_component_outside_is_in_the_history(start):
    history, _ = start("run", "--margin", "9", "--unweighted", "[kl_real]")
    assert (history["encoder_weight_kl_real"] == 1).all()
    inside = history[["encoder_weight_margin_fake", "encoder_weight_reconstruction"]]
    np.testing.assert_allclose(inside.sum(axis=1), 1, rtol=1e-5)
    assert inside.notna().all(axis=None)


def test_a_run_whose_learning_rate_falls_is_not_continued(start):
    """Every step depends on how many there are."""
    more = ["--epochs", "6", "--report-epochs", "[1, 2, 3, 6]"]
    start("run", "--decay-share", "0.5", "--margin", "9")
    with pytest.raises(UserError, match=r"they differ in settings\.epochs"):
        start("run", "--decay-share", "0.5", "--margin", "9", *more)


def test_what_is_kept_is_what_was_evaluated(start, tmp_path):
    """The weights of a run with averages are the averages: other than without, with training unchanged."""
    one, _ = start("with", "--ema-decay", "0.9", "--margin", "9")
    other, _ = start("without", "--ema-decay", "0", "--margin", "9")
    trained = [name for name in one if not name.endswith(("_psnr", "_ssim", "_niqe", "_swd"))]
    pd.testing.assert_frame_equal(one[trained], other[trained], check_exact=True)
    assert (one["train_psnr"] != other["train_psnr"]).all()
    states = [torch.load(tmp_path / name / "weights.pt", weights_only=True)["encoder"] for name in ("with", "without")]
    assert not torch.equal(states[0]["posterior.weight"], states[1]["posterior.weight"])


def test_soft_introvae_trains(start, tmp_path, tiny_config):
    import yaml

    values = yaml.safe_load(tiny_config.read_text())
    rule = {"rule": "softadapt"}
    values["introvae"] |= {"objective": "soft-introvae", "methods": {"softadapt": {"encoder": rule, "generator": rule}}}
    values["introvae"]["methods"]["softadapt"]["unweighted"] = ["kl_real"]
    tiny_config.write_text(yaml.safe_dump(values))
    history, metrics = start("run")
    names = ["exp_fake", "reconstruction_fake", "encoder_weight_exp_fake", "generator_weight_reconstruction_fake"]
    assert history[names].notna().all(axis=None)
    assert "beyond_margin_share" not in history
    assert "margin" not in history
    assert metrics["verdict"] != "diverged"
