"""How long Snakemake plans the paper's whole workflow with ten seeds: the dry run, as a process of its own.

make bench

The target is five seconds. It holds for the first plan of a config too, which imports torch to check the weighting
rules. Later plans skip rules that were checked before.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from experiments.scale import read

SNAKEMAKE = [sys.executable, "-m", "snakemake", "--cores", "1", "--dry-run", "--quiet", "all", "--nolock"]


@pytest.fixture
def ten_seeds(tmp_path):
    """The paper's scale with ten seeds, under a name of its own, so that no finished run shortens the plan."""
    values = read("config/paper.yaml") | {"scale": "paper-ten-seeds"}
    for experiment in ("sparse_autoencoder", "introvae"):
        values[experiment]["seeds"] = list(range(10))
    config = tmp_path / "paper-ten-seeds.yaml"
    config.write_text(yaml.safe_dump(values), encoding="utf-8")
    return config


@pytest.mark.parametrize("plan", ["first", "later"])
def test_plan_of_the_papers_scale(benchmark, ten_seeds, plan):
    benchmark.group = "dry run of the paper's scale with ten seeds"
    checked = Path(".snakemake/checked")

    def forget():
        if plan == "first":
            shutil.rmtree(checked, ignore_errors=True)

    def dry_run():
        subprocess.run([*SNAKEMAKE, "--configfile", str(ten_seeds)], check=True, capture_output=True)

    dry_run()
    benchmark.pedantic(dry_run, setup=forget, rounds=5)
