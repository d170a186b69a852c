"""Trace a table, figure, claim or manuscript back to the runs, code, data and machine that it came from."""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments.evidence import lineage
from experiments.evidence.reading import MACHINE, REFERENCE, machine_of, read_provenance
from experiments.runs.errors import UserError, run_main
from experiments.runs.files import sha256
from experiments.runs.validation import read_yaml


def trace(path: Path | str) -> dict[str, Any]:
    """The chain behind a file or run folder, as plain values.

    Returns:
        ``file``; ``files``, the file and recursively those that it was made from, each once, with its state and the
        command that made it; ``runs``, those behind any of these files, grouped by experiment. Of a committed file also
        ``summary``, the file that was kept with it, and what that says of all runs.

    Raises:
        UserError: if there is no such file, or no record of it.
    """
    name = lineage.name_of(path)
    parts = Path(name).parts
    if not Path(name).exists():
        raise UserError(f"{name}: no such file; name one below results or figures, as results/laptop/claims.csv")
    if parts[1:2] == ("reference",) and len(parts) > 3:
        return _reference(name, parts[2])
    if Path(name, "provenance.json").exists() and parts[1:2] != ("reference",):
        runs = {name: _digest(f"{name}/provenance.json")}
        return {"file": name, "files": _run_files(Path(name)), "runs": _group(runs)}
    if Path(name).is_dir() or parts[0] not in ("results", "figures"):
        raise UserError(
            f"{name}: neither an output of experiments.evidence nor a run folder; name a file below results or figures"
        )
    if lineage.record_of(name) is None:
        raise UserError(
            f"{name}: no record of how it was made (it may be older than the records); make it anew with snakemake "
            f"--configfile config/{parts[1]}.yaml --cores 2"
        )
    files: dict[str, dict[str, Any]] = {}
    runs_behind: dict[str, str | None] = {}
    _follow(name, files, runs_behind)
    return {"file": name, "files": list(files.values()), "runs": _group(runs_behind)}


def _follow(name: str, files: dict[str, dict[str, Any]], runs: dict[str, str | None]) -> None:
    """Add a file, what it was made from, and the runs behind it."""
    record = lineage.record_of(name)
    if record is None:
        return
    files[name] = {
        **_state(name, record.outputs[name]),
        "command": record.command,
        "time": record.time,
        "made_on": record.made_on,
        "inputs": [_state(source, digest) for source, digest in record.inputs.items()],
        "runs": lineage.counts(record.runs),
    }
    runs |= record.runs
    for source in record.inputs:
        if source not in files:
            _follow(source, files, runs)


def _state(name: str, recorded: str | None) -> dict[str, Any]:
    found = _digest(name)
    state = "as recorded"
    if recorded is None:
        state = "not recorded"
    elif found is None:
        state = "missing"
    elif found != recorded:
        state = "changed"
    return {"path": name, "sha256": found, "recorded": recorded, "state": state}


def _digest(name: str) -> str | None:
    return sha256(name) if Path(name).is_file() else None


def _run_files(folder: Path) -> list[dict[str, Any]]:
    """The files of a run; "not recorded" if the run is older than the hashes of its files."""
    recorded = read_provenance(folder).get("files", {})
    there = {path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")}
    names = sorted((there | recorded.keys()) - {"provenance.json"})
    return [
        _state(f"{folder.as_posix()}/{name}", recorded.get(name)) for name in names if not name.startswith("checkpoint")
    ]


def _group(runs: Mapping[str, str | None]) -> list[dict[str, Any]]:
    """Runs by experiment, each group with all values of what its runs have: commits, code, data, versions, machines."""
    groups: dict[str, dict[str, Any]] = {}
    for run, recorded in runs.items():
        room, method, seed = _names(Path(run))
        group = groups.setdefault(
            room,
            {"experiment": room, "count": 0, "methods": {}, "commits": {}, "code": {}, "settings": {}, "data": {}}
            | {"python": [], "versions": [], "machines": [], "changed": [], "without_hashes": [], "minutes": 0.0},
        )
        group["count"] += 1
        group["methods"].setdefault(method, []).append(seed)
        if _digest(f"{run}/provenance.json") != recorded:
            group["changed"].append(run)
        if not Path(run, "provenance.json").exists():
            continue
        provenance = read_provenance(Path(run))
        commit = f"{provenance['commit']}{' with uncommitted changes' if provenance['dirty'] else ''}"
        group["commits"][commit] = group["commits"].get(commit, 0) + 1
        group["data"] |= provenance["data"]
        group["minutes"] += provenance["times"]["total"] / 60
        if Path(run, "config.yaml").exists():
            group["settings"][run] = sha256(Path(run, "config.yaml"))
            group["code"].setdefault(read_yaml(Path(run, "config.yaml"))["code"], []).append(run)
        values = {
            "python": provenance["python"],
            "versions": provenance["versions"],
            "machines": machine_of(provenance),
        }
        for key, value in values.items():
            if value not in group[key]:
                group[key].append(value)
        if "files" not in provenance:
            group["without_hashes"].append(run)
    return list(groups.values())


def _names(run: Path) -> tuple[str, str, int]:
    """Experiment, method and seed of a run, from its place in the workflow, or from its settings if it is elsewhere."""
    if len(run.parts) >= 3 and run.name.removeprefix("seed-").isdigit():
        return run.parts[-3], run.parts[-2], int(run.name.removeprefix("seed-"))
    config = read_yaml(run / "config.yaml")
    return str(config.get("experiment")), str(config.get("method", "default")), int(config.get("seed", 0))


def _reference(name: str, scale: str) -> dict[str, Any]:
    """The chain of a committed file, from the summary that was kept with it."""
    source = REFERENCE / scale / "provenance.json"
    if not source.exists():
        raise UserError(f"{source}: missing; it is the summary of the committed runs, take it from git")
    summary = json.loads(source.read_text(encoding="utf-8"))
    kept = summary.get("files", {}).get(name, {})
    file = {**_state(name, kept.get("sha256")), "inputs": []}
    file |= {key: kept[key] for key in ("command", "time", "made_on", "runs") if key in kept}
    groups = []
    for room in kept.get("runs", summary["commits"]):  # all rooms of the scale, if the file does not say
        methods: dict[str, list[int]] = {key.split("/")[1]: [] for key in summary["code"] if key.split("/")[0] == room}
        for of, method, seed in (run.split("/") for run in summary.get("run_provenance", {})):
            if of == room:
                methods[method].append(int(seed.removeprefix("seed-")))
        count = sum(map(len, methods.values())) or None
        commits = dict.fromkeys(summary["commits"][room])
        groups.append({"experiment": room, "count": count, "methods": methods, "commits": commits})
    told = ("data", "python", "versions", "machines", "minutes", *MACHINE, "one_thread_minutes")
    shared = {key: summary[key] for key in told if key in summary}
    return {"file": name, "summary": source.as_posix(), "files": [file], "runs": groups} | shared


def tree(chain: Mapping[str, Any]) -> str:
    """The chain as an indented tree: each file, below it the command that made it, below that what the command read."""
    files = {file["path"]: file for file in chain["files"]}
    shown: set[str] = set()

    def below(made: list[dict[str, Any]], depth: int) -> Iterator[str]:
        """Files that one command made, and what is behind them. A command is followed once."""
        indent = "  " * depth
        yield from (f"{indent}{_stated(file)}" for file in made)
        if (command := made[0].get("command")) is None:
            return
        on = made[0]["made_on"]
        dirty = " with uncommitted changes" if on["dirty"] else ""
        when = f"at commit {(on['commit'] or 'unknown')[:12]}{dirty}, {made[0]['time']}"
        yield f"{indent}<- {command} {'(above)' if command in shown else when}"
        if command in shown:
            return
        shown.add(command)
        groups: dict[str, list[dict[str, Any]]] = {}
        for source in made[0]["inputs"]:
            file = files.get(source["path"], {}) | source  # in the state in which it was read
            groups.setdefault(file.get("command", ""), []).append(file)
        leaves = groups.pop("", [])
        yield from (f"{indent}    {_stated(file)}" for file in leaves if file["state"] != "as recorded")
        if whole := [file["path"] for file in leaves if file["state"] == "as recorded"]:
            yield f"{indent}    {', '.join(whole)}"
        for group in groups.values():
            yield from below(group, depth + 2)
        yield from (f"{indent}    {_runs(count)} of {room}" for room, count in made[0]["runs"].items())

    tops = chain["files"][:1] if "command" in chain["files"][0] else chain["files"]
    lines = [line for file in tops for line in below([file], 0)]
    for group in chain["runs"]:
        commits = ", ".join(f"{commit[:12]}{commit[40:]}" for commit in group["commits"])
        lines.append(f"{_runs(group['count'])} of {group['experiment']} at commit {commits}")
        lines += [f"  {json.dumps(machine)}" for machine in group.get("machines", [])]
        lines += [f"  CHANGED since it was read: {run}" for run in group.get("changed", [])]
    return "\n".join(lines)


def _runs(count: int | None) -> str:
    return "runs" if count is None else f"{count} run{'s' if count > 1 else ''}"


def _stated(file: Mapping[str, Any]) -> str:
    state = file["state"].upper() if file["state"] in ("changed", "missing") else file["state"]
    return f"{file['path']}  {(file['sha256'] or '')[:12]} {state}"


def main() -> None:
    """Entry point of ``python -m experiments.provenance.trace``."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.provenance.trace",
        description="Say what a table, figure, claims file, manuscript, run folder or committed file was made from.",
    )
    parser.add_argument("path", help="a file below results or figures, or a run folder")
    parser.add_argument("--json", action="store_true", help="the whole chain for programs, with full checksums")
    options = parser.parse_args()
    chain = trace(options.path)
    print(json.dumps(chain, indent=2) if options.json else tree(chain))


if __name__ == "__main__":
    run_main(main)
