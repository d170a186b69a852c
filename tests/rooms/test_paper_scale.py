"""The paper's scale, never run here as a whole: what it states, one step of it on a CPU, and no device by name."""

import contextlib
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from commands import run_room
from made_data import tiny_settings
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import cost
from experiments.introvae import updates
from experiments.introvae.evaluation import Evaluated
from experiments.runs.validation import validate
from experiments.scale import Settings, load, read
from models.introvae import Encoder, Generator

pytestmark = pytest.mark.whole

PAPER = "config/paper.yaml"
BRIGHTNESS = {0: 40, 1: 120, 2: 200}
"""Of the made images, by part: tells which part an image came from."""


@pytest.fixture
def made_celeba(tmp_path):
    """CelebA as its authors lay it out: aligned JPEG files of 178x218 and the official partition, four of each part."""
    folder = tmp_path / "data" / "celeba" / "img_align_celeba"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    parts = 4 * [1, 0, 2]  # mixed, so that taking the first or the last images would show
    lines = []
    for number, part in enumerate(parts, start=1):
        pixels = BRIGHTNESS[part] + random.integers(-20, 20, (218, 178, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:06d}.jpg")
        lines.append(f"{number:06d}.jpg {part}\n")
    (folder.parent / "list_eval_partition.txt").write_text("".join(lines))
    return tmp_path / "data"


def test_the_scale_is_the_papers():
    settings = load(PAPER).introvae
    assert settings.dataset == "celeba"
    assert settings.image_size == 128
    assert settings.epochs == 250
    assert settings.report_epochs == [12, 100, 200, 250]
    assert settings.warmup_epochs == 0
    assert (settings.channels, settings.latent_size, settings.normalization) == ([64, 128, 256, 512, 512], 256, "batch")
    assert {"fixed", "softadapt"} <= settings.methods.keys()
    fixed = settings.methods["fixed"]
    assert fixed.encoder["weights"] == {"kl_real": 1.0, "margin_fake": 0.25, "reconstruction": 1.0}
    assert fixed.generator["weights"] == {"kl_fake": 0.5, "reconstruction": 1.0}


def test_one_step_of_the_papers_recipe_on_a_cpu(tmp_path, made_celeba, monkeypatch):
    """Everything of the config but data folder, batch, epochs and feature maps, an eighth of them; one step each.

    The networks of full width are built on fake tensors by `benchmarks.cost`.
    """
    values = read(PAPER) | {"data_dir": str(made_celeba)}
    config = tmp_path / "paper.yaml"
    config.write_text(yaml.safe_dump(values))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    run = tmp_path / "run"
    options = ["--batch-size", "3", "--epochs", "4", "--report-epochs", "[1, 2, 3, 4]", "--evaluated-images", "4"]
    channels = [count // 8 for count in load(PAPER).introvae.channels]
    run_room("introvae", "--config", config, "--output", run, "--channels", str(channels), *options)

    assert {path.name for path in run.iterdir()} >= {
        "config.yaml",
        "history.csv",
        "metrics.json",
        "samples.npz",
        "provenance.json",
        "checkpoint.pt",
    }
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["verdict"] != "diverged"
    history = pd.read_csv(run / "history.csv")
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    assert np.isfinite(history.select_dtypes("number")).all(axis=None)
    assert history[["train_psnr", "held_out_psnr", "train_ssim", "held_out_ssim"]].notna().all(axis=None)
    samples = np.load(run / "samples.npz")
    assert samples["train_originals"].shape == samples["held_out_epoch_4"].shape == (4, 3, 128, 128)
    assert {samples[name].shape[1:] for name in samples.files} == {(3, 128, 128)}
    for name, part in (("train", 0), ("validation", 1), ("held_out", 2)):
        brightness = 255 * samples[f"{name}_originals"].mean(axis=(1, 2, 3))
        np.testing.assert_allclose(brightness, BRIGHTNESS[part], atol=5)
    state = torch.load(run / "weights.pt", weights_only=True)
    settings = load(PAPER).introvae
    sizes = (settings.image_size, 3, channels, settings.latent_size, settings.normalization)
    Encoder(*sizes).load_state_dict(state["encoder"])
    Generator(*sizes).load_state_dict(state["generator"])


@pytest.fixture(scope="module")
def step(tmp_path_factory):
    """Cost of a step of a tiny scale."""
    return cost.measure_step(validate(Settings, tiny_settings(tmp_path_factory.mktemp("data")), "tiny").introvae)


def test_the_cost_table_holds_positive_finite_numbers(tiny_config, capsys, monkeypatch, step):
    monkeypatch.setattr(cost, "measure_step", lambda settings: step)
    cost.main(["--config", str(tiny_config), "--train-images", "1000"])
    printed = capsys.readouterr().out
    rows = [line.split("|")[1:-1] for line in printed.splitlines() if line.startswith("|")][2:]
    assert len(rows) > 10
    for _, value, _ in rows:
        assert 0 < float(value.replace(",", "")) < math.inf
    assert "1,000 training images" in printed
    assert "no GPU was used" in printed


def test_the_document_shows_what_the_command_prints(capsys):
    """Made anew by ``python -m benchmarks.cost`` when the scale or the updates change."""
    cost.main(["--config", PAPER])
    shown = Path("docs/paper-scale.md").read_text(encoding="utf-8")
    shown = shown.split("<!-- cost: begin -->")[1].split("<!-- cost: end -->")[0]
    assert shown.strip() == capsys.readouterr().out.strip()


def test_a_step_costs_the_passes_that_the_equations_ask_for(tiny_config, step):
    """The encoder: 5 passes forward, 3 backward to its weights (2 each) and 2 through it. The generator: 2 forward, 1
    backward through it for the encoder, and 2 for itself (2 each). First layers spare the gradient of their input.
    """
    settings = load(tiny_config).introvae
    networks = updates.build_networks(settings, 1, torch.device("cpu"))
    forward = {}
    for name, shape in (("encoder", (1, 16, 16)), ("generator", (settings.latent_size,))):
        with FlopCounterMode(display=False) as flops:
            getattr(networks, name)(torch.zeros(settings.batch_size, *shape))
        forward[name] = flops.get_total_flops()
    most = (5 + 3 * 2 + 2) * forward["encoder"] + (2 + 1 + 2 * 2) * forward["generator"]
    assert 0.9 * most < step.flops <= most
    assert step.encoder == sum(parameter.numel() for parameter in networks.encoder.parameters())
    images = settings.batch_size * 16 * 16 * 4
    assert step.peak > step.state + 10 * images


def test_a_faster_gpu_takes_less_time_and_needs_the_same_speed(tiny_config):
    settings = load(tiny_config).introvae.model_copy(update={"batch_size": 64})
    step = cost.StepCost(encoder=10, generator=10, flops=64 * 10**12, moved=64 * 10**12, peak=1000)
    slow = cost.estimate(settings, step, 640, tflops=1.0, bandwidth=1.0)
    fast = cost.estimate(settings, step, 640, tflops=2.0, bandwidth=2.0)
    assert slow["estimated speed"][0] == 0.5
    assert fast["estimated speed"][0] == 1.0
    assert slow["estimated time of one run"][0] == pytest.approx(640 * settings.epochs / 0.5 / 3600)
    assert slow["speed needed for one run in 24 hours"][0] == pytest.approx(640 * settings.epochs / 86400)


def test_memory_alive_is_counted_once_and_until_it_is_freed():
    memory = cost._memory_mode(products=())
    values = torch.ones(1000, requires_grad=True)
    with memory:
        result = values.exp().exp()
        assert (memory.live, memory.moved) == (8000, 16000)
        del result
        assert memory.live == 0
        values.exp().view(10, 100)
    assert memory.peak == 8000


def test_the_cost_command_refuses_what_it_cannot_estimate(tiny_config, capsys):
    for options in (["--tflops", "nan"], ["--bandwidth", "0"], ["--train-images", "3"]):
        with pytest.raises(SystemExit):
            cost.main(["--config", str(tiny_config), *options])
        assert options[0] in capsys.readouterr().err


def test_help_of_the_cost_command():
    result = subprocess.run([sys.executable, "-m", "benchmarks.cost", "--help"], capture_output=True, text=True)
    assert result.returncode == 0
    assert "--tflops" in result.stdout


class OnlyMeta(TorchDispatchMode):
    """Fails as soon as an operation makes a tensor on any other device than ``meta``."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            assert not isinstance(tensor, torch.Tensor) or tensor.device.type == "meta", f"{func} on {tensor.device}"
        return result


@pytest.mark.parametrize("method", ["fixed", "softadapt"])
def test_the_updates_name_no_device(method, monkeypatch):
    """At the paper's sizes, on a device without memory: no operation may fall back to the CPU.

    Two stand-ins, since torch supports neither on ``meta``: SGD for fused Adam, and a recorder for autocast.
    """
    settings = load(PAPER).introvae
    meta = torch.device("meta")
    autocast_to = set()

    def autocast(device_type, *_, **__):
        autocast_to.add(device_type)
        return contextlib.nullcontext()

    monkeypatch.setattr(torch, "autocast", autocast)
    networks = updates.build_networks(settings, 3, meta)
    networks.encoder_optimizer = torch.optim.SGD(networks.encoder.parameters(), 0.1)
    networks.generator_optimizer = torch.optim.SGD(networks.generator.parameters(), 0.1)
    weightings = settings.methods[method]
    balances = [
        updates.build_balance(weightings, name, settings.objective, method).to(meta)
        for name in ("encoder", "generator")
    ]
    images = torch.empty(settings.batch_size, 3, settings.image_size, settings.image_size, device=meta)
    with OnlyMeta():
        losses = updates.adversarial_step(networks, images, *balances, weightings.margin)
        losses |= updates.warmup_step(networks, images)
        evaluated = Evaluated(networks)
        losses["decoded"] = evaluated.decode(torch.empty(3, settings.latent_size, device=meta))
        losses["reconstructions"] = evaluated.reconstruct(images)
    assert {value.device.type for value in losses.values()} == {"meta"}
    assert autocast_to == {"meta"}


def test_a_tensor_on_another_device_is_noticed():
    """The test above can fail."""
    with OnlyMeta(), pytest.raises(AssertionError, match="on cpu"):
        torch.randn(2)
