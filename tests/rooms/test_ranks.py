"""Two ranks, processes with gloo, train IntroVAE as one does: gradients, weights, run folders, resumption."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import forked
import pytest
import torch
from commands import run_room
from torch import distributed, nn

from experiments.data import orl_faces
from experiments.introvae.evaluation import Evaluated
from experiments.introvae.ranks import Ranks, open_ranks
from experiments.introvae.updates import (
    adversarial_step,
    build_balances,
    build_networks,
    warmup_step,
)
from experiments.runs.errors import UserError
from experiments.runs.folder import Run
from experiments.scale import load

pytestmark = pytest.mark.whole

CPU = torch.device("cpu")
COUNT = 2
MARGIN = 1.45
"""Nats; some images lie beyond, and in one batch the mean of one rank's share, but not of the other's."""

RULES = {
    "softadapt": {"normalize": True, "beta": 1.0},
    "uncertainty": {},
    "gradnorm": {},
    "jacobian_descent": {},
    "relobralo": {},
    "random_weights": {},
}


def use_double():
    """All in double precision, in which roundings stay far below what an error would change."""
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double


@pytest.fixture
def double(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.float)  # is put back in the end
    use_double()
    yield
    torch.set_default_dtype(torch.float32)


def join(rank, folder):
    use_double()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=COUNT)
    return Ranks(rank, COUNT, CPU)


def steps_of(ranks, settings, rule, hinge):
    """A step of warm-up and three adversarial ones in double precision: losses, gradients and weights after each.

    Without a hinge they are those of Soft-IntroVAE.
    """
    objective, margin = ("introvae", MARGIN) if hinge else ("soft-introvae", None)
    changes = {"hinge": hinge, "objective": objective, "beta_neg": 50.0, "warmup_reconstruction_weight": 2.0}
    settings = settings.model_copy(update=changes)
    spec = {"rule": rule, **RULES[rule]}
    method = settings.methods["fixed"].model_copy(update={"encoder": spec, "generator": spec})
    torch.manual_seed(0)
    networks = build_networks(settings, 1, CPU, ranks)
    balances = build_balances(networks, method, "method", 2, CPU)
    seen = []
    for step in range(4):
        images = ranks.mine(torch.rand(settings.batch_size, 1, settings.image_size, settings.image_size))
        losses = adversarial_step(networks, images, *balances, margin) if step else warmup_step(networks, images)
        parameters = [*networks.encoder.parameters(), *networks.generator.parameters()]
        learned = [x for balance in balances for x in balance.parameters() if x.grad is not None]
        seen.append(
            {f"loss {name}": loss for name, loss in losses.items()}
            | {f"gradient {i}": parameter.grad.clone() for i, parameter in enumerate(parameters + learned)}
            | {f"weight {i} {name}": w for i, balance in enumerate(balances) for name, w in balance.weights().items()}
        )
    return seen


def compare_steps(rank, folder, settings):
    ranks = join(rank, folder)
    cases = [(rule, "image") for rule in RULES] + [("softadapt", "batch"), ("softadapt", None)]
    torch.save({case: steps_of(ranks, settings, *case) for case in cases}, f"{folder}/rank-{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture
def settings(tiny_config):
    small = {"channels": [2, 4], "batch_size": 8, "normalization": "group"}
    return load(tiny_config).introvae.model_copy(update=small)


def test_gradients_losses_and_weights_are_those_of_one_rank_on_the_whole_batch(settings, tmp_path, double):
    forked.ranks(compare_steps, (str(tmp_path), settings), COUNT)
    one, other = (torch.load(tmp_path / f"rank-{rank}.pt", weights_only=True) for rank in range(COUNT))
    for (rule, hinge), steps in one.items():
        alone = steps_of(Ranks(), settings, rule, hinge)
        assert not hinge or any(0 < step["loss beyond_margin_share"] < 1 for step in alone[1:])
        for number, step in enumerate(steps):
            assert step.keys() == alone[number].keys()
            for name, value in step.items():
                place = f"{rule}, hinge {hinge}, step {number}, {name}"
                assert torch.equal(value, other[rule, hinge][number][name]), place
                torch.testing.assert_close(value, alone[number][name], rtol=1e-9, atol=1e-10, msg=place)


class Killed(BaseException):
    """Stands for ranks that end without warning."""


def train(rank, folder, config, checksum, options):
    """An undisturbed run, and one that is killed in the middle of an epoch and resumed."""
    orl_faces.CHECKSUM = checksum
    os.environ["WORLD_SIZE"] = str(COUNT)
    join(rank, folder)
    arguments = ["--config", config, *options, "--checkpoint-interval", "0", "--output"]
    run_room("introvae", *arguments, f"{folder}/undisturbed")
    due, asked = Run.due, []

    def die(self):
        asked.append(self)
        if len(asked) == 8:
            self.release()
            raise Killed
        return due.fget(self)

    Run.due = property(die)
    with pytest.raises(Killed):
        run_room("introvae", *arguments, f"{folder}/killed")
    Run.due = due
    distributed.barrier()
    torch.rand(5 * rank + 1)  # whatever the processes do before they resume
    run_room("introvae", *arguments, f"{folder}/killed")
    with pytest.raises(UserError, match="batch_size 63: the 2 ranks share a batch"):
        run_room("introvae", *arguments, f"{folder}/refused", "--batch-size", "63")
    with pytest.raises(UserError, match=r"normalization batch: .*--normalization group"):
        run_room("introvae", *arguments, f"{folder}/refused", "--normalization", "batch")
    with pytest.raises(UserError, match=r"the checkpoint differs between the ranks \(\[0, 1\]\)"):
        Ranks(rank, COUNT, CPU).check_same(rank, "the checkpoint")
    distributed.destroy_process_group()


def test_a_run_of_two_ranks_is_that_of_one_and_resumes_exactly(tmp_path, tiny_config, made_faces, double):
    options = ["--normalization", "group", "--method", "softadapt"]
    forked.ranks(train, (str(tmp_path), str(tiny_config), orl_faces.CHECKSUM, options), COUNT)
    run_room("introvae", "--config", tiny_config, "--output", tmp_path / "alone", *options)
    for name in ("metrics.json", "history.csv", "config.yaml"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()
    assert not (tmp_path / "refused").exists()
    one, other = (list(csv.DictReader((tmp_path / name / "history.csv").open())) for name in ("alone", "undisturbed"))
    assert len(one) == len(other) == 4
    for row, shared in zip(one, other, strict=True):
        for name in row.keys() - {"phase"}:
            assert float(shared[name]) == pytest.approx(float(row[name]), rel=1e-9), name
    assert "\nranks: 2\n" in (tmp_path / "undisturbed/config.yaml").read_text()
    assert "\nranks: 1\n" in (tmp_path / "alone/config.yaml").read_text()


def test_torchrun_starts_ranks(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import torch\n"
        "from experiments.introvae.ranks import open_ranks\n"
        "ranks = open_ranks()\n"
        "mean = ranks.average({'loss': torch.tensor(float(ranks.rank))})['loss'].item()\n"
        "print(f'rank {ranks.rank} of {open_ranks().count}: {mean}\\n', end='')\n"
    )
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(COUNT)]
    environment = os.environ | {"PYTHONPATH": str(Path.cwd()), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launch, str(script)], capture_output=True, text=True, check=True, env=environment)
    assert sorted(done.stdout.splitlines()) == ["rank 0 of 2: 0.5", "rank 1 of 2: 0.5"]


def test_without_torchrun_there_is_one_rank_that_does_nothing(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    ranks = open_ranks()
    assert (ranks.rank, ranks.count, ranks.first) == (0, 1, True)
    network, batch, losses = nn.Linear(2, 2), torch.rand(4, 2), {"a": torch.ones(())}
    assert ranks.replicate(network) is network
    assert ranks.mine(batch) is batch
    assert ranks.average(losses)["a"] is losses["a"]
    ranks.check_same(3, "a number")
    assert not distributed.is_initialized()


def test_an_environment_that_is_not_that_of_torchrun_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    for name in ("LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(
        UserError, match=r"WORLD_SIZE 2: .* without LOCAL_RANK, MASTER_ADDR, MASTER_PORT; start .* torchrun"
    ):
        open_ranks()


def test_a_rank_that_is_no_writer_reads_checkpoints_and_leaves_the_folder_alone(tmp_path):
    config = {"experiment": "introvae", "settings": {}}
    reader = Run(tmp_path / "run", config, writer=False)
    assert reader.resume() is None
    assert not reader.due
    reader.save({"epoch": 1})
    reader.finish({"loss": 1.0})
    assert not (tmp_path / "run").exists()
    Run(tmp_path / "run", config).save({"epoch": 2})
    assert Run(tmp_path / "run", config, writer=False).resume() == {"epoch": 2}


def test_shares_of_a_batch_and_of_its_noise_follow_the_ranks():
    batch = torch.arange(6)
    assert torch.equal(torch.cat([Ranks(rank, 3).mine(batch) for rank in range(3)]), batch)
    shares = []
    for rank in range(3):
        torch.manual_seed(0)
        shares.append(Ranks(rank, 3).noise_like(torch.empty(2, 4)))
    torch.manual_seed(0)
    assert torch.equal(torch.cat(shares), Ranks().noise_like(torch.empty(6, 4)))
    torch.manual_seed(0)
    assert torch.equal(torch.cat(shares), torch.randn(6, 4))


def test_batch_statistics_are_recomputed_where_ranks_share_them(settings):
    """`SyncBatchNorm` is no `BatchNorm2d`; outside of a process group it computes the same."""
    settings = settings.model_copy(update={"normalization": "batch", "ema_decay": 0.0})
    states = []
    for shared in (False, True):
        torch.manual_seed(0)
        networks = build_networks(settings, 1, CPU)
        if shared:
            nn.SyncBatchNorm.convert_sync_batchnorm(networks.encoder)
            nn.SyncBatchNorm.convert_sync_batchnorm(networks.generator)
        images = torch.rand(8, 1, 16, 16)
        Evaluated(networks).set_batch_statistics(lambda images=images: images.split(4))
        states.append(networks.encoder.state_dict() | networks.generator.state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert states[1]["features.1.num_batches_tracked"] == 2
