"""SoftAdapt in the Trainer of Hugging Face transformers: `SoftAdaptTrainerMixin`, and the callback that it installs.

A SoftAdapt that lies inside the model needs neither: it is saved and restored with the model, and follows its ``train()`` and
``eval()``. This module is for a SoftAdapt beside the model, which the Trainer neither saves nor puts into evaluation mode.
"""

import warnings
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from softadapt import SoftAdapt

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise ImportError(
        "softadapt.integrations.transformers needs transformers and accelerate: pip install transformers accelerate"
    ) from error


class SoftAdaptCallback(TrainerCallback):
    """Save a `SoftAdapt` in the Trainer's checkpoints, restore it from them, and log its weights.

    When training starts, `balance` is moved to the Trainer's device and, if the Trainer resumes, restored from the checkpoint.
    The process that writes the checkpoint writes the state of `balance` beside the model, under a temporary name that is then
    renamed. All processes restore that one state; with ``average_over_ranks=True`` it is the state of all of them.

    ``loss_weight/<name>`` is added to each log that has the training loss. Callbacks that stand before this one, as the
    reporters of ``report_to`` do, do not see it; `SoftAdaptTrainerMixin` therefore puts this callback first.

    It warns when training starts if the weights change within an optimiser step (``update_every`` is no multiple of
    ``gradient_accumulation_steps``), and if the best model is chosen by the evaluation loss: its weights change.

    Args:
        balance: to save and restore. The training calls it; the callback only looks after its state.
        filename: of the state in the folder of a checkpoint.

    Attributes:
        resume_from: folder of the checkpoint to resume from; ``None`` is ``checkpoint-<step>`` in ``args.output_dir``.
    """

    def __init__(self, balance: SoftAdapt, filename: str = "softadapt.pt") -> None:
        self.balance = balance
        self.filename = filename
        self.resume_from: str | PathLike[str] | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Move `balance` to the device and restore it if the Trainer resumes.

        Raises:
            FileNotFoundError: if the checkpoint to resume from holds no state of `balance`.
            ValueError: in a hyperparameter search, whose trials would share one `balance`.
        """
        if state.is_hyper_param_search:
            raise ValueError(
                "SoftAdaptCallback does not support hyperparameter_search, as all trials would share one SoftAdapt; put the "
                "SoftAdapt inside the model that model_init makes"
            )
        self._warn_of(args)
        self.balance.to(args.device)
        if state.global_step > 0:
            path = Path(self.resume_from or _checkpoint(args, state)) / self.filename
            if not path.is_file():
                raise FileNotFoundError(
                    f"{path}: no such file, so the state of SoftAdapt cannot be restored. Resume from a checkpoint that was saved "
                    "with SoftAdaptCallback; if that lies in another folder, set the callback's resume_from to it"
                )
            self.balance.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Write the state of `balance` into the checkpoint."""
        if args.should_save:
            path = _checkpoint(args, state) / self.filename
            temporary = path.with_name(f"{path.name}.tmp")
            torch.save(self.balance.state_dict(), temporary)
            temporary.replace(path)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **kwargs: Any) -> None:  # noqa: ARG002
        """Add the weights to the log and to ``state.log_history``."""
        if "loss" in logs:
            # Reading the weights waits for the device, as reading the loss did.
            weights = {name: weight.item() for name, weight in self.balance.named_weights("loss_weight/").items()}
            logs |= weights
            state.log_history[-1] |= weights

    def _warn_of(self, args: Any) -> None:
        steps = args.gradient_accumulation_steps
        if self.balance.update_every % steps:
            warnings.warn(
                f"SoftAdapt: update_every={self.balance.update_every} is no multiple of gradient_accumulation_steps={steps}, so "
                f"the weights change within an optimiser step; take update_every={steps}",
                stacklevel=2,
            )
        if args.load_best_model_at_end and args.metric_for_best_model in ("loss", "eval_loss"):
            warnings.warn(
                "SoftAdapt: the best model is chosen by the evaluation loss, a sum whose weights change between evaluations; "
                "name a metric of compute_metrics in metric_for_best_model",
                stacklevel=2,
            )


class SoftAdaptTrainerMixin:
    """A Trainer whose loss is ``balance(losses)``; state, evaluation mode, logs and resuming are taken care of.

    ::

        class MyTrainer(SoftAdaptTrainerMixin, Trainer):
            def loss_components(self, model, inputs):
                outputs = model(**inputs)
                return {"mse": mse(outputs, inputs), "kl": kl(outputs)}, outputs

        trainer = MyTrainer(model, args, train_dataset=data, balance=SoftAdapt(["mse", "kl"]))

    Losses are recorded while the model is in training mode, and never in evaluation or prediction; the evaluation loss is the
    sum with the weights of that moment. `SoftAdaptCallback` is installed, so that checkpoints hold the state of `balance`
    and ``train(resume_from_checkpoint=...)`` restores it. Each log of the training loss has ``loss_weight/<name>``.

    Each loss is the mean over its own micro-batch: ``num_items_in_batch``, which counts the labels of all micro-batches of an
    optimiser step, is not asked for, and the Trainer divides the sum by the number of micro-batches.

    Args:
        balance: a keyword argument, beside those of the Trainer. It may lie inside the model too.
    """

    balance: SoftAdapt

    def __init__(self, *args: Any, balance: SoftAdapt, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Otherwise the Trainer takes the loss as divided already where the model's forward takes any keyword.
        self.model_accepts_loss_kwargs = False
        self.balance = balance.to(self.args.device)  # type: ignore[attr-defined]
        self._softadapt_callback = SoftAdaptCallback(balance)
        # Before the reporters, which log what the callbacks before them have added.
        self.callback_handler.callbacks.insert(0, self._softadapt_callback)  # type: ignore[attr-defined]

    def loss_components(
        self, model: nn.Module, inputs: dict[str, Any]
    ) -> tuple[Mapping[str, Tensor | float | None] | Tensor, Any]:
        """Return the losses as `balance` takes them, and what the model returned. To be overridden.

        Args:
            model: the model as the Trainer wrapped it; in training or in evaluation mode.
            inputs: a batch, on the device.

        Returns:
            The losses: a mapping of scalars by name, or a (K,) tensor. The model's outputs: a mapping, or a tuple whose
            first entry is not a prediction, as the Trainer's evaluation takes them.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must define loss_components(self, model, inputs), which returns the losses by name and the "
            "model's outputs"
        )

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,  # noqa: ARG002
    ) -> Tensor | tuple[Tensor, Any]:
        """Return the weighted sum of `loss_components`, () tensor, and the outputs if they are asked for."""
        losses, outputs = self.loss_components(model, inputs)
        self.balance.train(model.training)
        loss = self.balance(losses)
        return (loss, outputs) if return_outputs else loss

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """As the Trainer's; the state of `balance` comes from the same checkpoint."""
        named = resume_from_checkpoint is not None and not isinstance(resume_from_checkpoint, bool)
        self._softadapt_callback.resume_from = resume_from_checkpoint if named else None  # type: ignore[assignment]
        return super().train(resume_from_checkpoint, *args, **kwargs)  # type: ignore[misc]


def _checkpoint(args: Any, state: Any) -> Path:
    """Folder of the Trainer's checkpoint of this step."""
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"
