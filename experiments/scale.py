"""Settings of a scale: one YAML file, one section per room. `Settings` is the only list of rooms."""

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from experiments.digit_classifier.settings import DigitClassifierSettings
from experiments.gradient_descent.settings import GradientDescentSettings
from experiments.introvae.settings import IntroVAESettings
from experiments.namesakes.settings import NamesakesSettings
from experiments.niqe_collapse.settings import NiqeCollapseSettings
from experiments.runs.errors import UserError
from experiments.runs.room import Section, Strict
from experiments.runs.validation import model_in, read_yaml, validate
from experiments.sparse_autoencoder.settings import SparseAutoencoderSettings
from experiments.step_cost.settings import StepCostSettings

DEFAULT = "config/laptop.yaml"
"""The scale that runs where none is named."""


class Settings(Strict):
    """Everything that one scale of the suite is run with. A scale may leave rooms out."""

    scale: str = Field(pattern=r"^[a-z0-9-]+$", description="name of the folder below results and figures")
    data_dir: str = Field(min_length=1, description="folder of the data sets")
    gpus: int = Field(default=0, ge=0, description="GPUs that an IntroVAE job asks for; several train data parallel")
    label: str = Field(default="", description="title of the IntroVAE figures, where their data need one")
    gradient_descent: GradientDescentSettings | None = None
    digit_classifier: DigitClassifierSettings | None = None
    sparse_autoencoder: SparseAutoencoderSettings | None = None
    introvae: IntroVAESettings | None = None
    niqe_collapse: NiqeCollapseSettings | None = None
    namesakes: NamesakesSettings | None = None
    step_cost: StepCostSettings | None = None

    @model_validator(mode="after")
    def _check(self) -> "Settings":
        if not self.rooms:
            raise ValueError(f"no experiment; give at least one section of {', '.join(ROOMS)}")
        for name, section in self.rooms.items():
            absent = [need for need in section.needs if need not in self.rooms]
            if absent:
                raise ValueError(f"{name} needs the sections {', '.join(section.needs)}; add {', '.join(absent)}")
        return self

    @property
    def rooms(self) -> dict[str, Section]:
        """The sections that this scale has, by the name of their room, in the order of the fields."""
        return {name: section for name in ROOMS if (section := getattr(self, name)) is not None}

    @property
    def complete(self) -> bool:
        """Whether the scale has every room, as the manuscript needs."""
        return list(self.rooms) == ROOMS

    def section(self, room: str) -> Any:
        """Return the section of a room.

        Raises:
            UserError: if the scale leaves the room out.
        """
        section = self.rooms.get(room)
        if section is None:
            raise UserError(
                f"scale {self.scale}: {room}: this scale leaves the experiment out; add the section, or name a scale that "
                f"has it, as --config {DEFAULT}"
            )
        return section


ROOMS = [name for name, field in Settings.model_fields.items() if model_in(field.annotation)]


def read(path: Path | str) -> dict[str, Any]:
    """Read the plain values of a scale's file, laid over those of the file that its key ``base`` names, if any.

    ``base`` is a path beside the file. Mappings are merged key by key; other values, and weighting rules as a whole, replace the
    base's; a null removes what the base has.

    Raises:
        UserError: if a file cannot be read, or is its own base.
    """
    chain = [Path(path)]
    layers = [read_yaml(path)]
    while (base := layers[-1].pop("base", None)) is not None:
        if not isinstance(base, str) or not base:
            raise UserError(f"{chain[-1]}: base: must be the name of a file beside this one, got {base!r}")
        chain.append(chain[-1].parent / base)
        if chain[-1].resolve() in [file.resolve() for file in chain[:-1]]:
            raise UserError(f"{chain[-2]}: base: {base} is based on this file; name another, or none")
        layers.append(read_yaml(chain[-1]))
    values: dict[str, Any] = {}
    for layer in reversed(layers):
        values = _laid_over(values, layer)
    return values


def _laid_over(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and "rule" not in value:  # the options of another weighting rule do not merge
            inner = merged.get(key)
            merged[key] = _laid_over(inner if isinstance(inner, dict) else {}, value)
        else:
            merged[key] = value
    return merged


def load(path: Path | str) -> Settings:
    """Load and check one scale.

    Raises:
        UserError: one line naming the file and the key.
    """
    return validate(Settings, read(path), str(path))
