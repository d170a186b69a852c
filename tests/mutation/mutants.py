"""Mutation testing: do the tests notice when one small thing in the code is wrong?

``make mutants`` tries a seeded sample of mutants with the tests of their packages. Of these, mutmut runs those that call the
mutated function, until one fails, in a process forked from one that has imported them already. All this happens in copies
below ``results/mutants``; the working tree is only read. A stopped run goes on where it was, until code, tests, sample or
seed change.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from contextlib import chdir
from pathlib import Path

from copies import WORK, configure, copy_of, draw, is_mutated, make_copy
from mutmut.mutation.diff_apply import get_diff_for_mutant

REPORT = WORK.with_suffix(".md")
OUTCOMES = ("killed", "timeout", "survived", "unreached", "unfinished")
OUTCOME = {None: "unfinished", 0: "survived", 5: "unreached", 33: "unreached"}  # by exit code, as in mutmut's stats.py
OUTCOME |= dict.fromkeys((24, -24, 36, 152), "timeout")  # any other code is a kill


def exit_codes(tests: str, source: str) -> dict[str, int | None]:
    """Outcome so far of every mutant of a file."""
    return json.loads((copy_of(tests) / "mutants" / f"{source}.meta").read_text())["exit_code_by_key"]


def start(command: list[str], folder: Path, mutant: str = "") -> int:
    """Run a command whose output goes to a log; CI makes hypothesis draw the same examples every time."""
    environment = os.environ | {"CI": "1", "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "MUTANT_UNDER_TEST": mutant}
    with (WORK / "log").open("a") as log:
        return subprocess.run(command, cwd=folder, env=environment, stdout=log, stderr=log, check=False).returncode


def run(tests: str, sources: list[str]) -> None:
    """Try the mutants that are still to be tried, without the tests that fail with no mutant at work."""
    folder = copy_of(tests)
    pending = [name for source in sources for name, code in exit_codes(tests, source).items() if code is None]
    print(f"{tests}: {len(pending)} mutants", flush=True)
    command = [str(Path(sys.executable).with_name("mutmut")), "run", "--max-children", "1", *pending]
    if pending and start(command, folder) and not (folder / "left_out.json").exists():
        options = ["-p", "tests.mutation.in_order", "--rootdir=.", "--cache-clear", "--continue-on-collection-errors"]
        start([sys.executable, "-m", "pytest", *options, *tests.split()], folder / "mutants", "stats")
        failed = folder / "mutants/.pytest_cache/v/cache/lastfailed"
        names = json.loads(failed.read_text()) if failed.exists() else []
        (folder / "left_out.json").write_text(json.dumps(list(names)))
        configure(tests, sources, [f"--{'deselect' if '::' in name else 'ignore'}={name}" for name in names])
        if start(command, folder):
            print(f"{tests}: mutmut gives up, see {WORK}/log")


def report(groups: dict[str, dict[str, list[int]]]) -> None:
    """Print the score of every package; write it, and every mutant that was not killed, to the report."""
    counts, found = defaultdict(Counter), []
    for tests, lines in groups.items():
        for source in lines:
            for (name, code), line in zip(exit_codes(tests, source).items(), lines[source], strict=True):
                outcome = OUTCOME.get(code, "killed")
                counts[Path(source).parent.as_posix()][outcome] += 1
                if outcome not in {"killed", "unfinished"}:
                    with chdir(copy_of(tests)):
                        diff = get_diff_for_mutant(name, path=source).splitlines()[3:]
                    changed = [text for text in diff if text[0] in "+-"]
                    found.append("\n".join([f"{source}:{line} {outcome}", "```diff", *changed, "```"]))
    counts["all"] = sum(counts.values(), Counter())
    table = [f"| package | score | {' | '.join(OUTCOMES)} |", "| --- |" + " ---: |" * (1 + len(OUTCOMES))]
    for package, count in counts.items():
        score = (count["killed"] + count["timeout"]) / max(1, count.total() - count["unfinished"])
        table.append(f"| {package} | {score:.0%} | {' | '.join(str(count[outcome]) for outcome in OUTCOMES)} |")
    left_out = [name for kept in sorted(WORK.glob("*/left_out.json")) for name in json.loads(kept.read_text())]
    note = "Unreached: no test of the package calls the function in its own process. Timeouts count as kills."
    parts = ["\n".join(table), note, *found, "Left out: tests that fail with no mutant at work.", *left_out]
    REPORT.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    print("\n".join([*table, f"{len(left_out)} tests left out; what survived is in {REPORT}"]))


def main() -> None:
    """Draw, unless this sample of this code is drawn already; try; report, even when stopped."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("packages", nargs="*", help="softadapt, experiments/evidence, ... (default: all)")
    arguments = parser.parse_args()

    listing = ["git", "ls-files", "-co", "--exclude-standard"]
    listed = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.splitlines()
    files = [Path(name) for name in sorted(set(listed)) if Path(name).is_file()]
    digest = hashlib.sha256(repr([arguments, *((path, path.read_bytes()) for path in files)]).encode()).hexdigest()
    state = WORK / "state.json"
    saved = json.loads(state.read_text()) if state.exists() else {}
    if saved.get("digest") != digest:
        shutil.rmtree(WORK, ignore_errors=True)
        mutated = [path for path in files if is_mutated(path)]
        chosen = [
            str(path) for path in mutated if path.parent.as_posix() in arguments.packages or not arguments.packages
        ]
        drawn = draw(chosen, arguments.sample, arguments.seed)
        groups = {tests: make_copy(tests, drawn[tests], files) for tests in sorted(drawn)}
        saved = {"digest": digest, "groups": groups}
        state.write_text(json.dumps(saved, indent=1))
    try:
        for tests, lines in saved["groups"].items():
            run(tests, list(lines))
    except KeyboardInterrupt:
        print("stopped; the next call goes on here")
    report(saved["groups"])


if __name__ == "__main__":
    main()
