"""What share of a workflow's time went into other things than runs: start-up of jobs, and jobs that train nothing.

    python -m benchmarks.overhead results/laptop --elapsed 0:41:24 --cores 2

The numbers come from files that the workflow leaves anyway. ``benchmarks/*.tsv`` has the seconds of every job.
``provenance.json`` has the seconds of every run, from the opening of its folder to its results, and how many of them
were training, where the run tells that apart. No file has Snakemake's own time or the time of idle cores; both are
what remains of the time that Snakemake prints at the end, given by ``--elapsed``. An interrupted run counts its
earlier attempts too.
"""

import argparse
import csv
import json
from dataclasses import dataclass
from pathlib import Path

from experiments.runs.errors import UserError, run_main

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
    parser.add_argument(
        "--elapsed", type=_seconds, metavar="H:MM:SS", help="of the whole workflow, as Snakemake says it"
    )
    parser.add_argument("--cores", type=int, default=1, help="that the workflow had (default: %(default)s)")
    options = parser.parse_args()
    found = shares(options.results)
    print(f"{'':40}{'jobs':>6}{'seconds':>10}{'in runs':>10}{'training':>10}{'outside runs':>14}")
    for name, share in [*found.items(), ("all", total(found))]:
        times = f"{share.wall:10.0f}{share.runs:10.0f}{share.training:10.0f}{share.overhead:13.1%}"
        print(f"{name:40}{share.jobs:6}{times}")
    if options.elapsed:
        print(f"\nof {options.cores} x {options.elapsed:.0f} s:")
        for name, part in parts_of(total(found), options.cores * options.elapsed).items():
            print(f"  {name:40}{part:6.1%}")


def parts_of(share: Share, available: float) -> dict[str, float]:
    """Where the processor time `available` to a whole workflow went, as shares of it that add up to 1."""
    seconds = {
        "training, descent, audits": share.training,
        "evaluation, data, writing of runs": share.runs - share.training,
        "start-up of jobs, and the analysis": share.wall - share.runs,
        "planning, and cores without a job": available - share.wall,
    }
    return {name: value / available for name, value in seconds.items()}


def _seconds(text: str) -> float:
    """Seconds of H:MM:SS, as argparse wants it."""
    try:
        hours, minutes, seconds = text.split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a time like 0:41:24") from None


if __name__ == "__main__":
    run_main(main)
