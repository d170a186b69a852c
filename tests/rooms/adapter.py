"""What the tests of answers ask of the code under test: the one place that knows where it lives.

Everything else in this folder is made by the tests (`synthetic`) or worked out in them.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.evidence import claims, figures, manuscript, reading, rows, style
from experiments.evidence import tables as tabulating
from experiments.evidence.specifications import Choice, Claim, Ledger, load_ledger
from experiments.evidence.statistics import Estimate, Failed, NotRun, decide
from experiments.gradient_descent.settings import DIVERGED, NOT_CONVERGED
from experiments.runs.errors import UserError
from experiments.runs.files import ROOT
from experiments.runs.jobs import captions
from experiments.runs.validation import validate
from experiments.scale import ROOMS, Settings

__all__ = ["DIVERGED", "NAMESAKES", "NOT_CONVERGED", "ROOT", "Estimate", "Failed", "NotRun", "UserError"]

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


def measure(settings: Settings, name: str, **arguments: Any) -> Any:
    """One measurement, by the name that claims.yaml gives it: an estimate, or None where there is nothing to measure."""
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


def judged(
    settings: Settings, entries: list[dict[str, Any]], choices: dict[str, list[Any]] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Claims as claims.yaml has them, measured and judged: a row a claim, by id, and a row a specification.

    Args:
        settings: of the scale.
        entries: claims. Those that name no family are the paper's.
        choices: the options of what is open.
    """
    common = {"family": "paper", "where": "here", "statement": "It is so."}
    made = [Claim.model_validate(common | entry) for entry in entries]
    known = {name: Choice(open="It is.", options=dict.fromkeys(of, "so")) for name, of in (choices or {}).items()}
    table, specified = claims.judge(made, Ledger(choices=known, claims=made), all_findings(settings))
    return table.set_index("id"), specified


def ledger(
    settings: Settings, entries: list[dict[str, Any]], choices: dict[str, list[Any]] | None = None
) -> pd.DataFrame:
    """The rows of the claims of `judged`."""
    return judged(settings, entries, choices)[0]


def write_ledger(settings: Settings, entries: list[dict[str, Any]] | None = None) -> None:
    """What the claims command leaves behind, of some claims, or of those in claims.yaml whose rows were gathered."""
    if entries is None:
        found, real = all_findings(settings), load_ledger()
        table, specified = claims.judge([claim for claim in real.claims if claim.room in found], real, found)
    else:
        table, specified = judged(settings, entries)
        table = table.reset_index()
    tabulating.write_table(table, reading.results(settings), "claims")
    tabulating.write_table(specified, reading.results(settings), "specifications")


def judge(rule: dict[str, float], estimate: Estimate) -> str:
    """What one measurement says about a rule: supports, contradicts or undecided."""
    ((kind, bound),) = rule.items()
    return decide(kind, bound, estimate)[0]


def tune(settings: Settings, run: str, method: str, half: int, **how: Any) -> Any:
    """A descent method at the settings that a half of the starts chooses: at its best beta and its own step size."""
    function, step_rule = run.split("-")
    how = {"tuned": "expected", "step_size": "own", "beta": "best"} | how
    return findings(settings, "gradient_descent").sweep(function, step_rule).chosen(method, half=half, **how)


def tuned_lambda(settings: Settings) -> str:
    """The fixed method that SoftAdapt is held against."""
    return findings(settings, "sparse_autoencoder").tuned_lambda


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
