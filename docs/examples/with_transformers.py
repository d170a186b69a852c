"""SoftAdapt in the Trainer of Hugging Face transformers: python with_transformers.py

The mixin weighs the losses in training, leaves the weights alone in evaluation, saves the state in every checkpoint and puts the
weights into the log. The model is trained from scratch on made data; nothing is downloaded.
It needs: pip install transformers accelerate
"""

import argparse
import tempfile
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from transformers import Trainer, TrainingArguments

from softadapt import SoftAdapt
from softadapt.integrations.transformers import SoftAdaptTrainerMixin


class SignAndSize(nn.Module):
    """From 8 numbers: is their sum positive (two logits), and how large is its absolute value?"""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 64), nn.ReLU())
        self.sign, self.size = nn.Linear(64, 2), nn.Linear(64, 1)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return both predictions for inputs (n, 8)."""
        features = self.body(inputs)
        return {"sign": self.sign(features), "size": self.size(features).squeeze(1)}


class BalancedTrainer(SoftAdaptTrainerMixin, Trainer):
    """The Trainer with two losses."""

    def loss_components(self, model: nn.Module, inputs: dict[str, Tensor]) -> tuple[dict[str, Tensor], Any]:
        """Return the two losses, unweighted, and the outputs."""
        outputs = model(inputs["inputs"])
        losses = {
            "sign": cross_entropy(outputs["sign"], inputs["sign"]),
            "size": mse_loss(outputs["size"], inputs["size"]),
        }
        return losses, outputs


def examples(count: int) -> list[dict[str, Tensor]]:
    """Made data."""
    inputs = torch.randn(count, 8)
    return [{"inputs": x, "sign": (x.sum() > 0).long(), "size": x.sum().abs()} for x in inputs]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200, help="of the optimiser (default: 200)")
    parser.add_argument("--micro-batches", type=int, default=2, help="gradient_accumulation_steps (default: 2)")
    words = parser.parse_args()
    torch.manual_seed(0)
    balance = SoftAdapt(
        ["sign", "size"], variant="original", rate="relative", total=2.0, update_every=words.micro_batches
    )
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            max_steps=words.steps,
            per_device_train_batch_size=32,
            gradient_accumulation_steps=words.micro_batches,
            learning_rate=3e-3,
            logging_steps=20,
            label_names=["sign", "size"],
            report_to=[],
            disable_tqdm=True,
        )
        model, data, held_out = SignAndSize(), examples(1024), examples(256)
        trainer = BalancedTrainer(model, arguments, train_dataset=data, eval_dataset=held_out, balance=balance)
        trainer.train()
        trainer.evaluate()  # records nothing
    print(f"{trainer.state.global_step} optimiser steps, {balance.observations.item()} observations")
