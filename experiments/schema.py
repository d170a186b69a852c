"""What all settings share: strictness, and the description of a weighting rule."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict

WEIGHTINGS_FOLDER = Path(__file__).parent / "weightings"


class Strict(BaseModel):
    """Base of all settings: unknown keys are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _check_rule(spec: dict[str, Any]) -> dict[str, Any]:
    rules = sorted(path.stem for path in WEIGHTINGS_FOLDER.glob("[a-z]*.py"))
    if spec.get("rule") not in rules:
        raise ValueError(f"rule must be one of {', '.join(rules)}, got {spec.get('rule')!r}")
    return spec


WeightingSpec = Annotated[dict[str, Any], AfterValidator(_check_rule)]
"""``{rule: NAME, ...}``: NAME is a file in experiments/weightings, the other keys are that file's settings."""
