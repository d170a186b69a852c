"""Write losses and weights to a CSV file: python logging_weights.py

`named_weights` gives the weights by name, with a prefix for the log. Reading a number waits for the device, so the loop reads
at every tenth step only. Log the losses themselves: the weighted sum changes with its weights and hides what improves.
"""

import argparse
import csv
from pathlib import Path

import torch
from torch import nn

from softadapt import SoftAdapt


def train(steps: int, every: int, seed: int, path: Path) -> None:
    """Fit noisy data under a penalty, and write one row for every so many steps."""
    torch.manual_seed(seed)
    inputs = torch.randn(200, 20)
    targets = inputs[:, :3].sum(1, keepdim=True) + 0.5 * torch.randn(200, 1)
    model = nn.Linear(20, 1)
    balance = SoftAdapt(["fit", "size"], total=2.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    columns = ["step", *(f"{kind}/{name}" for kind in ("loss", "weight") for name in balance.names or ())]
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        for step in range(1, steps + 1):
            losses = {"fit": nn.functional.mse_loss(model(inputs), targets), "size": model.weight.abs().mean()}
            optimizer.zero_grad()
            balance(losses).backward()
            optimizer.step()
            if step % every == 0:
                row = {f"loss/{name}": loss for name, loss in losses.items()} | balance.named_weights("weight/")
                table.writerow({"step": step} | {name: number.item() for name, number in row.items()})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=500, help="default: 500")
    parser.add_argument("--every", type=int, default=10, help="steps from row to row (default: 10)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--file", type=Path, default=Path("weights.csv"), help="default: weights.csv")
    arguments = parser.parse_args()
    train(arguments.steps, arguments.every, arguments.seed, arguments.file)
    first, *_, last = arguments.file.read_text().splitlines()
    print(f"{arguments.file}:\n{first}\n...\n{last}")
