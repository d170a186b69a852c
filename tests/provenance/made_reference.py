"""The committed results of a scale, made by hand: a few rows of every kind that `compare` treats in a way of its own."""

import csv
import json
from pathlib import Path

CHOICES = ("step_size", "optimal_lambda", "loss", "weights")


def estimate(name, value, low, high):
    """A value and its interval as three columns."""
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _train():
    for method, gain in (("fixed", 0.0), ("softadapt", 1.0)):
        for epoch in (6, 48, 96, 120):
            psnr = 20 + epoch / 60 + gain
            row = {"method": method, "epoch": epoch, "seeds": 5, "failed": 0}
            yield row | estimate("psnr", psnr, psnr - 0.1, psnr + 0.1)


def _methods():
    for method, seconds in (("fixed", 100.0), ("softadapt", 110.0)):
        row = {"method": method, "epoch": 120, "seeds": 5, "failed": 0, "verdict": "trained"}
        yield row | estimate("train_seconds", seconds, seconds - 5, seconds + 5)


def _namesakes():
    for rule, share in (("equation 4", 0.0), ("equation 3", 0.25), ("NequIP", 0.5), ("NeuralPDE", 0.75)):
        yield {"rule": rule, **estimate("random_share", share, share, share + 0.01), "recorded_share": share}


def _descent():
    for step_rule in ("fixed", "barzilai_borwein"):
        row = {"function": "rosenbrock", "step_rule": step_rule, "method": "original", "beta": 0.1, "step_size": 0.01}
        row |= estimate("quartile_steps", 400.0, 300.0, 500.0) | {"expected_steps": 420.0, "arrived_share": 0.9375}
        yield row | estimate("expected_ratio_to_plain", 0.8, 0.75, 0.85) | {"starts": 64}


def _claims():
    def claim(name, **values):
        row = {"id": name, "family": "paper", "where": "here", "statement": "It is so.", "published": ""}
        row |= estimate("measured", 0.8, 0.7, 0.9) | {"observations": 5, "failed_runs": "", "unit": "ratio"}
        row |= {"rule": "below 1.0", "specifications": 2, "supporting": 2, "contradicting": 0, "not_run": 0}
        row |= {"lowest": 0.7, "highest": 0.8, "corrected_p": 0.01, "verdict": "supported", "reading": "supported"}
        return row | {"figure": ""} | values

    yield claim("gd-rosenbrock-original", verdict="contradicted", reading="contradicted in 3 of 4")
    yield claim("sae-validation-loss")
    yield claim("sae-cost")
    yield claim("vae-psnr")


def _specifications():
    def cell(claim, main, value, **options):
        row = {"id": claim, **{name: options.get(name, "") for name in CHOICES}, "main": main}
        row |= estimate("measured", value, value - 0.1, value + 0.1) | {"observations": 5, "failed_runs": ""}
        return row | {"p": 0.01, "decision": "supports"}

    yield cell("gd-rosenbrock-original", True, 1.5, step_size="own")
    yield cell("gd-rosenbrock-original", False, 1.25, step_size="plain")
    yield cell("sae-validation-loss", True, 0.5, optimal_lambda="best_pcc", loss="total")
    yield cell("sae-validation-loss", False, 0.75, optimal_lambda="best_pcc", loss="error")
    yield cell("sae-cost", True, 0.05)
    yield cell("vae-psnr", True, 2.0, weights="two")
    yield cell("vae-psnr", False, 1.0, weights="three")


TABLES = {
    "tables/introvae_train.csv": _train,
    "tables/introvae_methods.csv": _methods,
    "tables/namesakes.csv": _namesakes,
    "tables/gradient_descent.csv": _descent,
    "claims.csv": _claims,
    "specifications.csv": _specifications,
}

NUMBERS = {
    "scale": "laptop",
    "runs": 7,
    "niqe": {"largest_error_of_closed_form": 1.98e-10},
    "verdicts": {"supported": 3, "contradicted": 1},
    "autoencoder": {"optimal_lambda": {"pcc_82_at_30": 7.1e-4}, "diverged": []},
}

PROVENANCE = {
    "scale": "laptop",
    "python": "3.11.7",
    "cpu": "a processor",
    "system": "Linux x86_64",
    "versions": {"numpy": "2.4.6", "torch": "2.14.1"},
    "code": {"introvae/fixed": "81510681a256dc36"},
}
"""As summaries were before there were several machines."""


def write(folder: Path) -> Path:
    """Write the results into a new folder, which is returned."""
    (folder / "tables").mkdir(parents=True)
    for name, rows in TABLES.items():
        made = list(rows())
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, made[0].keys(), lineterminator="\n")
            writer.writeheader()
            writer.writerows(made)
    for name, values in (("numbers", NUMBERS), ("provenance", PROVENANCE)):
        (folder / f"{name}.json").write_text(json.dumps(values), encoding="utf-8")
    return folder
