"""`SoftAdapt(average_over_ranks=True)`: two processes, with gloo, agree on the weights bit for bit."""

import math
import warnings

import pytest
import torch
from torch import distributed
from torch.multiprocessing import spawn

from softadapt import SoftAdapt
from softadapt.module import _HOST_LIMIT
from softadapt.ranks import mean_over_ranks

pytestmark = pytest.mark.whole

RANKS = 2
STEPS = 6
OPTIONS = {
    "host": {},
    "tensors": {"history": _HOST_LIMIT},
    "per epoch": {"update_every": 2, "normalize": True},
    "double": {"dtype": torch.float64, "variant": "original"},
    "half": {"dtype": torch.float16},
    "hold": {"missing": "hold"},
}


def losses_of(rank, step, dtype=torch.float32):
    return torch.rand(3, generator=torch.Generator().manual_seed(10 * step + rank), dtype=dtype) + 0.1


def train(rank, folder):
    """What one rank does: everything that the tests compare goes to a file."""
    torch.set_num_threads(1)
    modules = {name: SoftAdapt(3, average_over_ranks=True, **options) for name, options in OPTIONS.items()}
    local, silent = SoftAdapt(3), SoftAdapt(3, average_over_ranks=False)
    before = {name: module(losses_of(rank, 0)).item() for name, module in modules.items()}  # there is no group yet
    for module in modules.values():
        module.reset_parameters()
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=RANKS)
    alone = [distributed.new_group([number]) for number in range(RANKS)][rank]
    apart = [SoftAdapt(3, average_over_ranks=True, process_group=alone, missing=how) for how in ("error", "hold")]
    results = {"before": before, "weights": {name: [] for name in modules}, "gradients": [], "sums": [], "warnings": []}
    for step in range(STEPS):
        losses = losses_of(rank, step).requires_grad_()
        if rank == 1 and step == 3:
            losses.data[0] = math.inf
        for name, module in modules.items():
            total = module(losses)
            results["weights"][name].append(module.weights.clone())
            if name == "host":
                results["sums"].append(total.detach())
                results["gradients"].append(torch.autograd.grad(total, losses)[0])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for module in (local, silent, *apart):
                module(losses)
        results["warnings"] += [str(warning.message) for warning in caught]
    modules["host"].eval()
    if rank == 0:  # a call in evaluation mode is no collective: the other rank does not take part
        modules["host"](losses_of(rank, 0))
    huge = torch.full((2,), torch.finfo(torch.float32).max)
    results |= {
        "local": local.weights,
        "apart": [module.weights for module in apart],
        "state": modules["host"].state_dict(),
        "nonfinite": {name: module.nonfinite_count.item() for name, module in modules.items()},
        "mean": mean_over_ranks(torch.tensor([1.0, 2.0]) * (rank + 1)),
        "huge": mean_over_ranks(huge),
        "half": mean_over_ranks(huge.half()).dtype,
    }
    torch.save(results, f"{folder}/rank-{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    spawn(train, (str(folder),), RANKS)
    return [torch.load(folder / f"rank-{rank}.pt", weights_only=True) for rank in range(RANKS)]


@pytest.mark.parametrize("name", OPTIONS)
def test_all_ranks_have_the_weights_of_the_mean_losses(ranks, name):
    one, other = (rank["weights"][name] for rank in ranks)
    assert all(map(torch.equal, one, other))
    alone = SoftAdapt(3, **OPTIONS[name])
    for step, weights in enumerate(one):
        if step != 3:  # the loss was infinite on one rank
            alone(sum(losses_of(rank, step) for rank in range(RANKS)) / RANKS)
        assert torch.equal(weights, alone.weights)


def test_a_loss_that_is_not_finite_on_one_rank_counts_on_all(ranks):
    for rank in ranks:
        assert rank["nonfinite"] == dict.fromkeys(OPTIONS, 1)


def test_the_sum_and_its_gradient_are_those_of_the_local_losses(ranks):
    for number, rank in enumerate(ranks):
        for step, weights in enumerate(rank["weights"]["host"]):
            assert torch.equal(rank["gradients"][step], weights)
            if step != 3:
                torch.testing.assert_close(rank["sums"][step], weights @ losses_of(number, step))


def test_without_the_option_ranks_drift_apart_and_are_warned_once(ranks):
    assert not torch.equal(*(rank["local"] for rank in ranks))
    for rank in ranks:
        assert rank["warnings"] == [
            "SoftAdapt: every rank has weights of its own, from its own losses, so that the ranks minimise different "
            "functions; take average_over_ranks=True for one set of weights, or False to keep it so"
        ]


def test_a_process_group_chooses_the_ranks(ranks):
    for rank in ranks:
        for weights in rank["apart"]:  # each rank is a group of its own
            torch.testing.assert_close(weights, rank["local"])


def test_without_a_process_group_a_rank_is_alone(ranks):
    for number, rank in enumerate(ranks):
        for name, total in rank["before"].items():
            assert total == pytest.approx(losses_of(number, 0).mean().item(), rel=1e-3), name
    values = torch.rand(3)
    assert mean_over_ranks(values) is values


def test_the_state_is_that_of_a_module_without_the_option(ranks):
    plain = SoftAdapt(3)
    plain.load_state_dict(ranks[0]["state"])
    assert torch.equal(plain.weights, ranks[1]["weights"]["host"][-1])
    assert SoftAdapt(3, average_over_ranks=True).state_dict().keys() == plain.state_dict().keys()


def test_means_do_not_overflow_nor_lose_precision(ranks):
    for rank in ranks:
        assert rank["mean"].tolist() == [1.5, 3.0]
        assert rank["huge"].isfinite().all()
        assert rank["half"] is torch.float32


def test_the_option_is_shown():
    assert "average_over_ranks=True" in repr(SoftAdapt(2, average_over_ranks=True))
