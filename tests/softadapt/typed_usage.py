"""What a type checker must see: `make lint` checks this file, and an ignore that is not needed is an error there."""

from typing import assert_type

import torch
from torch import Tensor

from softadapt import SoftAdapt


def accepted(x: Tensor) -> Tensor:
    """A Tensor comes back."""
    balance = SoftAdapt(["a", "b"], missing="hold", rate="relative")
    assert_type(balance({"a": x, "b": None}), Tensor)
    assert_type(balance([x, 1.0]), Tensor)
    assert_type(balance(x, torch.ones(2, dtype=torch.bool)), Tensor)
    assert_type(balance.weigh((x, x)), Tensor)
    assert_type(balance.named_weights(), dict[str, Tensor])
    assert_type(balance.names, tuple[str, ...] | None)
    balance.observe({"a": x, "b": 1})
    return balance(x)


def rejected(balance: SoftAdapt, x: Tensor) -> None:
    """Wrong losses and options."""
    balance(1.0)  # type: ignore[arg-type]
    balance({"a": "b"})  # type: ignore[dict-item]
    balance.observe(None)  # type: ignore[arg-type]
    balance.weigh(["a"])  # type: ignore[list-item]
    SoftAdapt(2.5)  # type: ignore[arg-type]
    SoftAdapt(2, rate="ratio")  # type: ignore[arg-type]
    SoftAdapt(2, missing=True)  # type: ignore[arg-type]
    balance(x).weights  # type: ignore[attr-defined]  # noqa: B018
