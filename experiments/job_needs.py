"""What a job asks a scheduler for at a scale: minutes and memory, with room to spare.

The work of an experiment is counted from its settings, and its speed is about a quarter of what the laptop scale was
measured at on one core of an AMD EPYC (``results/<scale>/benchmarks``), so that slower machines are served too; IntroVAE's
on a GPU is a quarter of the estimate in ``docs/paper-scale.md``. A job that was stopped for want of either asks for more
when it is tried again.
"""

from experiments.config import Settings

LONGEST = 24 * 60
"""Minutes that no job exceeds: many partitions allow a day, and a training run goes on where the last job stopped."""

START = 10
"""Minutes for start-up on a busy file system, and for reading data."""

PIXELS_PER_MINUTE = {"cpu": 4e6, "gpu": 1.4e8}
IMAGES = {"orl-faces": 400, "celeba": 202_599}
FACES_MB = {"orl-faces": 2500, "celeba": 16_000}
"""CelebA takes 10 GiB to read; PyTorch and 400 small faces took 0.9 GB."""


def minutes(settings: Settings, experiment: str, attempt: int) -> int:
    """Time limit of a job of an experiment at its first, second, ... attempt."""
    return min(LONGEST, int(attempt * (START + _work(settings, experiment))))


def megabytes(settings: Settings, experiment: str, attempt: int) -> int:
    """Memory of a job at its first, second, ... attempt."""
    if experiment == "introvae":
        return (
            attempt * FACES_MB[settings.introvae.dataset] * max(1, settings.gpus)
        )  # a process with all images per GPU
    if experiment == "step_cost":
        return attempt * FACES_MB[settings.introvae.dataset]  # it times IntroVAE's networks
    return attempt * 2500  # the laptop scale's largest took 1.0 GB


def _work(settings: Settings, experiment: str) -> float:
    """Minutes, start-up left out."""
    if experiment == "gradient_descent":
        sweep = settings.gradient_descent
        step_sizes = sweep.step_sizes.count + sweep.step_sizes.refined
        return sweep.starts * step_sizes * sweep.max_steps / 5e6
    if experiment == "digit_classifier":
        return settings.digit_classifier.epochs * settings.digit_classifier.train_images / 1e5
    if experiment == "sparse_autoencoder":  # a job trains all seeds of a method
        autoencoder = settings.sparse_autoencoder
        return len(autoencoder.seeds) * autoencoder.epochs * autoencoder.train_images / 5e5
    if experiment == "introvae":
        pixels = settings.introvae.epochs * IMAGES[settings.introvae.dataset] * settings.introvae.image_size**2
        speed = PIXELS_PER_MINUTE["gpu"] * settings.gpus or PIXELS_PER_MINUTE["cpu"]
        return pixels / speed
    return 50
