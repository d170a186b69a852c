"""Where does a table, figure, claim or manuscript come from? Follow the records back to runs, code, data and machine."""

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from experiments.evidence import lineage
from experiments.evidence.reading import read_provenance
from experiments.runs.errors import UserError, run_main
from experiments.runs.files import sha256
from experiments.runs.validation import read_yaml

DIGITS = 12
"""Digits of a checksum that are shown as text; ``--json`` has them all."""


def trace(path: Path | str) -> dict[str, Any]:
    """The chain of a file or run folder, plain values.

    Returns:
        ``file``; ``files``, it and recursively those that it was made of, each once, with `state` and the command that
        made it; ``runs``, those that any of these was made of, grouped by experiment.

    Raises:
        UserError: if there is no such file, or no record of it.
    """
    name = lineage.name_of(path)
    parts = Path(name).parts
    if not Path(name).exists():
        raise UserError(f"{name}: no such file; name one below results or figures, as results/laptop/claims.csv")
    if parts[1:2] == ("reference",) and len(parts) > 3:
        return _reference(name, parts[2])
    if Path(name, "provenance.json").exists():
        return {
            "file": name,
            "files": _run_files(Path(name)),
            "runs": _group({name: _digest(f"{name}/provenance.json")}),
        }
    if Path(name).is_dir() or parts[0] not in ("results", "figures"):
        raise UserError(f"{name}: no output of the analysis nor a run folder; name a file below results or figures")
    if lineage.record_of(name) is None:
        scale = parts[1]
        raise UserError(
            f"{name}: no record of how it was made (it may be older than the records); make it anew with snakemake "
            f"--configfile config/{scale}.yaml --cores 2"
        )
    files: dict[str, dict[str, Any]] = {}
    runs: dict[str, str] = {}
    _follow(name, files, runs)
    return {"file": name, "files": list(files.values()), "runs": _group(runs)}


def _follow(name: str, files: dict[str, dict[str, Any]], runs: dict[str, str]) -> None:
    """Add a file, what it was made of, and the runs behind it."""
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
    state = "not recorded" if recorded is None else "missing" if found is None else "as recorded"
    if state == "as recorded" and found != recorded:
        state = "changed"
    return {"path": name, "sha256": found, "recorded": recorded, "state": state}


def _digest(name: str) -> str | None:
    return sha256(name) if Path(name).is_file() else None


def _run_files(folder: Path) -> list[dict[str, Any]]:
    """The files of a run; without hashes where the run was made before files were hashed."""
    recorded = read_provenance(folder).get("files", {})
    names = {
        path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")
    } | recorded.keys()
    results = sorted(name for name in names - {"provenance.json"} if not name.startswith("checkpoint"))
    return [_state(f"{folder.as_posix()}/{name}", recorded.get(name)) for name in results]


SHARED = ("python", "versions", "system", "cpu", "gpu", "threads")
"""What the runs of an experiment mostly share; more than one value means that they do not."""


def _group(runs: Mapping[str, str | None]) -> list[dict[str, Any]]:
    """Runs by experiment: methods and seeds, commits, settings, data, versions, machine and time."""
    groups: dict[str, dict[str, Any]] = {}
    for run, recorded in runs.items():
        experiment, method, seed = _names(Path(run))
        group = groups.setdefault(experiment, {"experiment": experiment, "count": 0, "methods": {}, "commits": {}})
        for key in ("settings", "code", "data", *SHARED):
            group.setdefault(key, {} if key in ("settings", "code", "data") else [])
        for key in ("changed", "without_hashes"):
            group.setdefault(key, [])
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
        if Path(run, "config.yaml").exists():
            group["settings"][run] = sha256(Path(run, "config.yaml"))
            group["code"].setdefault(read_yaml(Path(run, "config.yaml"))["code"], []).append(run)
        for key in SHARED:
            if provenance.get(key) not in group[key]:
                group[key].append(provenance.get(key))
        group["minutes"] = group.get("minutes", 0.0) + provenance["times"]["total"] / 60
        if "files" not in provenance:
            group["without_hashes"].append(run)
    return list(groups.values())


def _names(run: Path) -> tuple[str, str, int]:
    """Experiment, method and seed of a run: of its place in the workflow, or of its settings where it has another."""
    if len(run.parts) >= 3 and run.name.removeprefix("seed-").isdigit():
        return run.parts[-3], run.parts[-2], int(run.name.removeprefix("seed-"))
    config = read_yaml(run / "config.yaml")
    return str(config.get("experiment")), str(config.get("method", "default")), int(config.get("seed", 0))


def _reference(name: str, scale: str) -> dict[str, Any]:
    """A committed file, from the summary that was kept with it."""
    source = Path("results/reference", scale, "provenance.json")
    if not source.exists():
        raise UserError(f"{source}: missing; it is the summary of the committed runs, take it from git")
    summary = json.loads(source.read_text(encoding="utf-8"))
    kept = summary.get("files", {}).get(name, {})
    file = {**_state(name, kept.get("sha256")), "inputs": []}
    file |= {key: kept[key] for key in ("command", "time", "made_on", "runs") if key in kept}
    groups = []
    for experiment, commits in summary["commits"].items():
        codes = {key.split("/")[1]: code for key, code in summary["code"].items() if key.split("/")[0] == experiment}
        seeds: dict[str, list[int]] = {method: [] for method in codes}
        for run in summary.get("run_provenance", {}):
            of, method, seed = run.split("/")
            if of == experiment:
                seeds[method].append(int(seed.removeprefix("seed-")))
        group: dict[str, Any] = {"experiment": experiment, "methods": seeds, "commits": dict.fromkeys(commits)}
        group["count"] = sum(map(len, seeds.values())) or None
        groups.append(group)
    made_from = kept.get("runs")
    if made_from is not None:  # else the whole scale is behind it
        groups = [group for group in groups if group["experiment"] in made_from]
    return {"file": name, "summary": source.as_posix(), "files": [file], "runs": groups} | {
        key: summary[key] for key in ("data", "one_thread_minutes", *SHARED) if key in summary
    }


def describe(chain: dict[str, Any]) -> str:
    """The chain as text for a reader."""
    lines: list[str] = []
    blocks: dict[str, list[dict[str, Any]]] = {}  # a command makes several files
    for file in chain["files"]:
        blocks.setdefault(file.get("command", file["path"]), []).append(file)
    here = {file["path"] for file in chain["files"]}
    for block in blocks.values():
        lines += [f"{file['path']}  {_shown_state(file)}" for file in block]
        lines += _describe_making(block[0], here, same_as=chain["files"][0])
    if "summary" in chain:
        lines.append(f"kept from a finished run of the scale; its summary is {chain['summary']}")
    for group in chain["runs"]:
        lines += _describe_group(group)
    if "data" in chain:
        lines.append("all runs of the scale")
        lines += [f"  data     {name}  sha256 {checksum[:DIGITS]}" for name, checksum in sorted(chain["data"].items())]
        lines.append(f"  versions Python {chain['python']}, {_versions(chain['versions'])}")
        lines.append(f"  machine  {chain['cpu']} ({chain['system']})")
        lines.append(f"  time     {chain['one_thread_minutes']} minutes of one thread")
    return "\n".join(lines)


def _shown_state(file: dict[str, Any]) -> str:
    digest = (file["sha256"] or "")[:DIGITS]
    if file["state"] == "changed":
        return f"sha256 {digest}, CHANGED since: recorded was {file['recorded'][:DIGITS]}"
    if file["state"] == "missing":
        return f"MISSING, recorded was {file['recorded'][:DIGITS]}"
    if file["state"] == "not recorded":
        return f"sha256 {digest}, made before files were hashed"
    return f"sha256 {digest}, as recorded"


def _describe_making(file: dict[str, Any], here: set[str], same_as: dict[str, Any]) -> list[str]:
    """What made a file, and of what; files that the chain describes itself are named only where they have changed."""
    if "command" not in file:
        return []
    made_on = file["made_on"]
    state = {True: "with uncommitted changes", False: "clean", None: "unknown"}[made_on["dirty"]]
    lines = [f"  made by  {file['command']}"]
    lines.append(f"  at       commit {(made_on['commit'] or 'unknown')[:DIGITS]} ({state}), {file['time']}")
    software = f"Python {made_on['python']}, {_versions(made_on['versions'])}; {made_on['cpu']} ({made_on['system']})"
    others = {key: value for key, value in made_on.items() if key not in ("commit", "dirty")}
    if file is not same_as and others == {key: same_as["made_on"].get(key) for key in others}:
        software = "the same versions and machine"
    lines.append(f"  with     {software}")
    made = [source for source in file["inputs"] if source["path"] in here and source["state"] == "as recorded"]
    if made:
        lines.append(f"  from     {len(made)} file{'s' if len(made) > 1 else ''} of this list, as recorded")
    lines += [f"  from     {source['path']}  {_shown_state(source)}" for source in file["inputs"] if source not in made]
    if file["runs"]:
        counts = ", ".join(f"{count} of {experiment}" for experiment, count in file["runs"].items())
        lines.append(f"  from     runs, below: {counts}")
    return lines


def _describe_group(group: dict[str, Any]) -> list[str]:
    lines = [f"{_runs(group['count']) if group['count'] else 'runs'} of {group['experiment']}"]
    by_seeds: dict[tuple[int, ...], list[str]] = {}
    for method, seeds in group["methods"].items():
        by_seeds.setdefault(tuple(seeds), []).append(method)
    for seeds, methods in by_seeds.items():
        lines.append(f"  methods  {', '.join(methods)}" + (f"; seeds {', '.join(map(str, seeds))}" if seeds else ""))
    commits = [
        f"{commit[:DIGITS]}{commit[40:]}" + (f" ({_runs(n)})" if n else "") for commit, n in group["commits"].items()
    ]
    lines.append(f"  commits  {', '.join(commits)}")
    if group.get("code"):
        lines.append(f"  code     {', '.join(f'{code} ({_runs(len(runs))})' for code, runs in group['code'].items())}")
    if group.get("settings"):
        distinct = list(group["settings"].items())
        first, digest = distinct[0]
        more = f", and {len(distinct) - 1} more" if len(distinct) > 1 else ""
        lines.append(f"  settings {first}/config.yaml  sha256 {digest[:DIGITS]}{more}")
    for name, checksum in sorted(group.get("data", {}).items()):
        lines.append(f"  data     {name}  sha256 {checksum[:DIGITS]}")
    for versions in group.get("versions", []):
        lines.append(f"  versions Python {_either(group['python'])}, {_versions(versions)}")
    if "cpu" in group:
        gpu = f"GPU {_either(name or 'none' for name in group['gpu'])}"
        machine = f"{_either(group['cpu'])} ({_either(group['system'])})"
        lines.append(f"  machine  {machine}, {gpu}, threads {_either(group['threads'])}")
    if "minutes" in group:
        lines.append(f"  time     {group['minutes']:.1f} minutes in all")
    if group.get("changed"):
        lines.append(f"  CHANGED since they were read: {', '.join(group['changed'])}")
    if group.get("without_hashes"):
        lines.append(f"  {len(group['without_hashes'])} of them made before files were hashed")
    return lines


def _runs(count: int) -> str:
    return f"{count} run{'s' if count > 1 else ''}"


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _either(values: Iterable[Any]) -> str:
    return " or ".join(str(value) for value in values)


def main() -> None:
    """Entry point of ``python -m experiments.provenance.trace``."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.provenance.trace",
        description="Say what a table, figure, claims file, manuscript, run folder or committed reference was made from.",
    )
    parser.add_argument("path", help="a file below results or figures, or a run folder")
    parser.add_argument("--json", action="store_true", help="the whole chain for programs, with full checksums")
    options = parser.parse_args()
    chain = trace(options.path)
    print(json.dumps(chain, indent=2) if options.json else describe(chain))


if __name__ == "__main__":
    run_main(main)
