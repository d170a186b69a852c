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

    def final(self, room: str, method: str, column: str, values: list[float]) -> None:
        """Set a column at the last epoch, a value a seed."""
        for seed, value in zip(SEEDS, values, strict=True):
            self.runs[room, method, seed].history[-1][column] = value

    def diverge(self, room: str, method: str, seed: int, epoch: int) -> None:
        """Let a run end by diverging in `epoch`, as IntroVAE does: losses are not finite there, and nothing is measured."""
        run = self.runs[room, method, seed]
        run.history = run.history[:epoch]
        losses = ("reconstruction", "kl_real", "train_mse", "validation_mse", "train_l1")
        row = {key: value for key, value in run.history[-1].items() if key in ("epoch", "phase")}
        run.history[-1] = row | {key: NAN for key in losses if key in run.history[-1]}
        run.metrics["verdict"] = "diverged"

    def end_before(self, room: str, method: str, seed: int, epoch: int) -> None:
        """Let a run diverge in `epoch` and leave no row of that."""
        run = self.runs[room, method, seed]
        run.columns = list(run.history[0])
        run.history = run.history[: epoch - 1]
        run.metrics["verdict"] = "diverged"

    def go_on_with_nan(self, method: str, seed: int, epoch: int) -> None:
        """Let an autoencoder diverge in `epoch` and train on; NaN are classified too, as whatever digit."""
        run = self.runs["sparse_autoencoder", method, seed]
        for row in run.history[epoch - 1 :]:
            row |= {key: NAN for key in row if key.endswith(("_mse", "_l1"))}
            row |= {key: 9.8 for key in row if key.endswith("_pcc")}
        run.metrics["verdict"] = "diverged"

    def write(self, *rooms: str) -> Any:
        """Write the runs of some rooms below the working directory; return the scale's settings."""
        Path("paper").mkdir(exist_ok=True)
        Path("paper/published.yaml").write_text(yaml.safe_dump(self.published))
        for (room, name, seed), run in self.runs.items():
            if room in rooms:
                _write_run(Path("results", self.settings["scale"], "runs", room, name, f"seed-{seed}"), room, seed, run)
        settings = adapter.settings_of(self.settings)
        adapter.gathered(settings, *rooms)
        return settings


def _write_run(folder: Path, room: str, seed: int, run: MadeRun) -> None:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"experiment": room, "seed": seed, "code": "made"}))
    columns = list(dict.fromkeys(key for row in run.history for key in row)) or run.columns
    with (folder / "history.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(run.history)
    np.savez(folder / "samples.npz", **run.samples)
    provenance = {"commit": "c" * 40, "dirty": False, "python": "3.11", "versions": {"torch": "2"}, "system": "Linux"}
    provenance |= {"cpu": "a processor", "gpu": None, "threads": 1, "data": {}, "config_hash": "h" * 64}
    provenance |= {"times": {"total": run.seconds + 2, "train": run.seconds}}
    (folder / "provenance.json").write_text(json.dumps(provenance))
    (folder / "metrics.json").write_text(json.dumps(run.metrics))


# --- gradient descent: eight starts choose, eight judge -------------------------------------------------------------

BETAS = [-1.0, 0.0, 0.1]
CHOOSES = np.array([True, False] * 8)
STEP_SIZES = np.array([0.001, 0.01 * (1 - 1e-12), 0.1])  # as a logarithmic grid rounds
FINE = 0.05
LIMIT = 1000
"""What a start counts that does not arrive: max_steps + 1."""

ORIGINAL_JUDGED = [200, 240, 280, 320, 360, 400, 440, NOT_CONVERGED]
"""Steps of the original rule at its best settings, from the starts that judge."""


def starts(choosing: int | list[int], judging: int | list[int]) -> np.ndarray:
    """Steps (16,) of the starts that choose and of those that judge."""
    steps = np.empty(16, dtype=np.int32)
    steps[CHOOSES], steps[~CHOOSES] = choosing, judging
    return steps


def _sweep() -> dict[str, Any]:
    """Every method needs 500 steps at the smallest step, and does not arrive with others."""
    never = starts(NOT_CONVERGED, NOT_CONVERGED)
    samples: dict[str, Any] = {"starts": np.zeros((16, 2)), "chooses": CHOOSES, "step_sizes": STEP_SIZES}
    samples["betas"] = np.array(BETAS)
    for method in ("plain", "original", "loss_weighted", "normalized", "normalized_loss_weighted"):
        betas = 1 if method == "plain" else len(BETAS)
        samples[f"steps_{method}"] = np.stack([np.stack([starts(500, 500), never, never])] * betas)
        samples[f"fine_steps_{method}"] = np.stack([never[None]] * betas)
        samples[f"fine_step_sizes_{method}"] = np.full((betas, 1), FINE)
    return samples


def _descent() -> dict[tuple[str, str, int], MadeRun]:
    samples = {f"{f}-{r}": _sweep() for f in ("rosenbrock", "beale") for r in ("fixed", "barzilai_borwein")}
    one = samples["rosenbrock-fixed"]
    plain, original = one["steps_plain"][0], one["steps_original"]
    # Plain: the choosing starts like 0.01 best, the judging ones the refined step.
    plain[0], plain[1], plain[2] = starts(200, 400), starts(100, 800), starts(DIVERGED, DIVERGED)
    one["fine_steps_plain"][0, 0] = starts(150, 150)
    # Original: beta = 0, plain descent by another name, would be the best; beta = 0.1 is, at a refined step; on the
    # judging starts beta = -1 would be.
    original[0, 1] = starts(60, 100)
    original[1, 1] = starts(10, 10)
    one["fine_steps_original"][2, 0] = starts(50, ORIGINAL_JUDGED)
    # Beale: from ten starts plain descent diverges at both large steps, from two more at the largest alone.
    steps = samples["beale-fixed"]["steps_plain"][0]
    steps[0], steps[1] = 100, 50
    steps[1, :10], steps[2, :12], steps[2, 12:] = DIVERGED, DIVERGED, NOT_CONVERGED
    # Barzilai-Borwein on Beale: starts at the minimum need no step, which counts as one.
    samples["beale-barzilai_borwein"]["steps_plain"][0, 0] = starts(4, [0, 0, 0, 0, 4, 4, 4, 4])
    samples["beale-barzilai_borwein"]["steps_original"][:, 0] = starts(4, [0, 0, 0, 0, 2, 2, 2, 2])
    return {("gradient_descent", name, 0): MadeRun(samples=arrays) for name, arrays in samples.items()}


# --- sparse autoencoder: the frontier is a straight line in the logarithms of error and L1 norm ----------------------

LAMBDAS = [0.001, 0.01, 0.1, 1.0]
AUTOENCODERS: dict[str, dict[str, list[float]]] = {
    # method: L1 norm, error and PCC on the test digits at the end, a value a seed. lambda-1 is dead.
    "lambda-0.001": {"l1": [10000] * 5, "mse": [0.01] * 5, "pcc": [90] * 5, "validation_pcc": [85] * 5},
    "lambda-0.01": {"l1": [100] * 5, "mse": [0.04] * 5, "pcc": [78, 79, 80, 81, 82], "validation_pcc": [88] * 5},
    "lambda-0.1": {"l1": [1] * 5, "mse": [0.16] * 5, "pcc": [62, 61, 60, 59, 58], "validation_pcc": [50] * 5},
    "lambda-1": {"l1": [0] * 5, "mse": [0.5] * 5, "pcc": [10] * 5, "validation_pcc": [11] * 5},
    # At an L1 norm of 10 the frontier's error is sqrt(0.16 x 0.04) = 0.08, its PCC (60 + 80) / 2 = 70 for every seed.
    "softadapt": {"l1": [10] * 5, "mse": [0.04, 0.044, 0.048, 0.052, 0.056], "pcc": [75, 71, 73, 72, 74]},
    # A dead code is beyond the grid.
    "softadapt-mean-error": {"l1": [0] * 5, "mse": [0.5] * 5, "pcc": [10, 11, 12, 11, 10]},
    # At 1000: sqrt(0.04 x 0.01) = 0.02, and a PCC of (80 + 90) / 2 = 85, here 84, 84.5, 85, 85.5, 86 by seed.
    "random-weights": {"l1": [1000] * 5, "mse": [0.02, 0.022, 0.02, 0.026, 0.028], "pcc": [83, 83.5, 83, 83.5, 82]},
    "equal": {"l1": [1000] * 5, "mse": [0.038, 0.04, 0.042, 0.04, 0.04], "pcc": [82] * 5},
    "uncertainty": {"l1": [10] * 5, "mse": [0.072, 0.088, 0.08, 0.084, 0.076], "pcc": [90] * 5},
    "dynamic-weight-average": {"l1": [10] * 5, "mse": [0.08, 0.088, 0.088, 0.088, 0.096], "pcc": [60] * 5},
    # One seed of five is sparser than the whole grid.
    "gradnorm": {"l1": [10, 10, 0.5, 10, 10], "mse": [0.04] * 5, "pcc": [70, 71, 72, 73, 74]},
}


def _autoencoders() -> dict[tuple[str, str, int], MadeRun]:
    runs = {}
    for method, ends in AUTOENCODERS.items():
        for k, seed in enumerate(SEEDS):
            # By the yardstick of lambda = 0.01 SoftAdapt has 0.1 + 0.01 l1 in training, the tuned lambda 0.04 + 0.2.
            parts = {"train": (0.04, 20.0), "validation": (0.03, 10.0)}
            if method == "softadapt":
                parts = {"train": (0.1, 1.0 + k), "validation": (0.2, 1.0 + k)}
            history = []
            for epoch in range(1, EPOCHS + 1):
                row: dict[str, Any] = {"epoch": epoch, "train_weighted_loss": 1.0}
                for part, (error, sparsity) in parts.items():
                    later = EPOCHS - epoch  # earlier epochs are worse, by 1 an epoch
                    row |= {f"{part}_mse": error + later, f"{part}_l1": sparsity + later}
                if epoch in REPORTS:
                    row |= {"test_mse": ends["mse"][k], "test_l1": float(ends["l1"][k]), "test_active_share": 0.25}
                    row["test_pcc"] = ends["pcc"][k]
                history.append(row)
            history[-1]["validation_pcc"] = ends.get("validation_pcc", [99] * 5)[k]
            if method in ("softadapt", "lambda-0.01"):  # at the first report: 60 against 50, 51, 52, 53, 54
                history[0]["test_pcc"] = 60 if method == "softadapt" else 50 + k
            samples = {"originals": np.zeros((2, 784)), **{f"epoch_{e}": np.zeros((2, 784)) for e in REPORTS}}
            seconds = 10.0 if method.startswith("lambda-") else 7.0 + k
            metrics = {key: value for key, value in history[-1].items() if key != "epoch"}
            runs["sparse_autoencoder", method, seed] = MadeRun(history, metrics, samples, seconds)
    return runs


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
    return {
        "scale": "made",
        "data_dir": "data",
        "gradient_descent": {
            "starts": 16,
            "seed": 0,
            "step_sizes": step_sizes,
            "barzilai_borwein_lowest": 1e-6,
            "betas": BETAS,
            "tolerance": 0.1,
            "max_steps": LIMIT - 1,
            "divergence_radius": 1000.0,
            "illustrated_starts": {"rosenbrock": [-1.2, 1.0], "beale": [1.0, 1.0]},
            "illustrated_beta": 0.1,
        },
        "digit_classifier": {"epochs": 1, "batch_size": 10, "learning_rate": 0.001, "train_images": 100, "seed": 0}
        | {"minimum_accuracy": 90.0},
        "sparse_autoencoder": training
        | {"train_images": 100, "validation_images": 10, "test_images": 10, "hidden_units": 4, "lambdas": LAMBDAS}
        | {
            "methods": {
                name: {"reconstruction": "sum", "weighting": rule}
                for name in AUTOENCODERS
                if not name.startswith("lambda-")
            }
        },
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
