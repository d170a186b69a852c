"""The check of a scale's weighting rules, remembered, since it imports torch: half of the time that a plan takes."""

import hashlib
from pathlib import Path

from experiments.config import Settings
from experiments.files import fingerprint

FOLDER = Path(".snakemake/checked")
"""Where Snakemake keeps what it knows of a working directory; an empty file for each check that passed."""


def check_weightings(settings: Settings, source: str) -> None:
    """Build every weighting rule of the scale once, unless these settings have passed with this code before.

    Raises:
        UserError: one line naming `source` and the key.
    """
    root = Path(__file__).parent.parent
    code = [
        path for folder in ("experiments/weightings", "softadapt", "models") for path in root.glob(f"{folder}/*.py")
    ]
    passed = FOLDER / f"{hashlib.sha256(settings.model_dump_json().encode()).hexdigest()}-{fingerprint(sorted(code))}"
    if passed.exists():
        return
    from experiments import weightings

    weightings.check(settings, source)
    passed.parent.mkdir(parents=True, exist_ok=True)
    passed.touch()
