"""Train the digit classifier that judges reconstructions (paper section 4.3), once, on real digits."""

from experiments import command_line
from experiments.errors import UserError, run_main


def run(request: command_line.Request) -> None:
    """Train, test and write the run folder; fails if the test accuracy is below the required one."""
    import torch

    from experiments.data import mnist
    from experiments.metrics.classification import percent_correctly_classified
    from experiments.progress import progress_bar
    from experiments.runs import Run
    from models.digit_classifier import DigitClassifier

    torch.set_num_threads(request.threads)
    settings = request.settings.digit_classifier
    data_dir = request.settings.data_dir
    folder = Run(
        request.output,
        {"experiment": "digit_classifier", "seed": request.seed}
        | {"settings": settings.model_dump(mode="json", exclude={"seed"})},
        overwrite=request.overwrite,
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
    start = 0
    state = folder.resume()
    if state is not None:
        start = state["epoch"]
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["random"])
    with progress_bar(settings.epochs * steps, "digit classifier", "step", start * steps) as progress:
        for epoch in range(start, settings.epochs):
            model.train()
            total = torch.zeros(())
            order = torch.randperm(len(images))
            for batch in order.split(settings.batch_size)[:steps]:
                inputs = images[batch].unsqueeze(1).float() / 255
                loss = torch.nn.functional.cross_entropy(model(inputs), labels[batch].long())
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                total += loss.detach()
                progress.update()
            accuracy = percent_correctly_classified(model, test_images.unsqueeze(1).float() / 255, test_labels)
            mean_loss = total.item() / steps
            folder.history.append({"epoch": epoch + 1, "train_loss": mean_loss, "test_accuracy": accuracy})
            folder.save(
                {
                    "epoch": epoch + 1,
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "schedule": schedule.state_dict(),
                    "random": torch.get_rng_state(),
                },
                now=True,
            )
    accuracy = folder.history[-1]["test_accuracy"]
    if accuracy < settings.minimum_accuracy:
        raise UserError(
            f"{request.output}: test accuracy {accuracy:.2f} % is below digit_classifier.minimum_accuracy "
            f"{settings.minimum_accuracy} %; train longer (digit_classifier.epochs)"
        )
    folder.finish({"test_accuracy": accuracy}, data_checksums=mnist.checksums(data_dir))


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
