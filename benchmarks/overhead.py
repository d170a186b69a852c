"""What share of a workflow's time its runs did not get: start-up and imports of their jobs, and the jobs that train nothing.

    python -m benchmarks.overhead results/laptop

Read from what the workflow leaves anyway: the seconds of every job (``benchmarks/*.tsv``) and of every run
(``provenance.json``: from the opening of its folder to its results, and of that the training, where a run tells it apart
from reading data and evaluation). Snakemake's own time between jobs is not in these files; `make bench` times its plan.
"""

import argparse
import csv
import json
from dataclasses import dataclass
from pathlib import Path

from experiments.errors import UserError, run_main

ANALYSIS = "tables, figures, claims, paper, report"


@dataclass
class Share:
    """Seconds of the jobs of one kind.

    Attributes:
        jobs: number of jobs.
        wall: seconds that the jobs took.
        runs: seconds of `wall` within runs; 0 for jobs without.
        training: seconds of `runs` spent training, as far as runs tell; else all of `runs`.
    """

    jobs: int = 0
    wall: float = 0.0
    runs: float = 0.0
    training: float = 0.0

    @property
    def overhead(self) -> float:
        """Share of the jobs' time that is outside their runs, 0 to 1."""
        return 1 - self.runs / self.wall


def shares(results: Path) -> dict[str, Share]:
    """Experiment -> what its jobs took, those of the analysis together.

    Raises:
        UserError: if `results` is not the folder of a scale with finished runs.
    """
    benchmarks = sorted((results / "benchmarks").rglob("*.tsv"))
    provenances = sorted((results / "runs").glob("*/*/*/provenance.json"))
    if not benchmarks or not provenances:
        raise UserError(f"{results}: no finished runs; name the results of a scale, as results/laptop")
    found: dict[str, Share] = {}
    for path in provenances:
        times = json.loads(path.read_text(encoding="utf-8"))["times"]
        share = found.setdefault(path.relative_to(results / "runs").parts[0], Share())
        share.runs += times["total"]
        share.training += times.get("train", times["total"])
    for path in benchmarks:
        name = path.relative_to(results / "benchmarks").parts[0].removesuffix(".tsv").rsplit("-", 1)[0]
        share = found.setdefault(name if name in found else ANALYSIS, Share())
        with path.open(newline="", encoding="utf-8") as file:
            share.wall += sum(float(row["s"]) for row in csv.DictReader(file, delimiter="\t"))
        share.jobs += 1
    return found


def total(parts: dict[str, Share]) -> Share:
    """All kinds of jobs together."""
    rows = parts.values()
    return Share(*(sum(getattr(row, name) for row in rows) for name in ("jobs", "wall", "runs", "training")))


def main() -> None:
    """The command line: a table on stdout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="results of a scale, as results/laptop")
    found = shares(parser.parse_args().results)
    print(f"{'':40}{'jobs':>6}{'seconds':>10}{'in runs':>10}{'training':>10}{'outside runs':>14}")
    for name, share in [*found.items(), ("all", total(found))]:
        times = f"{share.wall:10.0f}{share.runs:10.0f}{share.training:10.0f}{share.overhead:13.1%}"
        print(f"{name:40}{share.jobs:6}{times}")


if __name__ == "__main__":
    run_main(main)
