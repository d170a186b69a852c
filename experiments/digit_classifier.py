"""Train the digit classifier that judges reconstructions (paper section 4.3), once, on real digits."""

from typing import Any

from experiments import command_line
from experiments.errors import UserError, run_main


def run(request: command_line.Request) -> None:
    """Train, test and write the run folder; fails if the test accuracy is below the required one."""
    import torch

    from experiments.data import mnist
    from experiments.metrics.classification import percent_correctly_classified
    from experiments.progress import progress_bar
    from experiments.runs import Run, require_finite
    from models.digit_classifier import DigitClassifier

    torch.set_num_threads(request.threads)
    settings = request.settings.digit_classifier
    data_dir = request.settings.data_dir
    folder = Run(
        request.output,
        {"experiment": "digit_classifier", "seed": request.seed}
        | {"settings": settings.model_dump(mode="json", exclude={"seed"})},
        overwrite=request.overwrite,
        checkpoint_interval=request.checkpoint_interval,
    )
    if folder.finished:
        print(f"{request.output} is complete")
        return
    torch.manual_seed(request.seed)
    images, labels = (
        torch.from_numpy(array[: settings.train_images].copy()) for array in mnist.load(data_dir, "train")
    )
    test_images, test_labels = (torch.from_numpy(array.copy()) for array in mnist.load(data_dir, "test"))
    model = DigitClassifier().to(memory_format=torch.channels_last)
    steps = len(images) // settings.batch_size
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.epochs * steps
    )
    epoch, step, order, total = 1, 0, torch.empty(0), torch.zeros(())
    if (state := folder.resume()) is not None:
        epoch, step, order, total = state["epoch"], state["step"], state["order"], state["total"]
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])

    def checkpoint() -> dict[str, Any]:
        parts: dict[str, Any] = {"model": model, "optimizer": optimizer, "schedule": schedule}
        position = {"epoch": epoch, "step": step, "order": order, "total": total}
        return position | {name: part.state_dict() for name, part in parts.items()}

    done = (epoch - 1) * steps + step
    with folder.interruptible(), progress_bar(settings.epochs * steps, "digit classifier", "step", done) as progress:
        while epoch <= settings.epochs:
            model.train()
            if step == 0:
                order, total = torch.randperm(len(images)), torch.zeros(())
            for batch in order.split(settings.batch_size)[step:steps]:
                inputs = images[batch].unsqueeze(1).float() / 255
                loss = torch.nn.functional.cross_entropy(model(inputs), labels[batch].long())
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                total += loss.detach()
                step += 1
                progress.update()
                if folder.due:
                    folder.save(checkpoint())
            accuracy = percent_correctly_classified(model, test_images.unsqueeze(1).float() / 255, test_labels)
            row = {"epoch": epoch, "train_loss": total.item() / steps, "test_accuracy": accuracy}
            require_finite(row, f"{request.output}: epoch {epoch}", "digit_classifier.learning_rate")
            folder.history.append(row)
            epoch, step = epoch + 1, 0
            if folder.due or epoch > settings.epochs:
                folder.save(checkpoint())
    accuracy = folder.history[-1]["test_accuracy"]
    if accuracy < settings.minimum_accuracy:
        raise UserError(
            f"{request.output}: test accuracy {accuracy:.2f} % is below digit_classifier.minimum_accuracy "
            f"{settings.minimum_accuracy} %; train longer (digit_classifier.epochs)"
        )
    folder.finish({"test_accuracy": accuracy}, weights=model.state_dict(), data_checksums=mnist.checksums(data_dir))


def main(arguments: list[str] | None = None) -> None:
    """Entry point of ``python -m experiments.digit_classifier``."""
    for request in command_line.parse(
        "digit_classifier",
        "Train the convolutional network that reads reconstructed digits. Writes a run folder.",
        arguments=arguments,
    ):
        run(request)


if __name__ == "__main__":
    run_main(main)
