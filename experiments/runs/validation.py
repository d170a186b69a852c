"""Read YAML files and check their values against a model; each mistake becomes one line that names its place."""

import difflib
import reprlib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from experiments.runs.errors import UserError


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which refuses a key that is given twice instead of keeping the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        repeated = [key for position, key in enumerate(keys) if key in keys[:position]]
        if repeated:
            raise yaml.MarkedYAMLError(problem=f"key {repeated[0]} is given twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path | str) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        UserError: naming the place, if the file is missing, malformed, holds a key twice, or is not a mapping.
    """
    try:
        value = yaml.load(Path(path).read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); name an existing config file") from error
    except Exception as error:  # YAML's own errors, and those of its readers of dates, numbers and deep nesting
        raise UserError(f"{path}: not valid YAML ({_shortened(str(error))})") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected keys and values, found {type(value).__name__}")
    return value


_SHORT = reprlib.Repr()
"""Shows a value within a line: a few YAML aliases may describe an endless one."""
_SHORT.maxstring = _SHORT.maxother = 100


def _shortened(text: str) -> str:
    """`text` in one line of at most 400 characters."""
    line = " ".join(text.split())
    return line if len(line) <= 400 else f"{line[:400]}..."


Model = TypeVar("Model", bound=BaseModel)


def validate(model: type[Model], values: dict[str, Any], source: str) -> Model:
    """Check `values` against `model`; the first error becomes a one-line `UserError` naming `source` and the key."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"] if part != "[key]") or "settings"
        if first["type"] == "extra_forbidden":
            message = "unknown key" + _suggest(str(first["loc"][-1]), model, first["loc"][:-1])
        elif first["type"] == "missing":
            message = "key is missing"
        else:
            message = first["msg"].removeprefix("Value error, ")
            if first["type"] != "value_error":
                message += f", got {_SHORT.repr(first['input'])}"
        raise UserError(f"{source}: {_shortened(key)}: {_shortened(message)}") from error


def _suggest(unknown: str, model: type[BaseModel], location: tuple[int | str, ...]) -> str:
    for part in location:
        field = model.model_fields.get(str(part))  # None for the name of a method
        model = (model_in(field.annotation) if field else None) or model
    close = difflib.get_close_matches(unknown, model.model_fields, n=1)
    return f", did you mean {close[0]}?" if close else f"; known are {', '.join(model.model_fields)}"


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model in ``Model``, ``Model | None`` or ``dict[str, Model]``; None for any other type."""
    candidates = [annotation, *getattr(annotation, "__args__", ())]
    return next((each for each in candidates if isinstance(each, type) and issubclass(each, BaseModel)), None)
