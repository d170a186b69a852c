"""Base of all rooms: strict settings, weighting rules by name, and the questions that the workflow asks an experiment.

A room is an experiment's folder. Its ``settings.py`` defines a `Section`, the part of a config file that the room reads.
Importing this module needs neither torch nor pandas, so that ``--help`` and the plan of the workflow are fast.
"""

import itertools
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTINGS_FOLDER = Path(__file__).parent.parent / "weightings"

MOST = {"history": 500, "update_every": 10**9}
"""Largest values of a rule's options: memory grows with the history, and the time for its stencils with its cube."""


LARGEST_INTEGER = 2**53
"""Largest whole number in settings: beyond it floating-point numbers skip some, and 2^63 and more are no seeds of torch."""


class Strict(BaseModel):
    """Base of all settings: an unknown key, an infinity or a NaN is an error, and values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _check_size(cls, value: Any) -> Any:
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, int) and abs(each) > LARGEST_INTEGER:
                raise ValueError(f"must be at most 2^53 = {LARGEST_INTEGER}")
        return value


def known_rules() -> list[str]:
    """Return the sorted names of the weighting rules, which are the names of their files."""
    return sorted(path.stem for path in WEIGHTINGS_FOLDER.glob("[a-z]*.py"))


def _check_rule(spec: dict[str, Any]) -> dict[str, Any]:
    rules = known_rules()
    if spec.get("rule") not in rules:
        raise ValueError(f"rule must be one of {', '.join(rules)}, got {reprlib.repr(spec.get('rule'))}")
    for key, most in MOST.items():
        if _exceeds(spec.get(key), most):
            raise ValueError(f"{key} must be at most {most}")
    return spec


def _exceeds(value: Any, most: int) -> bool:
    try:
        return float(value) > most
    except OverflowError:
        return True
    except (TypeError, ValueError):  # not a number: the rule's own settings judge it
        return False


def _distinct(values: list[Any]) -> list[Any]:
    repeated = sorted({value for value in values if values.count(value) > 1})
    if repeated:
        raise ValueError(f"each value may stand once, but {', '.join(map(str, repeated))} is repeated")
    return values


def _check_plain(text: str) -> str:
    if "$" in text or not text.isprintable():
        raise ValueError(f"must be one line of text without $, which begins a formula in a figure, got {text!r:.100}")
    return text


WeightingSpec = Annotated[dict[str, Any], AfterValidator(_check_rule)]
"""``{rule: NAME, ...}``: NAME is a file in experiments/weightings, the other keys are that file's settings."""

Seeds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1), AfterValidator(_distinct)]
"""Seeds of the runs of one method. A seed listed twice would count one run as two observations."""

ReportEpochs = Annotated[list[Annotated[int, Field(gt=0)]], Field(min_length=4, max_length=4)]
"""The four epochs at which the paper's tables report."""

Distinct = AfterValidator(_distinct)

PlainText = Annotated[str, AfterValidator(_check_plain)]
"""Text that figures and messages show, or a folder."""

MethodName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*$", max_length=100)]
"""Name of a method. It is the name of a folder and a word of a command line, so that it holds no other characters."""


def check_report_epochs(report_epochs: list[int], epochs: int) -> None:
    """Raise ValueError unless `report_epochs` increase and end by the last epoch."""
    if report_epochs != sorted(set(report_epochs)) or report_epochs[-1] > epochs:
        raise ValueError(f"report_epochs {report_epochs} must increase and end by epoch {epochs}")


class Context(NamedTuple):
    """Facts about a loss that the rule weighing it may use.

    Attributes:
        names: names of the loss components, in the order of the weights.
        steps_per_epoch: number of training steps in an epoch, for rules that change their weights once an epoch.
        shared: parameters that every component depends on, for rules that look at gradients; empty where a rule is only
            checked.
        source: where the rule's options were written, for messages.
        schedule: weights (steps, K) of another run, for the rule that replays them.
    """

    names: tuple[str, ...]
    steps_per_epoch: int = 1
    shared: "tuple[Tensor, ...]" = ()
    source: str = "weighting"
    schedule: "Tensor | None" = None


class Section(Strict):
    """Settings of one experiment at one scale, and the answers that the workflow needs from the experiment.

    A room overrides what differs from the defaults here. Methods whose answer depends on other sections take the whole
    scale as `scale`.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    """Other sections that a scale with this one must have."""

    trains: ClassVar[bool] = False
    """Whether a run trains by epochs and saves checkpoints within them."""

    leaves: ClassVar[tuple[str, ...]] = ()
    """Files that a run leaves besides those that every run leaves."""

    def choices(self) -> dict[str, list[str]]:
        """Options that tell the runs of a seed apart, each with its values, as ``{"method": ["fixed", "softadapt"]}``."""
        return {}

    def names(self) -> list[str]:
        """Names of the runs of a seed: the values of `choices`, joined by hyphens, or ``default`` for a single run."""
        return ["-".join(values) or "default" for values in itertools.product(*self.choices().values())]

    def all_seeds(self) -> list[int]:
        """Seeds of the runs."""
        return list(getattr(self, "seeds", None) or [self.seed])  # type: ignore[attr-defined]

    def seeds_of(self, name: str) -> list[int]:
        """Seeds of the runs of one name: all of them, or the first few."""
        return self.all_seeds()

    def follows(self, name: str) -> list[str]:
        """Names of the runs of this room that the runs of one name read."""
        return []

    def weightings(self, name: str) -> list[str]:
        """Names of the weighting rules that the run `name` builds. The run depends on their files."""
        return []

    def data(self) -> list[str]:
        """Names of the data sets that the runs read."""
        return []

    def identity(self, variant: Mapping[str, str], scale: Any) -> dict[str, Any]:
        """Plain values that decide a run's numbers, besides its seed and its code.

        Args:
            variant: one value of each of `choices`.
            scale: settings of the whole scale.
        """
        return {"settings": self.model_dump(mode="json", exclude={"seed", "seeds", "methods"})}

    def not_drawn(self) -> set[str]:
        """Names of the room's figures that need runs which these settings leave out."""
        return set()

    def minutes(self, scale: Any) -> float:
        """Minutes that a job takes on a slow core, without start-up."""
        return 50.0

    def megabytes(self, scale: Any) -> int:
        """Memory that a job takes, in megabytes."""
        return 2500


def rules_of(values: Any) -> list[str]:
    """Return the sorted names of all weighting rules anywhere in plain settings values."""
    if isinstance(values, Mapping):
        own = [str(values["rule"])] if "rule" in values else []
        return sorted({*own, *(rule for value in values.values() for rule in rules_of(value))})
    return []


def run_folder(scale: str, room: str, name: str, seed: object) -> Path:
    """Return the folder in which the workflow keeps a run."""
    return Path("results", scale, "runs", room, name, f"seed-{seed}")
