"""SoftAdapt in Lightning: `LossWeightMonitor` logs the weights. It needs ``lightning`` or ``pytorch_lightning``."""

import warnings
from typing import Any, Literal

import torch
from torch import nn

from softadapt import SoftAdapt

try:
    from lightning.pytorch import Callback
except ImportError:
    try:
        from pytorch_lightning import Callback
    except ImportError as error:
        raise ImportError(
            "softadapt.integrations.lightning needs Lightning: pip install lightning (or pytorch_lightning)"
        ) from error


class LossWeightMonitor(Callback):
    """Log the weights of every `SoftAdapt` in a LightningModule, as ``prefix/path/name``.

    The path is that of the submodule, so that ``self.balance = SoftAdapt(["mse", "kl"])`` logs ``loss_weight/balance/mse`` and
    ``loss_weight/balance/kl``; components without names are "0", "1" and so on. The logged weights are those after the
    step's observation. They go through the LightningModule's own ``log_dict``: to all loggers, and to ``callback_metrics``.

    The callback holds no state. The module holds it, so Lightning's checkpoints restore it without this callback. While
    batches are trained it waits for no device; what a logger does with the numbers is the logger's own affair.

    It warns once where the weights change within an optimiser step (``update_every`` is no multiple of
    ``accumulate_grad_batches``), and at the end of every epoch with non-finite or negative losses. For the latter it reads
    two counters once an epoch.

    Args:
        logging_interval: ``"step"`` logs after a training batch, as often as ``log_every_n_steps`` says. ``"epoch"`` logs at
            the end of every training epoch.
        prefix: the first part of each key.

    Raises:
        ValueError: for another `logging_interval`; at the start of ``fit`` if the LightningModule holds no SoftAdapt.
    """

    def __init__(self, logging_interval: Literal["step", "epoch"] = "step", prefix: str = "loss_weight") -> None:
        if logging_interval not in ("step", "epoch"):
            raise ValueError(f"logging_interval must be 'step' or 'epoch', got {logging_interval!r}")
        self.logging_interval = logging_interval
        self.prefix = prefix
        self._warned_of_accumulation = False
        self._counted: list[list[int]] = []

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002
        """Refuse a LightningModule without a SoftAdapt."""
        if not _softadapts(pl_module):
            raise ValueError(
                f"{type(pl_module).__name__} holds no SoftAdapt; assign one to an attribute in its __init__, such as "
                "self.balance = SoftAdapt(2), or leave LossWeightMonitor out"
            )

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Warn of weights that change within an optimiser step; note how many losses were not finite or negative so far."""
        self._counted = _counts(pl_module)
        batches = trainer.accumulate_grad_batches
        for path, balance in _softadapts(pl_module).items():
            if balance.update_every % batches and not self._warned_of_accumulation:
                self._warned_of_accumulation = True
                warnings.warn(
                    f"SoftAdapt {path}: update_every={balance.update_every} is no multiple of accumulate_grad_batches={batches}, "
                    f"so the weights change within an optimiser step; take update_every={batches}",
                    stacklevel=2,
                )

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:  # noqa: ARG002
        """Log the weights of this step."""
        if self.logging_interval == "step":
            pl_module.log_dict(self._weights(pl_module), on_step=True, on_epoch=False)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Log the weights of this epoch's end; warn of losses in this epoch that were not finite or negative."""
        if self.logging_interval == "epoch":
            # One value an epoch, so that its mean over the epoch is itself; it is logged by rank 0, as for a step.
            pl_module.log_dict(self._weights(pl_module), on_step=False, on_epoch=True, rank_zero_only=True)
        counts = _counts(pl_module)
        for path, before, now in zip(_softadapts(pl_module), self._counted, counts, strict=True):
            nonfinite, negative = now[0] - before[0], now[1] - before[1]
            if nonfinite > 0:
                warnings.warn(
                    f"SoftAdapt {path}: calls with a non-finite loss in epoch {trainer.current_epoch}: {nonfinite}; history and "
                    "weights ignore them",
                    stacklevel=2,
                )
            if negative > 0:
                warnings.warn(
                    f"SoftAdapt {path}: negative losses in epoch {trainer.current_epoch}: {negative}; equation 4 gives them the "
                    "weight zero; subtract a known lower bound, or take variant='original'",
                    stacklevel=2,
                )

    def _weights(self, pl_module: nn.Module) -> dict[str, torch.Tensor]:
        return {
            key: weight
            for path, balance in _softadapts(pl_module).items()
            for key, weight in balance.named_weights(f"{self.prefix}/{path}/").items()
        }


def _softadapts(module: nn.Module) -> dict[str, SoftAdapt]:
    """Every SoftAdapt in `module`, by its path."""
    return {path: part for path, part in module.named_modules() if isinstance(part, SoftAdapt)}


def _counts(module: nn.Module) -> list[list[int]]:
    """`nonfinite_count` and `negative_count` of every SoftAdapt in `module`, read from the device at once."""
    counts = [count for part in _softadapts(module).values() for count in (part.nonfinite_count, part.negative_count)]
    return torch.stack(counts).view(-1, 2).tolist()
