"""SoftAdapt in data-parallel training, two processes on the CPU: python data_parallel.py

Each process, called a rank, has its own batch and therefore its own losses. With ``average_over_ranks=True`` every rank records
the mean of all, so that the ranks have the same weights to the bit and minimise the same function.
On GPUs, take "nccl" for "gloo", move model, data and SoftAdapt to the rank's device, and start with torchrun.
"""

import argparse
import tempfile

import torch
from torch import distributed, nn
from torch.multiprocessing import spawn
from torch.nn.parallel import DistributedDataParallel

from softadapt import SoftAdapt


def train(rank: int, ranks: int, steps: int, seed: int, folder: str) -> None:
    """What one rank does."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=ranks)
    torch.manual_seed(seed)  # the same truth on all ranks; DistributedDataParallel gives them the same network
    truth = torch.randn(8, 8)
    model = DistributedDataParallel(nn.Linear(8, 8))
    balance = SoftAdapt(["error", "size"], average_over_ranks=True, total=2.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    torch.manual_seed(seed + 1 + rank)  # other data on each rank
    for step in range(1, steps + 1):
        inputs = torch.randn(32, 8)
        outputs = model(inputs)
        losses = {"error": (outputs - inputs @ truth).square().mean(), "size": outputs.abs().mean()}
        optimizer.zero_grad()
        balance(losses).backward()  # every rank has to make this call: recording is a collective
        optimizer.step()
        if step in (1, steps):
            weights = ", ".join(f"{weight:.9f}" for weight in balance.weights)
            lines = [""] * ranks
            distributed.all_gather_object(
                lines, f"step {step}, rank {rank}: error {losses['error']:.4f}, weights {weights}"
            )
            if rank == 0:
                print("\n".join(lines))
    distributed.destroy_process_group()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300, help="default: 300")
    parser.add_argument("--ranks", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        spawn(train, (arguments.ranks, arguments.steps, arguments.seed, folder), arguments.ranks)
