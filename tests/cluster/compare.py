"""What one_node_slurm.sh left: counts of jobs, and whether the cluster's results are those of the local run, byte for byte.

A job that was told to stop resumes from a checkpoint; one that was killed at once only if it was old enough to have one.

Compared are all runs' metrics, histories, samples and weights, the tables, and the specifications of the claims. Exempt is what
measures time: the experiment step_cost, its claims, and the columns of seconds in other tables.
"""

import argparse
import csv
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

RESULTS = Path("results", "smoke")
RUN_FILES = ("metrics.json", "history.csv", "samples.npz", "weights.pt")


def compared_files(clone: Path) -> set[Path]:
    """The files below `clone` that do not depend on how long anything took, relative to it."""
    runs = [path for name in RUN_FILES for path in (clone / RESULTS / "runs").rglob(name)]
    tables = [*(clone / RESULTS / "tables").glob("*.csv"), *(clone / RESULTS).glob("specifications.csv")]
    return {path.relative_to(clone) for path in [*runs, *tables] if "step_cost" not in str(path)}


def content(path: Path) -> object:
    """Bytes of a run's file; cells of a table without its columns of seconds and its rows on costs."""
    if path.name in RUN_FILES:
        return path.read_bytes()
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if not row.get("id", "").endswith("-cost")]
        return [{key: cell for key, cell in row.items() if "seconds" not in key} for row in rows]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, help="folder with the clones cluster and local, and their logs")
    parser.add_argument("--killed", type=int, default=0, help="jobs that were killed, and so must have been retried")
    options = parser.parse_args(arguments)
    cluster, local = options.work / "cluster", options.work / "local"
    log = (options.work / "cluster.log").read_text(encoding="utf-8")
    ended = re.findall(r"JobState=(\S+)", (options.work / "state" / "jobs.txt").read_text(encoding="utf-8"))
    logs = (path.read_text(encoding="utf-8") for path in (cluster / RESULTS / "logs").rglob("*.log"))
    resumed = sum("going on from its checkpoint" in text for text in logs)
    retried = len(re.findall(r"^Trying to restart job", log, re.MULTILINE))
    groups = len(set(re.findall(r"Group job (\S+) \(jobs in lexicogr", log)))
    files, others = compared_files(cluster), compared_files(local)
    differing = sorted(path for path in files & others if content(cluster / path) != content(local / path))
    kinds = Counter(path.name if path.name in RUN_FILES else "tables" for path in files & others)
    rows = {
        "jobs that SLURM ran": f"{len(ended)} ({', '.join(f'{n} {state}' for state, n in Counter(ended).items())})",
        "of which group jobs": groups,
        "killed": options.killed,
        "retried": retried,
        "of which resumed": resumed,
        "files compared": f"{len(files & others)} ({', '.join(f'{n} {name}' for name, n in sorted(kinds.items()))})",
        "only on one side": len(files ^ others),
        "differing": len(differing),
    }
    for name, value in rows.items():
        print(f"{name:22}{value}")
    for path in [*differing, *sorted(files ^ others)]:
        print(f"  {path}")
    sound = files and not differing and files == others and retried == options.killed and 1 <= resumed <= retried
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
