"""Two processes train a model that FSDP2 shards, and resume it from a checkpoint of torch.distributed.checkpoint."""

import pytest
import torch
from torch import distributed, nn
from torch.distributed import checkpoint
from torch.distributed.checkpoint.state_dict import get_model_state_dict, set_model_state_dict
from torch.multiprocessing import spawn

from softadapt import SoftAdapt

pytestmark = pytest.mark.whole

fsdp = pytest.importorskip("torch.distributed.fsdp", reason="torch was built without distributed")
if not hasattr(fsdp, "fully_shard"):
    pytest.skip("this torch has no FSDP2", allow_module_level=True)

RANKS = 2


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(4, 2)
        self.balance = SoftAdapt(["mse", "l1"], beta=5.0, history=3, average_over_ranks=True)

    def forward(self, x):
        prediction = self.net(x)
        return self.balance({"mse": (prediction - 1).square().mean(), "l1": (prediction - 1).abs().mean()})


def sharded():
    """A model made on the meta device, then sharded and initialised: FSDP2's usual way."""
    with torch.device("meta"):
        model = Model()
    fsdp.fully_shard(model, mesh=distributed.init_device_mesh("cpu", (RANKS,)))
    model.to_empty(device="cpu")
    torch.manual_seed(0)
    model.net.reset_parameters()
    model.balance.reset_parameters()
    return model


def train(model, rank, steps):
    optimiser, weights = torch.optim.SGD(model.parameters(), lr=0.1), []
    for step in steps:
        x = torch.randn(3, 4, generator=torch.Generator().manual_seed(10 * step + rank))
        model(x).backward()
        optimiser.step()
        optimiser.zero_grad()
        weights.append(model.balance.weights.clone())
    return weights


def work(rank, folder):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=RANKS)
    model = sharded()
    first = train(model, rank, range(4))
    checkpoint.save({"model": get_model_state_dict(model)}, checkpoint_id=f"{folder}/checkpoint")
    whole = train(model, rank, range(4, 8))
    fresh = sharded()
    state = {"model": get_model_state_dict(fresh)}
    checkpoint.load(state, checkpoint_id=f"{folder}/checkpoint")
    set_model_state_dict(fresh, state["model"])
    names = fresh.balance.names
    resumed = train(fresh, rank, range(4, 8))
    torch.save({"first": first, "whole": whole, "resumed": resumed, "names": names}, f"{folder}/rank-{rank}")
    distributed.destroy_process_group()


def test_ranks_agree_and_resume_in_every_bit(tmp_path):
    spawn(work, (str(tmp_path),), nprocs=RANKS)
    ranks = [torch.load(tmp_path / f"rank-{rank}", weights_only=True) for rank in range(RANKS)]
    for results in ranks:
        assert results["names"] == ("mse", "l1")
        assert torch.equal(torch.stack(results["whole"]), torch.stack(results["resumed"]))
    assert torch.equal(torch.stack(ranks[0]["whole"]), torch.stack(ranks[1]["whole"]))
    assert torch.equal(ranks[0]["first"][0], torch.full((2,), 0.5))
    assert not torch.equal(ranks[0]["whole"][0], ranks[0]["first"][-1])
