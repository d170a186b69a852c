"""The training experiments on made data, small enough to be run some hundred times, and what two runs must share."""

from pathlib import Path

import numpy as np

RUNS = {
    "gradient descent": ("gradient_descent", ["--function", "rosenbrock", "--step-rule", "barzilai_borwein"]),
    "digit classifier": ("digit_classifier", []),
    "autoencoder, SoftAdapt": ("sparse_autoencoder", ["--method", "softadapt"]),
    "autoencoder, GradNorm": ("sparse_autoencoder", ["--method", "gradnorm"]),
    "autoencoder, random weights": ("sparse_autoencoder", ["--method", "random-weights"]),
    "IntroVAE, SoftAdapt": ("introvae", ["--method", "softadapt"]),
    "IntroVAE, a rule per epoch": ("introvae", ["--method", "softadapt-per-epoch"]),
}
"""What is run -> the room and its options."""

COMPARED = ("metrics.json", "history.csv", "config.yaml", "weights.pt")
"""Results that equal runs share byte for byte, beside the arrays of ``samples.npz``."""


def equal(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays are the same to the bit; NaN too, which stands for the steps that a diverged run did not take."""
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def leftovers(folder: Path) -> list[str]:
    """Temporary files, whose names begin with a point."""
    return sorted(path.name for path in folder.glob(".*.*")) if folder.exists() else []


def differences(folder: Path, other: Path) -> list[str]:
    """Names of the results that differ between two finished runs, or that one of them lacks."""
    names = [
        name
        for name in COMPARED
        if (folder / name).exists() != (other / name).exists()
        or ((folder / name).exists() and (folder / name).read_bytes() != (other / name).read_bytes())
    ]
    if not (folder / "metrics.json").exists():
        return ["metrics.json", *names]
    if (other / "samples.npz").exists():
        if not (folder / "samples.npz").exists():
            return [*names, "samples.npz"]
        with np.load(folder / "samples.npz") as one, np.load(other / "samples.npz") as two:
            same = one.files == two.files and all(map(equal, (one[key] for key in one.files), two.values()))
        names += [] if same else ["samples.npz"]
    return names


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
