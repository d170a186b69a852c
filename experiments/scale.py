"""Settings of a scale: one YAML file, one section per room. `Settings` is the only list of rooms."""

import reprlib
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from experiments.digit_classifier.settings import DigitClassifierSettings
from experiments.gradient_descent.settings import GradientDescentSettings
from experiments.introvae.settings import IntroVAESettings
from experiments.namesakes.settings import NamesakesSettings
from experiments.niqe_collapse.settings import NiqeCollapseSettings
from experiments.runs.errors import UserError
from experiments.runs.room import PlainText, Section, Strict
from experiments.runs.validation import model_in, read_yaml, validate
from experiments.sparse_autoencoder.settings import SparseAutoencoderSettings
from experiments.step_cost.settings import StepCostSettings

DEFAULT = "config/laptop.yaml"
"""The scale that runs where none is named."""


class Settings(Strict):
    """Everything that one scale of the suite is run with. A scale may leave rooms out."""

    scale: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", description="name of the folder below results and figures")
    data_dir: PlainText = Field(min_length=1, description="folder of the data sets")
    gpus: int = Field(default=0, ge=0, description="GPUs that an IntroVAE job asks for; several train data parallel")
    label: PlainText = Field(default="", description="title of the IntroVAE figures, where their data need one")
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


def files(path: Path | str) -> list[Path]:
    """Return the files that a scale's settings come from: its own, then the one that its key ``base`` names, and so on."""
    return [file for file, _ in _layers(path)]


def read(path: Path | str) -> dict[str, Any]:
    """Read the plain values of a scale's file, laid over those of the file beside it that its key ``base`` names, if any.

    Mappings are merged key by key. Other values replace those of the base, and so does a weighting rule with all its options.
    A null removes what the base has. ``only`` names the entries of the base's mapping that stay, among those that are
    mappings themselves, such as the sections of a scale or its methods.

    Raises:
        UserError: one line, if a file cannot be read, is its own base, or keeps what its base lacks.
    """
    (_, values), *changes = reversed(_layers(path))
    for file, change in changes:
        values = _laid_over(values, change, str(file))
    return values


def _layers(path: Path | str) -> list[tuple[Path, dict[str, Any]]]:
    """The files of `files`, each with its values."""
    layers: list[tuple[Path, dict[str, Any]]] = []
    base: Any = Path(path).name
    while base is not None:
        file = (layers[-1][0] if layers else Path(path)).parent / str(base)
        if any(file.resolve() == other.resolve() for other, _ in layers):
            raise UserError(f"{layers[-1][0]}: base: {base} is itself based on this file; name another, or none")
        layers.append((file, read_yaml(file)))
        base = layers[-1][1].pop("base", None)
        if base is not None and not (isinstance(base, str) and base and base.isprintable()):
            raise UserError(f"{file}: base: must be the name of a file beside this one")
    return layers


def _laid_over(base: dict[str, Any], changes: dict[str, Any], source: str) -> dict[str, Any]:
    """The values of `base` with `changes`; `source` is the place of the changes, for messages."""
    merged, changes = dict(base), dict(changes)
    if not isinstance(changes.get("only", {}), dict):  # a mapping is an entry of that name
        kept = changes["only"] if isinstance(changes["only"], list) else [changes["only"]]
        del changes["only"]
        entries = [key for key, value in base.items() if isinstance(value, dict)]
        if unknown := [name for name in kept if name not in entries]:
            raise UserError(
                f"{source}: only: {reprlib.repr(unknown[0])} is not in the base; choose from {', '.join(entries)}"
            )
        merged = {key: value for key, value in base.items() if key not in entries or key in kept}
    for key, value in changes.items():
        inner = merged.get(key)
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and "rule" not in value and isinstance(inner, dict):
            merged[key] = _laid_over(inner, value, f"{source}: {key}")
        else:
            merged[key] = value
    return merged


def load(path: Path | str) -> Settings:
    """Load and check one scale.

    Raises:
        UserError: one line naming the file and the key.
    """
    return validate(Settings, read(path), str(path))
