"""Accuracy of the digit classifier on reconstructed digits: the percentage correctly classified (PCC) of Table 3."""

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

from experiments.runs import checkpoints
from experiments.runs.errors import UserError


def percent_correctly_classified(classifier: nn.Module, images: Tensor, labels: Tensor, batch_size: int = 250) -> float:
    """Return the percentage of images whose class the classifier gets right.

    Args:
        classifier: maps images (N, 1, 28, 28) in [0, 1] to logits (N, 10). It is used in evaluation mode, and its mode
            is restored afterwards.
        images: (N, 1, 28, 28) floating point in [0, 1].
        labels: (N,) integers, the true classes.
        batch_size: images per forward pass; does not change the result.

    Returns:
        The percentage, 0 to 100.

    Raises:
        ValueError: if the numbers of images and labels differ.
    """
    if len(images) != len(labels):
        raise ValueError(f"as many images as labels are needed, got {len(images)} and {len(labels)}")
    training = classifier.training
    classifier.eval()
    with torch.no_grad():
        correct = sum(
            int((classifier(batch).argmax(-1) == truth).sum())
            for batch, truth in zip(images.split(batch_size), labels.split(batch_size), strict=True)
        )
    classifier.train(training)
    return 100 * correct / len(labels)


def judge_identity(folder: Path) -> str:
    """Return the identity of the classifier in a run folder: 16 digits of the SHA-256 over settings and accuracy.

    A classifier that is trained again with the same settings, even on another machine, has the same identity if it gets
    as many digits right.

    Raises:
        UserError: if the run is not complete.
    """
    files = [folder / name for name in ("config.yaml", "metrics.json")]
    if not all(path.exists() for path in (*files, folder / "weights.pt")):
        raise UserError(
            f"{folder}: no trained digit classifier; run python -m experiments.digit_classifier, or name the run "
            "folder of a classifier with --classifier"
        )
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()[:16]


def load_classifier(folder: Path) -> nn.Module:
    """Load the trained digit classifier from its run folder, in evaluation mode and channels-last layout.

    Raises:
        UserError: if the run is not complete or its weights are damaged.
    """
    from models.digit_classifier import DigitClassifier

    judge_identity(folder)
    model = DigitClassifier()
    path = folder / "weights.pt"
    try:
        model.load_state_dict(checkpoints.read(path, {}))
    except (checkpoints.Damaged, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: damaged ({reason}); remove {folder} and train the digit classifier again") from error
    return model.to(memory_format=torch.channels_last).eval()
