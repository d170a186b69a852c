"""Which code a run's numbers come from: what makes it stale when it changes, and is part of its identity."""

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from experiments.schema import WEIGHTINGS_FOLDER

SOURCES = {
    "gradient_descent": (
        "softadapt/*.py",
        "models/test_functions.py",
        "experiments/descent_kernel.py",
        "experiments/gradient_descent.py",
    ),
    "digit_classifier": ("models/digit_classifier.py", "experiments/digit_classifier.py", "experiments/data/mnist.py"),
    "sparse_autoencoder": (
        "models/sparse_autoencoder.py",
        "experiments/weightings/__init__.py",
        "experiments/sparse_autoencoder.py",
        "experiments/data/mnist.py",
        "experiments/metrics/classification.py",
    ),
    "introvae": (
        "models/introvae.py",
        "experiments/weightings/__init__.py",
        "experiments/introvae.py",
        "experiments/introvae_updates.py",
        "experiments/ranks.py",
        "softadapt/ranks.py",
        "experiments/data/celeba.py",
        "experiments/data/faces.py",
        "experiments/data/orl_faces.py",
        "experiments/metrics/niqe.py",
        "experiments/metrics/niqe_live_model.npz",
        "experiments/metrics/psnr.py",
        "experiments/metrics/ssim.py",
    ),
    "niqe_collapse": (
        "experiments/audits/niqe_collapse.py",
        "experiments/metrics/niqe.py",
        "experiments/metrics/niqe_live_model.npz",
        "experiments/data/faces.py",
        "experiments/data/orl_faces.py",
    ),
    "five_rules": (
        "models/sparse_autoencoder.py",
        "experiments/weightings/__init__.py",
        "experiments/audits/five_rules.py",
        "experiments/data/mnist.py",
    ),
    "step_cost": (
        "softadapt/*.py",
        "models/introvae.py",
        "models/sparse_autoencoder.py",
        "models/test_functions.py",
        "experiments/audits/step_cost.py",
        "experiments/gradient_descent.py",
        "experiments/introvae_updates.py",
        "experiments/ranks.py",
        "experiments/weightings/__init__.py",
        "experiments/weightings/fixed.py",
        "experiments/weightings/softadapt.py",
    ),
}
"""Experiment -> the code and the fitted model that its numbers come from; a change there makes its runs stale. A run also
depends on the files of its weighting rules."""


def source_files(experiment: str, rules: Iterable[str] = ()) -> list[Path]:
    """The files of `SOURCES` and those of these weighting rules, sorted: a new rule makes no other rule's run stale."""
    root = Path(__file__).parent.parent
    files = {path for pattern in SOURCES[experiment] for path in root.glob(pattern)}
    return sorted(files.union(*(_rule_files(rule) for rule in rules)))


def _rule_files(rule: str) -> set[Path]:
    """A rule's file, those in its folder that it imports, and the library if it does."""
    path = WEIGHTINGS_FOLDER / f"{rule}.py"
    files = {path}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom):
            continue
        if (node.module or "").split(".")[0] == "softadapt":
            files |= set((WEIGHTINGS_FOLDER.parent.parent / "softadapt").glob("*.py"))
        elif (node.module or "").startswith("experiments.weightings"):
            for name in ((node.module or "").rsplit(".", 1)[-1], *(alias.name for alias in node.names)):
                if (WEIGHTINGS_FOLDER / f"{name}.py").exists():
                    files |= _rule_files(name)
    return files


def rules_of(values: Any) -> list[str]:
    """Names of all weighting rules anywhere in plain settings values."""
    if isinstance(values, Mapping):
        own = [str(values["rule"])] if "rule" in values else []
        return sorted({*own, *(rule for value in values.values() for rule in rules_of(value))})
    return []
