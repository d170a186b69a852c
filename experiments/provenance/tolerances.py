"""How far a number may move: ``paper/tolerances.yaml``, read and applied."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import isfinite
from pathlib import Path
from typing import Literal

from pydantic import Field

from experiments.runs.errors import UserError
from experiments.runs.room import Strict
from experiments.runs.validation import read_yaml, validate

Status = Literal["equal", "within tolerance", "moved", "time", "follows", "missing", "new"]


class Tolerance(Strict):
    """A number is within tolerance if any of these allows it."""

    widen: float | None = Field(
        None, ge=0, description="the value lies in the reference's interval, widened by this many widths on either side"
    )
    relative: float = Field(0.0, ge=0, description="distance from the reference, as a share of it")
    absolute: float = Field(0.0, ge=0, description="distance from the reference")
    factor: float | None = Field(None, gt=1, description="quotient of the two, whichever is larger; both positive")

    def __str__(self) -> str:
        given = self.model_dump(exclude_defaults=True)
        return ", ".join(f"{name} {value:g}" for name, value in given.items())


class Tolerances(Strict):
    """The file: the columns that name the rows of each table, and pattern of ``table/row/column`` -> tolerance."""

    keys: dict[str, list[str]]
    tolerances: dict[str, Tolerance | Literal["exact", "time", "follows"]]

    def of(self, name: str) -> Tolerance | str:
        """The first tolerance whose pattern fits.

        Raises:
            UserError: if none does.
        """
        for pattern, tolerance in self.tolerances.items():
            if fnmatchcase(name, pattern):
                return tolerance
        raise UserError(f"paper/tolerances.yaml: tolerances: no pattern fits {name}; add one, or a last one for '*'")


def load_tolerances(path: Path | str = "paper/tolerances.yaml") -> Tolerances:
    """Read and check the file.

    Raises:
        UserError: one line naming the file and the key.
    """
    return validate(Tolerances, read_yaml(path), str(path))


@dataclass(frozen=True)
class Written:
    """A value as written in a table, and its interval, empty where there is none."""

    value: str
    low: str = ""
    high: str = ""

    def __str__(self) -> str:
        interval = f" [{_short(self.low)}, {_short(self.high)}]" if self.low else ""
        return _short(self.value) + interval


def judge(tolerance: Tolerance | str, reference: Written, fresh: Written) -> Status:
    """Judge a fresh value by the reference. Equal means equal to the bit, with the interval: the text is compared."""
    if reference == fresh:
        return "equal"
    if tolerance == "time":
        return "time"
    if tolerance == "follows":
        return "follows"
    if isinstance(tolerance, str):  # exact
        return "moved"
    theirs, ours = number(reference.value), number(fresh.value)
    if theirs is None or ours is None:
        return "moved"
    if abs(ours - theirs) <= max(tolerance.absolute, tolerance.relative * abs(theirs)):
        return "within tolerance"
    if tolerance.factor is not None and ours > 0 < theirs and max(ours / theirs, theirs / ours) <= tolerance.factor:
        return "within tolerance"
    if tolerance.widen is not None and _within(tolerance.widen, reference, ours):
        return "within tolerance"
    return "moved"


def _within(widen: float, reference: Written, value: float) -> bool:
    low, high = number(reference.low), number(reference.high)
    if low is None or high is None:
        return False
    margin = widen * (high - low)
    return low - margin <= value <= high + margin


def number(text: str) -> float | None:
    """The finite number that a text says; None for a word, an empty text, or NaN."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) else None


def _short(text: str) -> str:
    value = number(text)
    if value is None:
        return text or "nothing"
    return text if value.is_integer() else f"{value:.6g}"
