"""What the tests of answers ask of the code under test: the one place that knows where it lives.

Everything else in this folder is made by the tests (`synthetic`) or worked out in them.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from experiments.analysis import (
    autoencoder,
    claims,
    descent,
    figures_introvae,
    figures_sparse_autoencoder,
    paper,
    reading,
)
from experiments.analysis import measurements as measuring
from experiments.analysis import tables as tabulating
from experiments.analysis.statistics import Estimate, Failed
from experiments.config import Settings, validate
from experiments.errors import UserError

__all__ = ["NAMESAKES", "Estimate", "Failed", "UserError"]

NAMESAKES = "five_rules"
"""Section, run folder and table of the audit of the rules that share the name."""

NOT_CONVERGED, DIVERGED = descent.NOT_CONVERGED, descent.DIVERGED
"""Codes of a sweep's steps."""

SINGLE = "default"
"""Name of the only run of a room."""


def settings_of(values: dict[str, Any]) -> Settings:
    """Checked settings."""
    return validate(Settings, values, "made settings")


def evidence(settings: Settings) -> measuring.Evidence:
    """What measurements and claims read."""
    return measuring.Evidence(settings, reading.published())


def measure(settings: Settings, name: str, **arguments: Any) -> Estimate:
    """One measurement, by the name that claims.yaml gives it."""
    return measuring.MEASUREMENTS[name](evidence(settings), **arguments)


def measurement_names() -> set[str]:
    """All that claims may name."""
    return set(measuring.MEASUREMENTS)


def tables(settings: Settings, room: str) -> dict[str, pd.DataFrame]:
    """All tables of a room, by name."""
    return tabulating.EXPERIMENTS[room](settings)


def ledger(settings: Settings, entries: list[dict[str, Any]]) -> pd.DataFrame:
    """Claims as claims.yaml has them, measured and judged, by id."""
    made = [claims.Claim.model_validate({"where": "here", "statement": "It is so."} | entry) for entry in entries]
    return claims.ledger(made, evidence(settings)).set_index("id")


def write_ledger(settings: Settings, entries: list[dict[str, Any]]) -> None:
    """What the claims command leaves behind."""
    tabulating.write_table(ledger(settings, entries).reset_index(), reading.results(settings), "claims")


def judge(rule: dict[str, Any], estimate: Estimate | None, corrected: float = 0.0) -> str:
    """A verdict."""
    return claims.judge(rule, estimate, corrected)


def tune(settings: Settings, function: str, step_rule: str, method: str, beta: float | None = None) -> descent.Tuned:
    """A descent method at its best settings."""
    return descent.Sweep(settings, function, step_rule).tune(method, beta)


def autoencoder_history(settings: Settings) -> pd.DataFrame:
    """All histories of the autoencoder."""
    return reading.histories(settings, "sparse_autoencoder")


def tuned_lambda(settings: Settings) -> str:
    """The fixed method that SoftAdapt is held against."""
    return autoencoder.tuned_lambda(settings, autoencoder_history(settings))


def beside_the_frontier(settings: Settings) -> pd.DataFrame:
    """Every method's place, by method and seed."""
    places = autoencoder.beside_the_frontier(settings, autoencoder_history(settings))
    return places.set_index(["method", "seed"])


def expected_best_of(trials: int, chosen_by: Any, judged_by: Any) -> float:
    """What a random search can expect."""
    return autoencoder.expected_best_of(trials, chosen_by, judged_by)


def trials_to_match(settings: Settings, method: str) -> int | None:
    """Runs of a random search that are worth one of the method."""
    return autoencoder.trials_to_match(settings, autoencoder_history(settings), method)


def numbers(settings: Settings) -> dict[str, Any]:
    """What the manuscript quotes."""
    return paper.numbers(settings)


def draw(settings: Settings, room: str) -> list[str]:
    """Draw a room's figures; return their names."""
    {
        "sparse_autoencoder": figures_sparse_autoencoder.sparse_autoencoder,
        "introvae": figures_introvae.introvae,
    }[room](settings)
    return sorted({path.stem for path in Path(reading.figures(settings)).glob("*.png")})
