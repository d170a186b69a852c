"""SoftAdapt in Lightning, with a callback that logs the weights: python with_lightning.py

The SoftAdapt is an attribute of the LightningModule. Lightning then moves it, saves it in checkpoints, and puts it into
evaluation mode for validation, so that only training batches are recorded. It needs: pip install lightning
"""

import argparse
import tempfile

import lightning
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from softadapt import SoftAdapt
from softadapt.integrations.lightning import LossWeightMonitor


class Denoiser(lightning.LightningModule):
    """Smooth signals of 32 numbers from noisy ones; the losses are the error and the roughness."""

    def __init__(self, micro_batches: int) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 32))
        self.balance = SoftAdapt(["error", "roughness"], total=2.0, update_every=micro_batches)

    def losses(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """The two losses, unweighted."""
        noisy, clean = batch
        signal = self.network(noisy)
        return {"error": nn.functional.mse_loss(signal, clean), "roughness": signal.diff().square().mean()}

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the weighted sum; log the losses as they are."""
        losses = self.losses(batch)
        self.log_dict({f"train/{name}": loss for name, loss in losses.items()})
        return self.balance(losses)

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        """Log the losses as they are: a weighted sum whose weights move cannot choose the best epoch."""
        self.log_dict({f"val/{name}": loss for name, loss in self.losses(batch).items()})

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def signals(count: int) -> TensorDataset:
    """Noisy and clean sines (count, 32)."""
    phases = 6.28 * torch.rand(count, 1)
    clean = torch.sin(torch.linspace(0, 6.28, 32) + phases)
    return TensorDataset(clean + 0.3 * torch.randn(count, 32), clean)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=5, help="default: 5")
    parser.add_argument("--micro-batches", type=int, default=2, help="accumulate_grad_batches (default: 2)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    lightning.seed_everything(arguments.seed, verbose=False)
    model = Denoiser(arguments.micro_batches)
    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            max_epochs=arguments.epochs,
            accumulate_grad_batches=arguments.micro_batches,
            callbacks=[LossWeightMonitor(logging_interval="epoch")],
            logger=CSVLogger(folder),
            enable_progress_bar=False,
        )
        trainer.fit(
            model, DataLoader(signals(1024), batch_size=64, shuffle=True), DataLoader(signals(256), batch_size=256)
        )
    for name, value in sorted(trainer.callback_metrics.items()):
        print(f"{name} {value:.4f}")
    print(f"{trainer.global_step} optimiser steps, {model.balance.observations.item()} observations")
