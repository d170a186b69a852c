"""SoftAdapt in a training loop, with evaluation and a checkpoint to resume from: python plain_loop.py

An autoencoder minimises its error and the size of its code. The weights are SoftAdapt's; the held-out losses are printed as
they are, since a weighted sum whose weights move says nothing about progress.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from softadapt import SoftAdapt


class Autoencoder(nn.Module):
    """16 numbers, a code of 32 numbers that should mostly be zero, 16 numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(16, 32), nn.ReLU())
        self.decoder = nn.Linear(32, 16)

    def losses(self, inputs: Tensor) -> dict[str, Tensor]:
        """The two losses, unweighted."""
        code = self.encoder(inputs)
        return {"error": (self.decoder(code) - inputs).square().mean(), "code": code.abs().mean()}


def train(steps: int, seed: int, checkpoint: Path | None = None) -> tuple[Autoencoder, SoftAdapt]:
    """Train up to so many steps, from the checkpoint if there is one."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(seed)
    data = (torch.randn(1000, 4) @ torch.randn(4, 16)).to(device)
    inputs, held_out = data[:800], data[800:]
    model = Autoencoder().to(device)
    balance = SoftAdapt(["error", "code"], total=2.0).to(
        device
    )  # the weights sum to 2, as in a plain sum of two losses
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    parts: dict[str, Any] = {"model": model, "balance": balance, "optimizer": optimizer}
    done = 0
    if checkpoint and checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        done = saved["steps"]
        for name, part in parts.items():
            part.load_state_dict(saved[name])

    for step in range(done + 1, steps + 1):
        loss = balance(model.losses(inputs))  # in training mode the call also refreshes the weights
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0 or step == steps:
            with torch.no_grad():
                plain = model.losses(held_out)
            weights = balance.named_weights("weight of ")
            print(f"step {step}:", ", ".join(f"{name} {value:.4f}" for name, value in {**plain, **weights}.items()))

    if checkpoint:
        torch.save({"steps": steps, **{name: part.state_dict() for name, part in parts.items()}}, checkpoint)
    return model, balance


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300, help="train up to so many steps (default: 300)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", type=Path, help="file to resume from, if it exists, and to write at the end")
    arguments = parser.parse_args()
    model, balance = train(arguments.steps, arguments.seed, arguments.checkpoint)
