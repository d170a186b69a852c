"""Check the options of `SoftAdapt`, and write them and the components' names into its state."""

import struct
from collections.abc import Mapping, Sequence
from math import isfinite
from operator import index
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from softadapt.functional import Method, Rate

Variant = Literal["loss_weighted", "original"]
Missing = Literal["error", "hold"]

LONGEST_NAME = 64
"""Bytes of UTF-8. Every saved name takes so many and one more, so that the state's size depends on K alone."""

_CHOICES: dict[str, tuple[str, ...]] = {
    "variant": get_args(Variant),
    "rate": get_args(Rate),
    "method": get_args(Method),
    "missing": get_args(Missing),
}
_INTEGERS = ("history", "order", "update_every", "refresh_every")
_BOOLEANS = ("normalize", "mean_over_history")
_SAVED = (*_CHOICES, *_INTEGERS, *_BOOLEANS, "beta", "total")
"""Options that are saved as one number each, in this order. The prior follows, K numbers, all zero if there is none."""


def choice(option: str, value: Any) -> Any:
    """Return `value` if it is one of the option's choices."""
    if value not in _CHOICES[option]:
        raise ValueError(f"{option} must be one of {', '.join(_CHOICES[option])}, got {value!r}")
    return value


def integer(option: str, value: Any, *, at_least: int) -> int:
    """Return `value`, an integer of any library, as an int."""
    try:
        if not isinstance(value, bool) and (number := index(value)) >= at_least:
            return number
    except TypeError:
        pass
    raise ValueError(f"{option} must be an integer of at least {at_least}, got {value!r}")


def real(option: str, value: Any) -> float:
    """Return `value`, a real number of any library, as a float."""
    try:
        if not isinstance(value, (bool, str, bytes)):
            return float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        pass
    raise ValueError(f"{option} must be a real number, got {value!r}")


def finite(option: str, value: Any) -> float:
    """Return `value`, a finite real number of any library, as a float."""
    if not isfinite(number := real(option, value)):
        raise ValueError(f"{option} must be finite, got {value!r}")
    return number


def boolean(option: str, value: Any) -> bool:
    """Return `value` if it is a bool."""
    if not isinstance(value, bool):
        raise ValueError(f"{option} must be True or False, got {value!r}")
    return value


def positive_numbers(option: str, values: Sequence[float] | Tensor, count: int) -> list[float]:
    """Return `count` positive finite numbers of any library as floats."""
    try:
        numbers = [real(f"each number of {option}", value) for value in values]
    except TypeError:
        raise ValueError(f"{option} must hold {count} numbers, got {values!r}") from None
    if len(numbers) != count:
        raise ValueError(f"{option} must hold {count} numbers, got {numbers}")
    if not all(isfinite(number) and number > 0 for number in numbers):
        raise ValueError(f"{option} must hold positive finite numbers, got {numbers}")
    return numbers


def total_within(total: float, dtype: torch.dtype) -> float:
    """Return `total` if weights of `dtype` can sum to it."""
    limits = torch.finfo(dtype)
    if not limits.tiny <= total <= limits.max:
        raise ValueError(f"total must be a positive number in the range of {dtype}, got {total!r}")
    return total


def wide(dtype: Any) -> torch.dtype:
    """Return the dtype of the state for a module of `dtype`: single precision at least."""
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ValueError(f"dtype must be a floating point torch.dtype, got {dtype!r}")
    return dtype if torch.finfo(dtype).bits >= 32 else torch.float32


def names_of(names: Sequence[str] | Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the components, which are distinct texts that fit into the saved state."""
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f"the losses' names must be texts, got {name!r}")
        if len(name.encode()) > LONGEST_NAME:
            raise ValueError(
                f"a loss's name may have {LONGEST_NAME} bytes of UTF-8, got {len(name.encode())}: {name!r}"
            )
    if len(set(names)) < len(names):
        raise ValueError(f"the losses' names must differ, got {', '.join(names)}")
    return tuple(names)


def number_or_names(losses: int | Sequence[str]) -> tuple[int, tuple[str, ...] | None]:
    """Return the number of components and, where they are given, their names."""
    try:
        if isinstance(losses, Sequence) and not isinstance(losses, (str, bytes)):
            return integer("losses", len(losses), at_least=1), names_of(losses)
        return integer("losses", losses, at_least=1), None
    except ValueError as error:
        raise ValueError(f"{error}; losses takes a number of at least 1, or a sequence of names") from None


def pack(options: Mapping[str, Any], names: tuple[str, ...] | None, num_losses: int, filled: bool) -> Tensor:
    """Options, names and whether the buffers hold a state, as bytes, uint8; their number depends on `num_losses` alone."""
    numbers = [float(filled), *(_as_number(option, options[option]) for option in _SAVED)]
    numbers += options["prior"] or [0.0] * num_losses
    slots = [_as_slot(name) for name in names] if names else [bytes(LONGEST_NAME + 1)] * num_losses
    return torch.tensor(
        list(struct.pack(f"<{len(numbers)}d", *numbers) + b"".join(slots)), dtype=torch.uint8, device="cpu"
    )


def unpack(state: Tensor, num_losses: int) -> tuple[dict[str, Any], tuple[str, ...] | None, bool]:
    """Return what `pack` wrote: the options, the names, and whether the buffers beside it hold a state.

    Raises:
        ValueError: if `state` was not written for so many losses by this version.
    """
    count, slot = 1 + len(_SAVED) + num_losses, LONGEST_NAME + 1
    data = bytes(state.tolist())
    if len(data) != 8 * count + slot * num_losses:
        raise ValueError(
            f"the saved state of SoftAdapt is not one of {num_losses} losses, or another version of softadapt wrote it"
        )
    filled, *numbers = struct.unpack_from(f"<{count}d", data)
    options = {option: _from_number(option, number) for option, number in zip(_SAVED, numbers, strict=False)}
    options["prior"] = numbers[len(_SAVED) :] if any(numbers[len(_SAVED) :]) else None
    slots = [data[start : start + slot] for start in range(8 * count, len(data), slot)]
    names = tuple(text[1 : text[0]].decode() for text in slots) if slots[0][0] else None
    return options, names, bool(filled)


def _as_number(option: str, value: Any) -> float:
    return float(_CHOICES[option].index(value) if option in _CHOICES else value or 0)


def _from_number(option: str, number: float) -> Any:
    if option in _CHOICES:
        return _CHOICES[option][int(number)]
    if option in _BOOLEANS:
        return bool(number)
    return (int(number) or None) if option in _INTEGERS else number


def _as_slot(name: str) -> bytes:
    """The end of the name in its slot as one byte, 0 where there is no name; then the name, padded with zeros."""
    text = name.encode()
    return bytes([1 + len(text)]) + text.ljust(LONGEST_NAME, b"\0")
