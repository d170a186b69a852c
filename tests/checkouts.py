"""Copies of what the workflow needs, so that a test may run it, edit its sources and leave results."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

COPIED = ("Snakefile", "config", "experiments", "models", "softadapt", "paper", "profiles", "results/reference")


def copy(folder):
    """Copy the working tree's sources and committed tables into a new folder."""
    for part in COPIED:
        target = folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if Path(part).is_dir():
            shutil.copytree(part, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(part, target)
    return folder


def snakemake(folder, *options):
    """Run the workflow in a copy on one core."""
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", *options],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": ".", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
