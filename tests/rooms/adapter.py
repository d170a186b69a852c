"""What the tests of answers ask of the code under test: the one place that knows where it lives.

Everything else in this folder is made by the tests (`synthetic`) or worked out in them.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.evidence import claims, figures, manuscript, reading, rows, style
from experiments.evidence import tables as tabulating
from experiments.evidence.statistics import Estimate, Failed
from experiments.gradient_descent.findings import Tuned
from experiments.gradient_descent.settings import DIVERGED, NOT_CONVERGED
from experiments.runs.errors import UserError
from experiments.runs.jobs import captions
from experiments.runs.validation import validate
from experiments.scale import ROOMS, Settings
from experiments.sparse_autoencoder import findings as autoencoder

__all__ = ["DIVERGED", "NAMESAKES", "NOT_CONVERGED", "Estimate", "Failed", "UserError"]

NAMESAKES = "namesakes"
"""Section, run folder and table of the audit of the rules that share the name."""

SINGLE = "default"
"""Name of the only run of a room."""


def settings_of(values: dict[str, Any]) -> Settings:
    """Checked settings."""
    return validate(Settings, values, "made settings")


def gathered(settings: Settings, *rooms: str) -> None:
    """Let the rows of rooms be gathered from their run folders, as the workflow does."""
    for room in set(rooms) & set(settings.rooms):
        rows.write(settings, room)


def findings(settings: Settings, room: str) -> Any:
    """The findings of a room."""
    return reading.open_room(room, "findings").Findings(reading.Runs(settings, room))


def all_findings(settings: Settings) -> dict[str, Any]:
    """The findings of the rooms whose rows were gathered."""
    there = [room for room in settings.rooms if (reading.results(settings) / "rows" / f"{room}.csv").exists()]
    return {room: findings(settings, room) for room in there if reading.has_part(room, "findings")}


def measure(settings: Settings, name: str, **arguments: Any) -> Estimate:
    """One measurement, by the name that claims.yaml gives it."""
    room, function = name.split(".")
    return getattr(findings(settings, room), function)(**arguments)


def measurement_names() -> set[str]:
    """All that claims may name."""
    return {f"{room}.{name}" for room in ROOMS for name in claims.measurements(room)}


def tables(settings: Settings, room: str) -> dict[str, pd.DataFrame]:
    """All tables of a room, by name."""
    return findings(settings, room).tables()


def write_tables(settings: Settings, room: str) -> None:
    """What the tables command leaves behind."""
    tabulating.make(reading.Runs(settings, room), reading.results(settings) / "tables")


def ledger(settings: Settings, entries: list[dict[str, Any]]) -> pd.DataFrame:
    """Claims as claims.yaml has them, measured and judged, by id."""
    made = [claims.Claim.model_validate({"where": "here", "statement": "It is so."} | entry) for entry in entries]
    return claims.ledger(made, all_findings(settings)).set_index("id")


def write_ledger(settings: Settings, entries: list[dict[str, Any]]) -> None:
    """What the claims command leaves behind."""
    tabulating.write_table(ledger(settings, entries).reset_index(), reading.results(settings), "claims")


def judge(rule: dict[str, Any], estimate: Estimate | None, corrected: float = 0.0) -> str:
    """A verdict."""
    return claims.judge(rule, estimate, corrected)


def tune(settings: Settings, function: str, step_rule: str, method: str, beta: float | None = None) -> Tuned:
    """A descent method at its best settings."""
    return findings(settings, "gradient_descent").sweep(function, step_rule).tune(method, beta)


def tuned_lambda(settings: Settings) -> str:
    """The fixed method that SoftAdapt is held against."""
    return findings(settings, "sparse_autoencoder").tuned_lambda


def beside_the_frontier(settings: Settings) -> pd.DataFrame:
    """Every method's place, by method and seed."""
    return findings(settings, "sparse_autoencoder").beside_the_frontier.set_index(["method", "seed"])


def expected_best_of(trials: int, chosen_by: Any, judged_by: Any) -> float:
    """What a random search can expect."""
    return autoencoder.expected_best_of(trials, chosen_by, judged_by)


def trials_to_match(settings: Settings, method: str) -> int | None:
    """Runs of a random search that are worth one of the method."""
    return findings(settings, "sparse_autoencoder").trials_to_match(method)


def numbers(settings: Settings) -> dict[str, Any]:
    """What the manuscript quotes."""
    return manuscript.numbers(settings)


def figure(settings: Settings, room: str, name: str) -> Any:
    """One figure of a room."""
    return getattr(reading.open_room(room, "figures"), name)(reading.Runs(settings, room))


def coarse() -> AbstractContextManager[None]:
    """In which figures are coarse and without a layout, as no test looks at them."""
    return style.plt.rc_context({"savefig.dpi": 30, "figure.constrained_layout.use": False})


def draw(settings: Settings, room: str) -> list[str]:
    """Draw a room's figures; return their names."""
    with coarse():
        figures.make(reading.Runs(settings, room), reading.figures(settings), captions(room, "figures"))
    return sorted({path.stem for path in Path(reading.figures(settings)).glob("*.png")})
