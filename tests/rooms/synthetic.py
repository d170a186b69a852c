"""A finished scale whose answers are known: run folders of every room, of round numbers, written by hand.

`scale` returns its settings and runs as plain values, which a test may change before it writes them. The numbers and
what follows from them stand side by side in the tests; nothing here comes out of the code under test.
"""

import copy
import csv
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import adapter
import numpy as np
import yaml
from adapter import DIVERGED, NAMESAKES, NOT_CONVERGED, SINGLE

NAN = math.nan
SEEDS = [10, 11, 12, 13, 14]
EPOCHS = 8
REPORTS = [1, 2, 4, 8]


@dataclass
class MadeRun:
    """The content of a run folder."""

    history: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    samples: dict[str, Any] = field(default_factory=dict)
    seconds: float = 1.0
    columns: list[str] = field(default_factory=list)
    """Of the history, where no row has them."""


@dataclass
class Scale:
    """Settings as a config file has them, and runs by room, name and seed."""

    settings: dict[str, Any]
    runs: dict[tuple[str, str, int], MadeRun]
    published: dict[str, Any]

    def seeds(self, room: str, method: str) -> list[int]:
        """Seeds of a method's runs."""
        return [seed for where, name, seed in self.runs if (where, name) == (room, method)]

    def final(self, room: str, method: str, column: str, values: list[float]) -> None:
        """Set a column at the last epoch, a value a seed."""
        for seed, value in zip(self.seeds(room, method), values, strict=True):
            self.runs[room, method, seed].history[-1][column] = value

    def diverge(self, room: str, method: str, seed: int, epoch: int) -> None:
        """Let a run end by diverging in `epoch`, as IntroVAE does: losses are not finite there, and nothing is measured."""
        run = self.runs[room, method, seed]
        losses = ("reconstruction", "kl_real", "train_mse", "validation_mse", "train_l1")
        row = {key: value for key, value in run.history[0].items() if key == "phase"} | {"epoch": epoch}
        row |= {key: NAN for key in losses if key in run.history[0]}
        run.history = [*(row for row in run.history if row["epoch"] < epoch), row]
        run.metrics["verdict"] = "diverged"

    def end_before(self, room: str, method: str, seed: int, epoch: int) -> None:
        """Let a run diverge in `epoch` and leave no row of that."""
        run = self.runs[room, method, seed]
        run.columns = list(run.history[0])
        run.history = [row for row in run.history if row["epoch"] < epoch]
        run.metrics["verdict"] = "diverged"

    def go_on_with_nan(self, method: str, seed: int, epoch: int) -> None:
        """Let an autoencoder diverge in `epoch` and train on; NaN are classified too, as whatever digit."""
        run = self.runs["sparse_autoencoder", method, seed]
        for row in run.history:
            if row["epoch"] >= epoch:
                row |= {key: NAN for key in row if key.endswith(("_mse", "_l1"))}
                row |= {key: 9.8 for key in row if key.endswith("_pcc")}
        run.metrics["verdict"] = "diverged"

    def write(self, *rooms: str) -> Any:
        """Write the runs of some rooms below the working directory; return the scale's settings."""
        Path("paper").mkdir(exist_ok=True)
        Path("paper/published.yaml").write_text(yaml.safe_dump(self.published))
        Path("paper/claims.yaml").write_text((adapter.ROOT / "paper" / "claims.yaml").read_text())
        for (room, name, seed), run in self.runs.items():
            if room in rooms:
                _write_run(Path("results", self.settings["scale"], "runs", room, name, f"seed-{seed}"), room, seed, run)
        settings = adapter.settings_of(self.settings)
        adapter.gathered(settings, *rooms)
        return settings


def _write_run(folder: Path, room: str, seed: int, run: MadeRun) -> None:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"experiment: {room}\nseed: {seed}\ncode: made\n")
    columns = list(dict.fromkeys(key for row in run.history for key in row)) or run.columns
    with (folder / "history.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(run.history)
    if run.samples:
        np.savez(folder / "samples.npz", **run.samples)
    provenance = {"commit": "c" * 40, "dirty": False, "python": "3.11", "versions": {"torch": "2"}, "system": "Linux"}
    provenance |= {"cpu": "a processor", "gpu": None, "threads": 1, "data": {}, "config_hash": "h" * 64}
    provenance |= {"times": {"total": run.seconds + 2, "train": run.seconds}}
    (folder / "provenance.json").write_text(json.dumps(provenance))
    (folder / "metrics.json").write_text(json.dumps(run.metrics))


# --- gradient descent: eight starts, of which four choose and four judge ----------------------------------------------

BETAS = [-1.0, 0.0, 0.1]
STEP_SIZES = np.array([0.001, 0.01 * (1 - 1e-12), 0.1])  # as a logarithmic grid rounds
FINE = [0.05, 0.02]
LIMIT = 1000
"""What a start counts that does not arrive: max_steps + 1."""

EVENS = np.array([True, False] * 4)
FIRST = np.array([True] * 4 + [False] * 4)
HALVES = np.array([EVENS, ~EVENS] * 8 + [FIRST] * 3 + [~FIRST])
"""Eight times the starts 0, 2, 4 and 6 choose, eight times the others, three times the first four, once the last four."""

EVERY_METHOD = ["plain", "original", "loss_weighted", "normalized", "normalized_loss_weighted"]
"""Names of the methods whose step sizes are tuned."""

NEVER = np.full(8, NOT_CONVERGED, dtype=np.int32)


def starts(evens: int | list[int], odds: int | list[int]) -> np.ndarray:
    """Steps (8,) from the starts 0, 2, 4, 6 and from the starts 1, 3, 5, 7."""
    steps = np.empty(8, dtype=np.int32)
    steps[EVENS], steps[~EVENS] = evens, odds
    return steps


def descent_sweep(function: str, step_rule: str) -> dict[str, Any]:
    """Every method needs 500 steps at the smallest step, and does not arrive with others."""
    places = [[k / 8, 1 / (k + 3)] for k in range(8)]
    samples: dict[str, Any] = {"starts": np.array(places), "halves": HALVES, "step_sizes": STEP_SIZES}
    samples["betas"] = np.array(BETAS)
    plane = ["size_2"] if step_rule == "fixed" else []
    for method in [*EVERY_METHOD, "original_sums_to_one", "loss_weighted_sums_to_one", *plane]:
        betas = 1 if method == "plain" else len(BETAS)
        samples[f"steps_{method}"] = np.stack([np.stack([starts(500, 500), NEVER, NEVER])] * betas)
        if not method.endswith("_sums_to_one"):
            samples[f"fine_steps_{method}"] = np.stack([np.stack([NEVER, NEVER])] * betas)
            samples[f"fine_step_sizes_{method}"] = np.array([FINE] * betas)
    if step_rule == "fixed":  # three combinations of a step size a component, from the first six starts
        count = {"rosenbrock": 2, "beale": 3}[function]
        samples["component_step_sizes"] = np.array([[0.001 * (k + 1), *[0.1] * (count - 1)] for k in range(3)])
        samples["component_steps"] = np.stack([starts(500, 500)[:6], NEVER[:6], NEVER[:6]])
    return samples


def _descent() -> dict[tuple[str, str, int], MadeRun]:
    rules = ("fixed", "barzilai_borwein", "frozen_secant")
    samples = {f"{f}-{r}": descent_sweep(f, r) for f in ("rosenbrock", "beale") for r in rules}
    one = samples["rosenbrock-fixed"]
    # Plain: the even starts like 0.01 best, the odd ones a refined step, and all together 0.001.
    one["steps_plain"][0] = starts(300, 300), starts(100, 600), starts(DIVERGED, DIVERGED)
    one["fine_steps_plain"][0, 0] = starts(500, 200)
    # Original: beta = 0, plain descent by another name, would be the best; beta = 0.1 is for the even starts, at a refined
    # step; for the odd ones beta = -1.
    original = one["steps_original"]
    original[0, 1], original[1, 1] = starts(60, 120), starts(10, 10)
    original[2, 2] = [400] * 6 + [NOT_CONVERGED] * 2
    one["fine_step_sizes_original"][2] = [0.04, 0.03]  # every beta has its own
    one["fine_steps_original"][2, 0] = starts(50, [200, 240, 280, NOT_CONVERGED])
    # Loss-weighted: the last two starts are near; they are none of those with a step size a component.
    weighted = one["steps_loss_weighted"]
    weighted[:, 1] = starts(30, 30), starts(200, 200), [45, 135, 45, 135, 45, 135, 7, 7]
    # Where the weights sum to 1 the largest step is the best, which is not that of plain descent.
    one["steps_loss_weighted_sums_to_one"][2] = starts(700, 700), starts(150, 900), starts(20, 20)
    # The exponent 2 does not arrive at beta = 0.1.
    one["steps_size_2"][2] = NEVER
    one["component_steps"][:2] = starts(40, 90)[:6], starts(80, 30)[:6]
    # Beale: plain descent is lost from some starts, and slow from others.
    plain = samples["beale-fixed"]["steps_plain"][0]
    plain[0], plain[1] = 100, starts([DIVERGED, DIVERGED, DIVERGED, 50], 300)
    plain[2, [1, 3]] = 20
    # Barzilai-Borwein on Beale: starts at the minimum need no step, which counts as one.
    samples["beale-barzilai_borwein"]["steps_plain"][0, 0] = starts(4, 0)
    samples["beale-barzilai_borwein"]["steps_original"][:, 0] = starts(2, 0)
    # With the other secant the original rule is twice as fast as plain descent.
    samples["rosenbrock-frozen_secant"]["steps_original"][:, 0] = 250
    return {("gradient_descent", name, 0): MadeRun(samples=arrays) for name, arrays in samples.items()}


# --- sparse autoencoder: what fixed lambdas give lies on straight lines in the logarithm of lambda --------------------

MANY = [10, 11, 12, 13, 14, 15, 16]
"""Seeds of fixed lambdas, warm-ups, SoftAdapt and its replay; all other methods have the five of `SEEDS`."""

DIGIT_EPOCHS = 30
DIGIT_REPORTS = [2, 5, 15, 30]
KEPT_EPOCHS = [1, 2, 5, 15, 29, 30]
"""Epochs that the made histories hold."""

LAMBDAS = [1.0, 0.0, 0.01, 0.0001, 0.1, 0.001]
HIDDEN_UNITS = 50
PIXELS = 784
YARDSTICKS = ["active_share", "l1", "l1_decoder", "hoyer"]

PCC = {2: 70, 5: 80, 15: 90, 30: 95}
"""PCC on test digits at place 0, by report epoch; it falls by 10 a place, and by 3 less k in seed k."""

EARLY = {2: 6.0, 5: 4.0, 15: 2.0, 30: 0.0}
"""What SoftAdapt's PCC has besides, by report epoch."""

VALIDATION_PCC = {"lambda-0": 99, "lambda-0.0001": 85, "lambda-0.001": 88, "lambda-0.01": 50, "lambda-0.1": 30}
VALIDATION_PCC |= {"unit-norm.lambda-0.0001": 60, "unit-norm.lambda-0.01": 70}

DEAD = {"test_active_share": 0.001, "test_l1": 5e-4, "test_l1_decoder": 5e-4, "test_hoyer": 1.0, "test_mse": 0.5}
DEAD |= {"train_mse": 0.5, "train_l1": 5e-4, "validation_mse": 0.5, "validation_l1": 5e-4, "pcc": 10.0}
"""A code of which one weak unit fires for a few digits."""


def fixed(place: float, k: int = 0) -> dict[str, float]:
    """What lambda = 10^(place - 4) ends with in the k-th seed, at whole places and between them."""
    return {
        "test_active_share": 0.64 * 2**-place,
        "test_l1": 1000 * 10**-place,
        "test_l1_decoder": 81 * 3**-place,
        "test_hoyer": 0.2 + 0.2 * place,
        "test_mse": (1 + k / 10) * 0.01 * 2**place,
        # lambda = l1 / (784^2 mse) where place = 1.5 + 0.1 (k - 2)
        "train_l1": 500 * 10 ** (-place + 0.25 * (k - 2)),
        "train_mse": 500 / PIXELS**2 * 10 ** (0.25 + place / 2),
        "validation_l1": 400 * 10**-place,
        "validation_mse": (1 + k / 20) * 0.001 * 3**place,
        "pcc": -10 * place + k - 3,  # plus `PCC`
    }


def beside(place: float, ratios: list[float], *shifts: float) -> list[dict[str, float]]:
    """Methods as sparse as a fixed lambda, in each seed with its errors times a ratio, and its PCC shifted."""
    ends = []
    for k, (ratio, shift) in enumerate(zip(ratios, shifts or [0.0] * len(ratios), strict=True)):
        end = fixed(place, k)
        errors = {name: end[name] * ratio for name in end if name.endswith("_mse")}
        ends.append(end | errors | {"pcc": end["pcc"] + shift})
    return ends


def columns(**values: list[float]) -> list[dict[str, float]]:
    """A dictionary a seed from a list a column."""
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


SOFTADAPT = columns(
    test_active_share=[0.20, 0.24, 0.28, 0.20, 0.24, 0.28, 0.24],
    test_l1=[550, 460, 640, 370, 730, 505, 595],
    test_l1_decoder=[45, 30, 60, 50, 40, 20, 10],
    test_hoyer=[0.45, 0.50, 0.55, 0.45, 0.50, 0.55, 0.25],
    test_mse=[0.020, 0.022, 0.021, 0.024, 0.020, 0.023, 0.025],
    train_mse=[0.0020, 0.0022, 0.0024, 0.0021, 0.0023, 0.0020, 0.0022],
    train_l1=[300, 310, 290, 305, 295, 300, 320],
    validation_mse=[0.0030, 0.0035, 0.0032, 0.0031, 0.0036, 0.0034, 0.0033],
    validation_l1=[200, 210, 190, 205, 195, 220, 180],
    pcc=[-20, -21, -18, -22, -19, -17, -23],
)

UNITS_PLACES = {"units-10": 0.7, "units-0.1": 2.3, "units-0.01": 3.1}
"""Place of the fixed lambda that is predicted for seed 2; 0.1 a seed more for the next. The last one is beyond the grid."""


def _in_units(place: float, ratios: list[float], shifts: list[float]) -> list[dict[str, float]]:
    """Methods whose L1 norm is the predicted one times a ratio, and whose PCC is SoftAdapt's and a shift."""
    ends = [fixed(place + 0.1 * (k - 2), k) for k in range(5)]
    more = zip(ends, ratios, shifts, SOFTADAPT[:5], strict=True)
    return [end | {"test_l1": end["test_l1"] * r, "pcc": other["pcc"] + shift} for end, r, shift, other in more]


def _scaled(ends: list[dict[str, float]], factor: float) -> list[dict[str, float]]:
    return [end | {"test_mse": factor * end["test_mse"]} for end in ends]


def _cell(errors: list[float]) -> list[dict[str, float]]:
    return [fixed(1.0, k) | {"test_mse": 0.01 * error} for k, error in enumerate(errors)]


SCATTER = [0.99, 1.01, 1.0, 1.005, 0.995]

RULES = {
    "softadapt": SOFTADAPT,
    "softadapt-yoked": beside(1.5, [1.1, 1.2, 1.1, 1.3, 1.2, 1.1, 1.4]),
    "softadapt-mean-error": beside(2.5, [1.5, 1.6, 1.55, 1.45, 1.5], 20, 21, 22, 23, 24),
    "softadapt-original": beside(0.5, [1.2, 1.25, 1.3, 1.35, 1.4]),
    "softadapt-normalized": beside(1.25, [1.3, 1.2, 1.25, 1.4, 1.35]),
    "softadapt-original-normalized": beside(0.75, [0.9, 1.0, 0.95, 0.85, 0.8]),
    "softadapt-beta-0": beside(1.75, [1.02, 0.98, 1.0, 1.01, 0.99]),
    "equal": beside(1.0, [2.0, 2.1, 1.9, 2.0, 2.05]),
    "uncertainty": beside(0.6, SCATTER),
    "relobralo": beside(1.9, SCATTER),
    "random-weights": beside(2.2, [0.95, 1.0, 1.05, 1.1, 1.15]),  # 1.047, from 0.95 to 1.15
    "dynamic-weight-average": beside(2.2, [1.06, 1.0, 1.12, 1.05, 1.1]),  # 1.065, from 1.01 to 1.13
    "rule-nequip": beside(1.2, [0.70, 0.71, 0.72, 0.73, 0.74]),
    "gradnorm": [*beside(2.4, SCATTER)[:2], fixed(3.5, 2), *beside(2.4, SCATTER)[3:]],  # one seed is beyond the grid
    "mgda": [DEAD] * 5,
}

PLANE: dict[tuple[float, float], list[float]] = {
    # (exponent, sharpness): errors, a hundredth, a value a seed
    (0.0, 0.1): [4, 8, 16, 4, 8],
    (1.0, 0.1): [1] * 5,
    (2.0, 0.1): [64] * 5,
    (1.0, 0.0): [2] * 5,
    (1.0, 1.0): [1 / 2, 1 / 4, 1 / 2, 1 / 4, 1 / 2],
    # nothing is read off the other cells
    (0.0, 0.0): [1e-3] * 5,
    (0.0, 1.0): [1e4] * 5,
    (2.0, 0.0): [1e-3] * 5,
    (2.0, 1.0): [1e4] * 5,
}

AUTOENCODERS: dict[str, list[dict[str, float]]] = {
    # method: what it ends with, a dictionary a seed
    **{f"lambda-{10.0 ** (place - 4):g}": [fixed(place, k) for k in range(7)] for place in range(4)},
    "lambda-0": [fixed(-1, k) for k in range(7)],
    "lambda-1": [DEAD] * 7,
    **RULES,
    # Lambdas that rise are better than constant ones, by a factor of the error.
    **{
        f"warm-up-{epochs}.lambda-{value:g}": _scaled([fixed(place, k) for k in range(7)], factor)
        for epochs, factor in ((10, 0.5), (5, 0.8))
        for value, place in ((0.0001, 0), (0.1, 3))
    },
    "units-10": _in_units(0.7, [1.1, 1.2, 1.1, 1.0, 1.1], [-1, -2, -3, -2, -1]),
    "units-0.1": _in_units(2.3, [0.5, 0.6, 0.5, 0.4, 0.5], [1, 2, 3, 2, 4]),
    "units-0.01": _in_units(3.1, [1.0, 1.1, 1.0, 0.9, 1.0], [-10, -20, -30, -20, -10]),
    **{f"size-{size:g}-rate-{rate:g}": _cell(errors) for (size, rate), errors in PLANE.items()},
    # In the variant every error is ten times as large.
    "unit-norm.lambda-0.0001": _scaled([fixed(0, k) for k in range(5)], 10),
    "unit-norm.lambda-0.01": _scaled([fixed(2, k) for k in range(5)], 10),
    "unit-norm.softadapt": _scaled(beside(0.8, [0.6, 0.7, 0.8, 0.7, 0.6], 5, 6, 7, 8, 9), 10),
}


def _autoencoders() -> dict[tuple[str, str, int], MadeRun]:
    return {
        ("sparse_autoencoder", method, seed): _autoencoder(method, k, end)
        for method, ends in AUTOENCODERS.items()
        for k, (seed, end) in enumerate(zip(MANY, ends, strict=False))
    }


def _autoencoder(method: str, k: int, end: dict[str, float]) -> MadeRun:
    """Earlier epochs are worse: errors and norms are larger, by a factor."""
    history: list[dict[str, Any]] = []
    for epoch in KEPT_EPOCHS:
        row: dict[str, Any] = {"epoch": epoch, "train_weighted_loss": 1.0}
        for name, value in end.items():
            if name != "pcc" and (not name.startswith("test_") or epoch in DIGIT_REPORTS):
                row[name] = float(value) * (1 + (DIGIT_EPOCHS - epoch) * name.endswith(("_mse", "_l1")))
        row |= {"validation_active_share": 0.25}
        if epoch in DIGIT_REPORTS:
            row["test_pcc"] = end["pcc"] + (PCC[epoch] if end is not DEAD else 0)
            row["test_pcc"] += EARLY[epoch] if method == "softadapt" else 0
        history.append(row)
    history[-1]["validation_pcc"] = VALIDATION_PCC.get(method, 11 if end is DEAD else 98)
    samples = {"originals": np.zeros((2, 784)), **{f"epoch_{e}": np.zeros((2, 784)) for e in DIGIT_REPORTS}}
    metrics = {key: value for key, value in history[-1].items() if key != "epoch"} | {"verdict": "trained"}
    return MadeRun(history, metrics, samples, 10.0 if method.startswith("lambda-") else 7.0 + k)


def autoencoder_settings() -> dict[str, Any]:
    """The section with every kind of method."""
    rule = {"reconstruction": "sum", "weighting": {"rule": "softadapt"}}
    replays = {"reconstruction": "sum", "replays": "softadapt", "weighting": {"rule": "replayed"}}
    return {
        "seeds": [*MANY],
        "few_seeds": 5,
        "every_seed": ["softadapt", "softadapt-yoked"],
        "epochs": DIGIT_EPOCHS,
        "report_epochs": [*DIGIT_REPORTS],
        "train_images": 100,
        "validation_images": 10,
        "test_images": 10,
        "hidden_units": HIDDEN_UNITS,
        "batch_size": 10,
        "learning_rate": 0.001,
        "decoder": "free",
        "lambdas": [*LAMBDAS],
        "warm_ups": [10, 5],
        "warm_up_lambdas": [0.1, 0.0001],
        "unit_factors": [10.0, 0.1, 0.01],
        "plane": {"sizes": [0.0, 1.0, 2.0], "rates": [0.0, 0.1, 1.0]},
        "methods": {name: replays if name == "softadapt-yoked" else rule for name in RULES},
        "variants": {"unit-norm": {"decoder": "unit_norm"}},
        "variant_lambdas": [0.01, 0.0001],
        "variant_methods": ["softadapt"],
    }


# --- IntroVAE ----------------------------------------------------------------------------------------------------

FACES: dict[str, dict[str, list[float]]] = {
    # method: measures at the last epoch, a value a seed; at earlier reports PSNR is lower by 1 each, for fixed by 2.
    "fixed": {"psnr": [18.0, 18.2, 18.4, 18.6, 18.8], "ssim": [0.5] * 5, "niqe": [6.0] * 5},
    "softadapt": {
        "psnr": [19.0, 19.4, 19.8, 20.2, 20.6],
        "ssim": [0.4, 0.42, 0.44, 0.46, 0.43],
        "niqe": [5, 4, 5, 4, 4.5],
    },
    "equal": {"psnr": [19.5, 19.0, 20.1, 20.0, 20.4], "ssim": [0.5] * 5, "niqe": [6.0] * 5},
}


def _faces() -> dict[tuple[str, str, int], MadeRun]:
    runs = {}
    for method, ends in FACES.items():
        for k, seed in enumerate(SEEDS):
            history = []
            for epoch in range(1, EPOCHS + 1):
                row: dict[str, Any] = {"epoch": epoch, "phase": "adversarial", "reconstruction": 100.0 - epoch}
                row |= {"kl_real": 20.0 + k, "kl_reconstructed": 30.0, "kl_sampled": 40.0, "beyond_margin_share": 0.5}
                row |= {"gradient_norm_encoder": 1.0, "encoder_weight_kl_real": 0.2, "encoder_weight_margin_fake": 0.3}
                row |= {"encoder_weight_reconstruction": 0.5, "generator_weight_kl_fake": 0.4}
                row |= {"generator_weight_reconstruction": 0.6, "margin": 50.0}
                if epoch in REPORTS:
                    earlier = (3 - REPORTS.index(epoch)) * (2 if method == "fixed" else 1)
                    # Training images: 5 dB and 0.1 more than held-out ones, SoftAdapt's but 2 dB more.
                    gain = 2.0 if method == "softadapt" else 5.0
                    row |= {"held_out_psnr": ends["psnr"][k] - earlier, "train_psnr": ends["psnr"][k] - earlier + gain}
                    row |= {"held_out_ssim": ends["ssim"][k], "train_ssim": ends["ssim"][k] + 0.1}
                    row |= {"held_out_niqe": ends["niqe"][k], "train_niqe": ends["niqe"][k] - 1}
                    row |= {"validation_psnr": 17.0, "validation_ssim": 0.3, "validation_niqe": 7.0, "prior_niqe": 8.0}
                history.append(row)
            pictures = {f"{part}_originals": np.zeros((8, 1, 4, 4)) for part in ("train", "held_out")}
            for epoch in REPORTS:
                pictures |= {f"{part}_epoch_{epoch}": np.zeros((8, 1, 4, 4)) for part in ("train", "held_out", "prior")}
            runs["introvae", method, seed] = MadeRun(history, {"verdict": "trained"}, pictures, 30.0)
    return runs


# --- audits ------------------------------------------------------------------------------------------------------

NAMED = {"first falls": {"equation 4": (3.0, 1.0), "equation 3": (1.0, 1.0), "NequIP": (1.0, 4.0)}}
ORDERS = {  # weight of the first less that of the second component, at the end of eight random histories
    "equation 4": [1, 1, 1, 1, 1, 1, 1, 1],
    "equation 3": [-1, -1, -1, 0, 1, 1, 1, 1],
    "NequIP": [1, 1, -1, -1, -1, -1, 1, 1],
}


def _namesakes() -> MadeRun:
    history = []
    for name, rules in NAMED.items():
        for rule, weights in rules.items():
            for step, (first, second) in enumerate([weights[::-1], weights], start=1):  # the other way before the end
                row = {"set": "named", "history": name, "rule": rule, "step": step, "settled": 1}
                history.append(row | {"weight_first": first, "weight_second": second})
    history.append(history[0] | {"set": "recorded", "history": "autoencoder"})
    recorded = {"equation 4": 0.0, "equation 3": 0.125, "NequIP": 0.75}
    metrics: dict[str, Any] = {"histories": 8, "recorded_steps": 16}
    metrics["recorded_disagreement"] = {
        rule: {other: abs(recorded[rule] - recorded[other]) for other in ORDERS} for rule in ORDERS
    }
    metrics["random_disagreement"] = {
        rule: {other: sum(map(_opposed, ORDERS[rule], ORDERS[other])) / 8 for other in ORDERS} for rule in ORDERS
    }
    return MadeRun(history, metrics)


def _opposed(one: int, other: int) -> bool:
    """Whether two orders are opposite; a tie is opposite to none."""
    return {one, other} == {-1, 1}


def _step_cost() -> MadeRun:
    timed = {
        # steps 10, 20, 30, 40, 50 % longer; the median fixed step is 4
        "step": ([1.0, 2.0, 4.0, 5.0, 10.0], [1.1, 2.4, 5.2, 7.0, 15.0]),
        # calls 0.2, 0.4, 0.6, 0.8, 1.0 longer, the median 0.15 of that step
        "call": ([0.1] * 5, [0.3, 0.5, 0.7, 0.9, 1.1]),
        # 0.02 to 0.10 longer, the median 0.015
        "call_in_a_row": ([0.01] * 5, [0.03, 0.05, 0.07, 0.09, 0.11]),
    }
    history = []
    for factor, room in ((1.0, "gradient_descent"), (1.0, "sparse_autoencoder"), (2.0, "introvae")):
        for kind, (fixed, softadapt) in timed.items():
            for pair, (one, other) in enumerate(zip(fixed, softadapt, strict=True)):
                # IntroVAE: fixed steps twice as long, calls as long as the others
                scale = factor if kind == "step" else 1.0
                row = {"experiment": room, "timed": kind, "pair": pair, "fixed": one * scale}
                history.append(row | {"softadapt": other * scale})
    return MadeRun(history)


def _collapse() -> MadeRun:
    # With c = 4, m0 = 0, s = 0.5: sqrt(16 + 2 x 1.5^2 / 0.5) = 5 and sqrt(16 + 2 x 3^2 / (1.5 + 0.5)) = 5, at mean 0: 4.
    rows = [("faces", 7.0, 1.5, 0.0), ("faces", 9.0, 0.0, 1.0), ("crops", 3.0, -3.0, 1.5), ("crops", 4.0, 0.0, 2.0)]
    history = [dict(zip(("set", "score", "mean", "variance"), row, strict=True)) for row in rows]
    return MadeRun(history, CLOSED_FORM | {"pooled": {"crops": 2.5}})


CLOSED_FORM = {"c": 4.5, "m0": 0.25, "s": 0.125, "largest_error_of_closed_form": 1e-10}
CLOSED_FORM |= {"lowest_score": 3.0, "highest_score": 9.0}
"""What the run found of LIVE's model."""


PUBLISHED = {
    "introvae": {
        "table_1": {"softadapt": {"niqe": [3.0, 3.5, 3.0, 3.0]}, "fixed": {"niqe": [3.0, 3.0, 5.0, 3.0]}},
        "table_2": {"softadapt": {"niqe": [3.0, 3.0, 3.0, 2.0]}, "fixed": {"niqe": [3.0, 4.0, 3.0, 3.0]}},
        "minutes": {"fixed": 200.0, "softadapt": 201.0},
        "niqe_collapse": {"c": 4.0, "m0": 0.0, "s": 0.5},
    },
    "sparse_autoencoder": {"minutes": {"fixed": 8.0, "softadapt": 9.0}},
}


def _settings() -> dict[str, Any]:
    rule = {"rule": "softadapt"}
    training = {"seeds": SEEDS, "epochs": EPOCHS, "report_epochs": REPORTS, "batch_size": 10, "learning_rate": 0.001}
    step_sizes = {"lowest": 0.001, "highest": 0.1, "count": 3, "refined": 1}
    component_steps = {"lowest": 0.001, "highest": 0.1, "count": 3, "starts": 6}
    return {
        "scale": "made",
        "data_dir": "data",
        "gradient_descent": {
            "starts": 8,
            "seed": 0,
            "step_sizes": step_sizes,
            "barzilai_borwein_lowest": 1e-6,
            "betas": BETAS,
            "plane_sizes": [2.0],
            "component_steps": dict.fromkeys(("rosenbrock", "beale"), component_steps),
            "tolerance": 0.1,
            "max_steps": LIMIT - 1,
            "divergence_radius": 1000.0,
            "illustrated_starts": {"rosenbrock": [-1.2, 1.0], "beale": [1.0, 1.0]},
            "illustrated_beta": 0.1,
        },
        "digit_classifier": {"epochs": 1, "batch_size": 10, "learning_rate": 0.001, "train_images": 100, "seed": 0}
        | {"minimum_accuracy": 90.0},
        "sparse_autoencoder": autoencoder_settings(),
        "introvae": training
        | {"dataset": "orl-faces", "validation": 4, "held_out": 6, "evaluated_images": 8, "flip": True, "shift": 1}
        | {"image_size": 16, "channels": [8, 16], "latent_size": 16, "normalization": "batch", "precision": "float32"}
        | {"batch_statistics": "recomputed", "compile": False, "warmup_epochs": 0, "hinge": "image"}
        | {"objective": "introvae", "decay_share": 0.0, "ema_decay": 0.0, "beta_rec": 1.0, "beta_neg": 256.0}
        | {"reconstruction_scale": 1.0, "warmup_reconstruction_weight": 1.0, "niqe_block_size": 16}
        | {"methods": {name: {"margin": 50.0, "encoder": rule, "generator": rule} for name in FACES}},
        "niqe_collapse": {"seed": 0, "image_size": 128, "images": 2, "crops": 42, "blurs": [0.0, 0.7]},
        NAMESAKES: {"seed": 0, "observations": 6, "settled": 2, "histories": 8, "scales": [1.0, 2.0]}
        | {"rates": [0.1, 0.2], "noise": [0.1, 0.2], "train_images": 100, "epochs": 1, "hidden_units": 4}
        | {"batch_size": 10, "learning_rate": 0.001, "sparsity_weight": 0.5, "rules": dict.fromkeys(ORDERS, rule)},
        "step_cost": {"seed": 0, "warmup_pairs": 2, "calls_in_a_row": 2}
        | {"pairs": {"gradient_descent": 5, "sparse_autoencoder": 5, "introvae": 5}},
    }


def scale() -> Scale:
    """The whole scale, to be changed and written."""
    runs = {
        ("niqe_collapse", SINGLE, 0): _collapse(),
        (NAMESAKES, SINGLE, 0): _namesakes(),
        ("step_cost", SINGLE, 0): _step_cost(),
        ("digit_classifier", SINGLE, 0): MadeRun([{"epoch": 1}], {"test_accuracy": 98.5}),
    }
    runs |= _descent() | _autoencoders() | _faces()
    return Scale(_settings(), runs, copy.deepcopy(PUBLISHED))
