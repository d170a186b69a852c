"""Train the digit classifier that judges reconstructions (paper section 4.3), once, on real digits."""

import torch

from experiments.data import mnist
from experiments.metrics.classification import percent_correctly_classified
from experiments.runs.command_line import Request
from experiments.runs.errors import UserError
from experiments.runs.folder import Run, require_finite
from experiments.runs.loop import Loop
from models.digit_classifier import DigitClassifier


def run(request: Request) -> None:
    """Train, test and write the run folder.

    Raises:
        UserError: if training diverges, or ends with a test accuracy below the required one.
    """
    settings = request.settings
    folder = Run.of(request)
    if folder.finished:
        return
    folder.data = mnist.checksums(request.scale.data_dir)
    torch.manual_seed(request.seed)
    images, labels = (
        torch.from_numpy(array[: settings.train_images].copy()) for array in mnist.load(request.scale.data_dir, "train")
    )
    test_images, test_labels = (torch.from_numpy(array.copy()) for array in mnist.load(request.scale.data_dir, "test"))
    model = DigitClassifier().to(memory_format=torch.channels_last)
    steps = len(images) // settings.batch_size
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.epochs * steps
    )
    loop = Loop(
        folder,
        {"model": model, "optimizer": optimizer, "schedule": schedule},
        description="digit classifier",
        epochs=settings.epochs,
        items=len(images),
        batch_size=settings.batch_size,
        drop_last=True,
    )
    with loop.running():
        for epoch in loop.epochs():
            model.train()
            for batch in loop.batches():
                inputs = images[batch].unsqueeze(1).float() / 255
                loss = torch.nn.functional.cross_entropy(model(inputs), labels[batch].long())
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                loop.add({"train_loss": loss})
            accuracy = percent_correctly_classified(model, test_images.unsqueeze(1).float() / 255, test_labels)
            row = {**loop.means(), "test_accuracy": accuracy}
            require_finite(row, f"{request.output}: epoch {epoch}", "digit_classifier.learning_rate")
            loop.end_epoch(row)
    accuracy = folder.history[-1]["test_accuracy"]
    if accuracy < settings.minimum_accuracy:
        raise UserError(
            f"{request.output}: test accuracy {accuracy:.2f} % is below digit_classifier.minimum_accuracy "
            f"{settings.minimum_accuracy} %; train longer (digit_classifier.epochs)"
        )
    folder.finish({"test_accuracy": accuracy}, weights=model.state_dict())
