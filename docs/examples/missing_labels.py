"""SoftAdapt where a batch may lack the labels of a task: python missing_labels.py

Every example has a depth or a class, seldom both, so that a batch may have no label of one task at all. A loss of zero would
be read as a perfect one. With ``missing="hold"`` the loss is left out instead: it adds nothing to the sum, keeps its history,
and the weight of the other task is what it would be.
"""

import argparse

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from softadapt import SoftAdapt

CLASSES = 3
NO_CLASS = -1  # the label of an example without a class; one without a depth has NaN


class TwoTasks(nn.Module):
    """One body, a head for each task."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 32), nn.ReLU())
        self.depth, self.classes = nn.Linear(32, 1), nn.Linear(32, CLASSES)

    def losses(self, inputs: Tensor, depths: Tensor, classes: Tensor) -> dict[str, Tensor]:
        """The losses of those tasks that have labels in the batch."""
        features = self.body(inputs)
        losses = {}
        if (with_depth := depths.isfinite()).any():
            losses["depth"] = mse_loss(self.depth(features).squeeze(1)[with_depth], depths[with_depth])
        if (with_class := classes != NO_CLASS).any():
            losses["class"] = cross_entropy(self.classes(features)[with_class], classes[with_class])
        return losses


def batch(size: int, share: float) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, depths and classes; each label is there with the probability `share`."""
    inputs = torch.randn(size, 8)
    depths = torch.where(torch.rand(size) < share, inputs[:, :4].sum(1), torch.nan)
    classes = torch.where(torch.rand(size) < share, inputs[:, 4 : 4 + CLASSES].argmax(1), NO_CLASS)
    return inputs, depths, classes


def train(steps: int, seed: int) -> tuple[list[dict[str, float]], TwoTasks, SoftAdapt]:
    """Return the losses of every step (those that the batch had), the model, and SoftAdapt."""
    torch.manual_seed(seed)
    model = TwoTasks()
    balance = SoftAdapt(["depth", "class"], missing="hold", rate="relative", variant="original", total=2.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    history = []
    for _ in range(steps):
        losses = model.losses(*batch(8, share=0.15))
        history.append({name: loss.item() for name, loss in losses.items()})
        if losses:
            optimizer.zero_grad()
            balance(losses).backward()
            optimizer.step()
    return history, model, balance


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000, help="default: 1000")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    history, model, balance = train(arguments.steps, arguments.seed)
    for name, weight in balance.named_weights().items():
        print(f"{name}: in {sum(name in losses for losses in history)} of {len(history)} batches, weight {weight:.3f}")
    with torch.no_grad():
        held_out = model.losses(*batch(1000, share=1.0))
    print("held out:", ", ".join(f"{name} {loss:.3f}" for name, loss in held_out.items()))
