"""The training experiments on small made data: what they write, that seeds decide everything, and exact resumption."""

import copy
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from commands import run_room

from experiments.data import orl_faces
from experiments.introvae import updates
from experiments.introvae.settings import IntroVAESettings
from experiments.metrics.classification import judge_identity
from experiments.runs.errors import UserError
from experiments.runs.files import sha256
from experiments.runs.folder import Run
from experiments.scale import load
from experiments.sparse_autoencoder import run as sparse_autoencoder
from experiments.weightings import build
from models.introvae import COMPONENTS

pytestmark = [pytest.mark.whole, pytest.mark.xdist_group("training")]  # whose tests share runs


class Killed(BaseException):
    """Stands for a process that ends without warning."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Folder of the runs that tests share."""
    return tmp_path_factory.mktemp("shared")


YOKED = "softadapt-yoked"
"""The method that replays the weights of another run, which the workflow keeps below the working directory."""


@pytest.fixture
def start(tmp_path, tiny_config, made_mnist, made_faces, shared, monkeypatch):
    """Return a function that runs an experiment into a folder; the classifier, and what is replayed, are trained first."""
    monkeypatch.chdir(shared)

    def run(experiment, folder, *arguments):
        options = ["--config", str(tiny_config), "--output", str(tmp_path / folder), *arguments]
        if experiment == "sparse_autoencoder":
            if not (shared / "classifier").exists():
                run("digit_classifier", shared / "classifier")
            options = ["--classifier", str(shared / "classifier"), *options]
        if YOKED in arguments:
            for seed in ("10", "11"):
                replayed = shared / "results/smoke/runs/sparse_autoencoder/softadapt" / f"seed-{seed}"
                if not replayed.exists():
                    run("sparse_autoencoder", replayed, "--method", "softadapt", "--seed", seed)
        run_room(experiment, *options)
        return tmp_path / folder

    return run


@pytest.fixture
def undisturbed(start, shared):
    """A function as `start` without a folder, for runs to compare with: each is made once, as the made data never change."""

    def run(experiment, *arguments):
        folder = shared / " ".join([experiment, *arguments])
        if not folder.exists():
            start(experiment, folder, *arguments)
        return folder

    return run


METHODS = [
    ("sparse_autoencoder", "softadapt"),
    ("sparse_autoencoder", "lambda-0.001"),
    ("sparse_autoencoder", "softadapt-yoked"),
    ("sparse_autoencoder", "unit-norm.softadapt"),
    ("sparse_autoencoder", "warm-up-2.lambda-0.001"),
    ("introvae", "softadapt"),
    ("introvae", "fixed"),
]


def killed_after(monkeypatch, saves):
    """Let the process end after so many checkpoints; return a function that undoes that."""
    save, count = Run.save, [0]

    def save_and_die(self, state):
        save(self, state)
        count[0] += 1
        if count[0] == saves:
            self.release()
            raise Killed

    monkeypatch.setattr(Run, "save", save_and_die)
    return lambda: monkeypatch.setattr(Run, "save", save)


@pytest.mark.parametrize("saves", [3, 8, 1000], ids=["early", "in the middle", "never"])
@pytest.mark.parametrize(("experiment", "method"), METHODS)
def test_a_killed_run_goes_on_as_if_nothing_had_happened(start, undisturbed, monkeypatch, experiment, method, saves):
    """With a checkpoint after every step, so that the run goes on in the middle of an epoch."""
    expected = undisturbed(experiment, "--method", method)
    undo = killed_after(monkeypatch, saves)
    every_step = ["--method", method, "--checkpoint-interval", "0"]
    if saves < 1000:
        with pytest.raises(Killed):
            start(experiment, "killed", *every_step)
        undo()
        torch.rand(5)  # whatever the process does before it resumes
    resumed = start(experiment, "killed", *every_step)
    for name in ("metrics.json", "history.csv", "config.yaml", "weights.pt"):
        assert (resumed / name).read_bytes() == (expected / name).read_bytes()
    one, other = np.load(resumed / "samples.npz"), np.load(expected / "samples.npz")
    assert one.files == other.files
    assert ("weights" in one.files) == (experiment == "sparse_autoencoder" and method == "softadapt")
    assert all((one[name] == other[name]).all() for name in one.files)


@pytest.mark.parametrize(("experiment", "method"), [run for run in METHODS if run[1] != YOKED])
def test_a_finished_run_is_continued_to_more_epochs(start, undisturbed, tmp_path, experiment, method):
    more = ["--method", method, "--epochs", "6", "--report-epochs", "[1, 2, 3, 6]"]
    at_once = start(experiment, "at-once", *more)
    shutil.copytree(undisturbed(experiment, "--method", method), tmp_path / "continued")
    continued = start(experiment, "continued", *more)
    assert (continued / "metrics.json").read_bytes() == (at_once / "metrics.json").read_bytes()
    rows = [pd.read_csv(folder / "history.csv").dropna(subset=["epoch"]) for folder in (continued, at_once)]
    assert rows[0]["epoch"].tolist() == rows[1]["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    reported = [table[table["epoch"] != 4] for table in rows]  # the shorter run also reported on its last epoch
    pd.testing.assert_frame_equal(*reported, check_exact=True)
    for other in (
        ["--epochs", "5", "--report-epochs", "[1, 2, 3, 5]"],
        ["--epochs", "8", "--report-epochs", "[1, 2, 5, 8]"],
    ):
        with pytest.raises(UserError, match=r"they differ in settings\.epochs, settings\.report_epochs"):
            start(experiment, "continued", "--method", method, *other)


def test_weights_are_not_replayed_beyond_the_epochs_of_their_run(start):
    with pytest.raises(
        UserError, match=r"holds the weights of \d+ steps, and this run takes \d+; give both runs the same"
    ):
        start("sparse_autoencoder", "longer", "--method", YOKED, "--epochs", "6", "--report-epochs", "[1, 2, 3, 6]")


@pytest.mark.parametrize(
    "other", [[], ["--epochs", "6", "--report-epochs", "[1, 2, 4, 6]"]], ids=["went farther", "reported less"]
)
def test_a_checkpoint_that_went_farther_or_reported_less_is_not_continued(start, undisturbed, tmp_path, other):
    """Also where ``config.yaml`` is gone, as it is when Snakemake runs a stale job again."""
    method = ["--method", "softadapt"]
    folder = tmp_path / "run"
    shutil.copytree(undisturbed("introvae", *method, "--epochs", "5", "--report-epochs", "[1, 2, 3, 5]"), folder)
    for file in ("config.yaml", "metrics.json", "history.csv"):
        (folder / file).unlink()
    with pytest.raises(
        UserError, match=r"checkpoint\.pt: belongs to .* differ in settings\.epochs, settings\.report_epochs"
    ):
        start("introvae", "run", *method, *other)
    start("introvae", "run", *method, *other, "--overwrite")
    expected = undisturbed("introvae", *method, *other)
    for file in ("metrics.json", "history.csv"):
        assert (folder / file).read_bytes() == (expected / file).read_bytes()


def test_a_run_is_not_continued_on_other_images(start, monkeypatch, made_faces):
    undo = killed_after(monkeypatch, 3)
    with pytest.raises(Killed):
        start("introvae", "killed", "--checkpoint-interval", "0")
    undo()
    path = made_faces / "orl-faces" / "images.npy"
    np.save(path, 255 - np.load(path))
    monkeypatch.setattr(orl_faces, "CHECKSUM", sha256(path))
    with pytest.raises(UserError, match="trained on other data"):
        start("introvae", "killed", "--checkpoint-interval", "0")


def test_the_classifier_resumes_too(start, monkeypatch):
    expected = start("digit_classifier", "expected", "--epochs", "2")
    undo = killed_after(monkeypatch, saves=30)  # of 20 steps an epoch
    with pytest.raises(Killed):
        start("digit_classifier", "killed", "--epochs", "2", "--checkpoint-interval", "0")
    undo()
    resumed = start("digit_classifier", "killed", "--epochs", "2", "--checkpoint-interval", "0")
    for name in ("metrics.json", "history.csv", "weights.pt"):
        assert (resumed / name).read_bytes() == (expected / name).read_bytes()


def test_a_judge_that_diverges_is_refused_in_one_line(start):
    with pytest.raises(UserError, match=r"epoch 1: .* not finite, .* lower digit_classifier\.learning_rate"):
        start("digit_classifier", "diverged", "--learning-rate", "1e38")


@pytest.mark.parametrize(("experiment", "method"), METHODS)
def test_the_seed_decides_everything(start, undisturbed, experiment, method):
    first = undisturbed(experiment, "--method", method)
    again = start(experiment, "again", "--method", method)
    other = start(experiment, "other", "--method", method, "--seed", "2")
    assert (first / "history.csv").read_bytes() == (again / "history.csv").read_bytes()
    assert (first / "history.csv").read_bytes() != (other / "history.csv").read_bytes()


def test_autoencoder_history_holds_what_is_comparable(undisturbed):
    folder = undisturbed("sparse_autoencoder", "--method", "softadapt")
    history = pd.read_csv(folder / "history.csv")
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    measures = ("mse", "l1", "l1_decoder", "hoyer", "active_share")
    assert history[[f"validation_{m}" for m in measures]].notna().all(axis=None)
    assert history[[f"test_{m}" for m in (*measures, "pcc")]].notna().all(axis=None)  # every epoch is reported here
    assert history["validation_pcc"].notna().tolist() == [False, False, False, True]  # lambda is chosen by the last
    assert history["train_mse"].iloc[-1] < history["train_mse"].iloc[0]
    weights = history[["weight_reconstruction", "weight_sparsity"]]
    assert (weights > 0).all(axis=None)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["test_pcc"] == history["test_pcc"].iloc[-1]
    assert np.load(folder / "samples.npz")["epoch_4"].shape == (10, 784)


def test_measures_do_not_depend_on_how_many_images_are_measured_at_once(start, undisturbed, monkeypatch):
    whole = json.loads((undisturbed("sparse_autoencoder", "--method", "softadapt") / "metrics.json").read_text())
    monkeypatch.setattr(sparse_autoencoder, "MEASURED_AT_ONCE", 30)  # 100 images: the last batch is smaller
    split = json.loads((start("sparse_autoencoder", "split") / "metrics.json").read_text())
    assert split.pop("verdict") == whole.pop("verdict") == "trained"
    assert split == pytest.approx(whole, rel=1e-5)


def test_introvae_history_and_samples(undisturbed):
    folder = undisturbed("introvae", "--method", "softadapt")
    history = pd.read_csv(folder / "history.csv")
    assert (history["phase"] == "adversarial").all()
    names = [
        "kl_real",
        "margin_fake",
        "reconstruction",
        "kl_reconstructed",
        "kl_sampled",
        "beyond_margin_share",
        "kl_fake",
        "gradient_norm_encoder",
        "gradient_norm_generator",
    ]
    assert history[names].notna().all(axis=None)
    encoder = [f"encoder_weight_{name}" for name in ("margin_fake", "reconstruction")]
    np.testing.assert_allclose(history[encoder].sum(axis=1), 1, rtol=1e-5)
    generator = [f"generator_weight_{name}" for name in ("kl_fake", "reconstruction")]
    np.testing.assert_allclose(history[generator].sum(axis=1), 1, rtol=1e-5)
    samples = np.load(folder / "samples.npz")
    assert samples["train_originals"].shape == samples["held_out_epoch_4"].shape == (8, 1, 16, 16)
    assert samples["prior_epoch_4"].shape == (8, 1, 16, 16)  # as many as are evaluated, here
    quality = [f"{part}_{m}" for part in ("train", "validation", "held_out") for m in ("psnr", "ssim", "niqe")]
    assert history[[*quality, "prior_niqe"]].notna().all(axis=None)
    assert json.loads((folder / "metrics.json").read_text())["verdict"] != "diverged"


@pytest.mark.parametrize("normalization", ["batch", "group"])
def test_batch_statistics_are_recomputed_or_left_running(start, normalization):
    folders = [
        start("introvae", name, "--normalization", normalization, "--batch-statistics", name)
        for name in ("running", "recomputed")
    ]
    running, recomputed = (pd.read_csv(folder / "history.csv") for folder in folders)
    measured = [name for name in running if name.endswith(("_psnr", "_ssim", "_niqe", "_swd"))]
    trained = [name for name in running if name not in measured]
    pd.testing.assert_frame_equal(running[trained], recomputed[trained], check_exact=True)
    assert (running[measured].equals(recomputed[measured])) == (normalization == "group")


def test_warmup_is_a_plain_vae(start):
    folder = start("introvae", "run", "--warmup-epochs", "2")
    history = pd.read_csv(folder / "history.csv")
    assert history["phase"].tolist() == ["warmup", "warmup", "adversarial", "adversarial"]
    assert history["kl_sampled"].notna().tolist() == [False, False, True, True]


def test_a_run_that_diverges_ends_with_a_verdict_not_with_nan(start):
    folder = start("introvae", "run", "--learning-rate", "1e30")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["verdict"] == "diverged"
    assert all(np.isfinite(value) for value in metrics.values() if isinstance(value, float))


def test_a_classifier_that_fails_its_bar_is_refused(start):
    with pytest.raises(UserError, match=r"is below digit_classifier\.minimum_accuracy 100\.0 %; train longer"):
        start("digit_classifier", "bad", "--minimum-accuracy", "100", "--learning-rate", "1e-9")


@pytest.mark.parametrize("normalization", ["batch", "group"])
@pytest.mark.parametrize("hinge", ["image", "batch"])
def test_adversarial_step_is_the_equations_written_out(tiny_config, normalization, hinge):
    """Gradients of both updates, in float64, against autograd on a literal transcription; and who may change.

    With batch normalisation the separate encoder passes of the published code matter: merged ones have other statistics.
    """
    settings = load(tiny_config).introvae.model_copy(update={"normalization": normalization, "hinge": hinge})
    torch.manual_seed(0)
    networks = updates.build_networks(settings, 1, torch.device("cpu"))
    encoder, generator = networks.encoder.double(), networks.generator.double()
    twins = copy.deepcopy(encoder), copy.deepcopy(generator)
    images = torch.rand(6, 1, 16, 16, dtype=torch.float64)
    method = settings.methods["fixed"]
    balance_encoder = build(method.encoder, COMPONENTS["encoder"]).double()
    balance_generator = build(method.generator, COMPONENTS["generator"]).double()
    gradients, others = {}, {}

    def record(name, own, other):
        """Stands for the optimiser's step: keeps the gradients and leaves the networks as they are."""
        gradients[name] = [parameter.grad.clone() for parameter in own.parameters()]
        others[name] = [parameter.grad is None for parameter in other.parameters()]

    networks.encoder_optimizer.step = lambda: record("encoder", encoder, generator)
    networks.generator_optimizer.step = lambda: record("generator", generator, encoder)
    torch.manual_seed(1)
    margin = 30.0  # within reach, so that the hinge of an image and that of the batch differ
    losses = updates.adversarial_step(networks, images, balance_encoder, balance_generator, margin)

    def kl(pair):
        mu, logvar = pair
        return (-0.5 * (1 + logvar - mu**2 - logvar.exp())).sum(1)

    def hinge_of(x):
        divergence = kl(E(x.detach()))
        return (margin - (divergence if hinge == "image" else divergence.mean())).clamp(min=0).mean()

    torch.manual_seed(1)
    E, G = twins
    mean, log_variance = E(images)
    x_r = G(mean + (log_variance / 2).exp() * torch.randn_like(mean))
    x_p = G(torch.randn_like(mean))
    error = settings.reconstruction_scale * 0.5 * ((x_r - images) ** 2).sum((1, 2, 3)).mean()
    loss_encoder = kl((mean, log_variance)).mean() + 0.25 * (hinge_of(x_r) + hinge_of(x_p)) + 4.0 * error
    expected = torch.autograd.grad(loss_encoder, list(E.parameters()), retain_graph=True)
    torch.testing.assert_close(gradients["encoder"], list(expected))
    assert all(others["encoder"])  # the encoder's update leaves no gradient on the generator

    loss_generator = 0.5 * (kl(E(x_r)).mean() + kl(E(x_p)).mean()) + 4.0 * error
    expected = torch.autograd.grad(loss_generator, list(G.parameters()))
    torch.testing.assert_close(gradients["generator"], list(expected))
    for kept, parameter in zip(gradients["encoder"], encoder.parameters(), strict=True):
        assert torch.equal(parameter.grad, kept)  # nor does the generator's add to the encoder's
        assert parameter.requires_grad
    for network, twin in ((encoder, E), (generator, G)):
        torch.testing.assert_close(dict(network.named_buffers()), dict(twin.named_buffers()))
    norm = torch.cat([gradient.flatten() for gradient in gradients["encoder"]]).norm()
    torch.testing.assert_close(losses["gradient_norm_encoder"], norm)


def test_celeba_runs_one_epoch_at_the_papers_settings_made_small(tmp_path, tiny_config):
    from PIL import Image

    folder = tmp_path / "data" / "celeba" / "img_align_celeba"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for index in range(24):
        pixels = random.integers(0, 256, (218, 178, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:06d}.jpg")
    options = [
        "--dataset",
        "celeba",
        "--held-out",
        "2",
        "--validation",
        "2",
        "--batch-size",
        "4",
        "--normalization",
        "batch",
    ]
    options += ["--image-size", "32", "--channels", "[4, 8, 8]", "--precision", "bfloat16"]
    run_room("introvae", "--config", tiny_config, "--output", tmp_path / "run", *options)
    assert np.load(tmp_path / "run" / "samples.npz")["held_out_originals"].shape == (2, 3, 32, 32)


@pytest.mark.parametrize(
    ("experiment", "options", "message"),
    [
        ("introvae", ["--batch-size", "1000"], "introvae.batch_size 1000: exceeds the 100 training images; lower it"),
        ("introvae", ["--update-every", "0"], "introvae.methods.softadapt.encoder: update_every must be"),
        ("introvae", ["--data-dir", "none"], "none/orl-faces/images.npy: missing"),
        ("digit_classifier", ["--batch-size", "500"], "batch_size 500 exceeds train_images 400; lower batch_size"),
        ("digit_classifier", ["--data-dir", "none"], "none/mnist/train-images-idx3-ubyte: missing"),
        ("sparse_autoencoder", ["--test-images", "1"], "test_images 1: the first test digits lack 1, 2, 3, 4, 5, 6"),
        ("sparse_autoencoder", ["--update-every", "0"], "sparse_autoencoder.methods.softadapt.weighting: update_every"),
    ],
)
def test_a_refused_start_is_one_line_and_leaves_nothing_behind(start, tmp_path, experiment, options, message):
    with pytest.raises(UserError) as error:
        start(experiment, "run", *options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_the_judge_is_part_of_an_autoencoder_run(start, undisturbed, shared, tmp_path):
    shutil.copytree(undisturbed("sparse_autoencoder", "--method", "softadapt"), tmp_path / "run")
    first, again = shared / "classifier", start("digit_classifier", "again")
    assert judge_identity(again) == judge_identity(first)
    start("sparse_autoencoder", "run", "--classifier", str(again))  # trained again, the same judge: complete
    other = start("digit_classifier", "other", "--seed", "7")
    with pytest.raises(UserError, match="they differ in judge"):
        start("sparse_autoencoder", "run", "--classifier", str(other))
    with pytest.raises(UserError, match=r"nowhere: no trained digit classifier; run .* with --classifier"):
        start("sparse_autoencoder", "run", "--classifier", str(tmp_path / "nowhere"))


def test_the_remedy_for_too_few_blocks_names_keys_that_there_are(start):
    with pytest.raises(UserError) as error:
        start("introvae", "run", "--evaluated-images", "3")
    named = re.findall(r"introvae\.(\w+)", str(error.value))
    assert set(named) == {"evaluated_images", "niqe_block_size"} <= IntroVAESettings.model_fields.keys()


def test_a_set_too_small_for_niqe_is_one_line(start):
    with pytest.raises(UserError, match=r"10 sharp blocks of 16 px cannot fit 36 .* or choose smaller blocks"):
        start("introvae", "run", "--validation", "30", "--held-out", "9", "--niqe-block-size", "16")
