"""What all settings share: strictness, and the description of a weighting rule."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict

WEIGHTINGS_FOLDER = Path(__file__).parent / "weightings"

MOST = {"history": 500, "update_every": 10**9}
"""Largest values of a rule's options: a history takes memory, and its stencils time that grows with its cube."""


class Strict(BaseModel):
    """Base of all settings: unknown keys are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _check_rule(spec: dict[str, Any]) -> dict[str, Any]:
    rules = sorted(path.stem for path in WEIGHTINGS_FOLDER.glob("[a-z]*.py"))
    if spec.get("rule") not in rules:
        raise ValueError(f"rule must be one of {', '.join(rules)}, got {spec.get('rule')!r}")
    for key, most in MOST.items():
        if _exceeds(spec.get(key), most):
            raise ValueError(f"{key} must be at most {most}")
    return spec


def _exceeds(value: Any, most: int) -> bool:
    try:
        return float(value) > most
    except OverflowError:
        return True
    except (TypeError, ValueError):  # no number: the rule's own settings judge it
        return False


WeightingSpec = Annotated[dict[str, Any], AfterValidator(_check_rule)]
"""``{rule: NAME, ...}``: NAME is a file in experiments/weightings, the other keys are that file's settings."""
