"""Compare a fresh run's tables, claims and numbers with the committed reference.

Rows are joined by their keys. Every number is judged by ``paper/tolerances.yaml``, which argues its tolerances; a value
and its interval are one number. The exit code is 1 if a number has moved, a row is missing, or a verdict has changed.
On the same machine, with the same versions and code, all but times should be equal to the bit. Numbers that are not are
listed, but the tolerances judge them all the same, because two machines that tell the same of themselves may still
differ.
"""

import argparse
import csv
import io
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from experiments.evidence.reading import MACHINE, REFERENCE, machine_of, read_provenance
from experiments.provenance.tolerances import Status, Tolerances, Written, judge, load_tolerances, number
from experiments.runs.errors import UserError, run_main
from experiments.runs.files import write_text
from experiments.runs.validation import read_yaml
from experiments.scale import load

SHOWN = 20
"""Largest number of unequal values that are printed; ``comparison.csv`` has all."""

Table = dict[str, dict[str, Written]]
"""Row -> column -> value; a row is named by its keys."""


@dataclass(frozen=True)
class Comparison:
    """One number, or word, beside its reference."""

    table: str
    row: str
    column: str
    reference: Written
    fresh: Written
    tolerance: str
    status: Status

    @property
    def is_verdict(self) -> bool:
        """Whether it is the verdict of a claim."""
        return self.table == "claims" and self.column == "verdict"

    def __str__(self) -> str:
        return f"{self.table}, {self.row}, {self.column}: reference {self.reference}, fresh {self.fresh}"


NOTHING = Written("")


def read_table(path: Path, keys: list[str]) -> Table:
    """Read a CSV as text: exactly what was written, with ``x_low`` and ``x_high`` as the interval of ``x``.

    A row of the specifications is named by the options of its choices too, which are the columns before ``main``.

    Raises:
        UserError: if a key is no column, or names several rows.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if path.stem == "specifications" and rows:
        columns = list(rows[0])
        keys = [*keys, *(name for name in columns[: columns.index("main")] if name not in keys)]
    table: Table = {}
    for row in rows:
        absent = [key for key in keys if key not in row]
        if absent:
            raise UserError(f"{path}: no column {absent[0]}; correct keys.{path.stem} in paper/tolerances.yaml")
        name = ", ".join(row[key] for key in keys if row[key])
        if name in table:
            raise UserError(
                f"{path}: several rows {name}; name more columns in keys.{path.stem} of paper/tolerances.yaml"
            )
        bounds = {f"{column}{end}" for column in row for end in ("_low", "_high")}
        table[name] = {
            column: Written(value, row.get(f"{column}_low", ""), row.get(f"{column}_high", ""))
            for column, value in row.items()
            if column not in keys and column not in bounds
        }
    return table


def read_numbers(path: Path) -> Table:
    """Read ``numbers.json``: a row for each mapping in it, by its dotted name, empty for the outermost."""
    table: Table = {}

    def walk(value: Any, row: str) -> None:
        for key, entry in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(entry, dict | list):
                walk(entry, f"{row}.{key}" if row else str(key))
            else:
                text = entry if isinstance(entry, str) else json.dumps(entry)
                table.setdefault(row, {})[str(key)] = Written(text)

    walk(json.loads(path.read_text(encoding="utf-8")), "")
    return table


def tables_of(folder: Path, tolerances: Tolerances) -> dict[str, Table]:
    """All tables of a scale's results, the claims and the manuscript's numbers, as far as they are there.

    Raises:
        UserError: if there is none, or one whose keys are not known.
    """
    tables: dict[str, Table] = {}
    ledger = [path for name in ("claims", "specifications") for path in folder.glob(f"{name}.csv")]
    for path in sorted([*ledger, *(folder / "tables").glob("[!.]*.csv")]):
        if path.stem not in tolerances.keys:
            raise UserError(
                f"paper/tolerances.yaml: keys.{path.stem}: missing; name the columns that tell its rows apart"
            )
        tables[path.stem] = read_table(path, tolerances.keys[path.stem])
    if (folder / "numbers.json").exists():
        tables["numbers"] = read_numbers(folder / "numbers.json")
    if not tables:
        raise UserError(f"{folder}: no tables to compare; run the workflow, or name another folder")
    return tables


def compare(reference: dict[str, Table], fresh: dict[str, Table], tolerances: Tolerances) -> list[Comparison]:
    """Every number of either, joined by table, row and column."""
    comparisons = []
    for table in dict.fromkeys([*reference, *fresh]):
        theirs, ours = reference.get(table, {}), fresh.get(table, {})
        for row in dict.fromkeys([*theirs, *ours]):
            left, right = theirs.get(row, {}), ours.get(row, {})
            for column in dict.fromkeys([*left, *right]):
                one, other = left.get(column), right.get(column)
                tolerance = tolerances.of("/".join(part for part in (table, row, column) if part))
                if one is None or other is None:
                    status: Status = "new" if one is None else "missing"
                else:
                    status = judge(tolerance, one, other)
                comparisons.append(
                    Comparison(table, row, column, one or NOTHING, other or NOTHING, str(tolerance), status)
                )
    return comparisons


def as_csv(comparisons: list[Comparison]) -> str:
    """The comparison as a table."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ["table", "row", "column"]
    for side in ("reference", "fresh"):
        head += [side, f"{side}_low", f"{side}_high"]
    writer.writerow([*head, "tolerance", "status"])
    for c in comparisons:
        one, other = c.reference, c.fresh
        values = [one.value, one.low, one.high, other.value, other.low, other.high]
        writer.writerow([c.table, c.row, c.column, *values, c.tolerance, c.status])
    return text.getvalue()


def differences(results: Path, reference: Path) -> list[str] | None:
    """In what the runs differ from those of the reference: machine, versions, code of methods. None if unknown."""
    summary_path = reference / "provenance.json"
    runs = sorted((results / "runs").glob("*/*/*/provenance.json"))
    if not runs or not summary_path.exists():
        return None
    summary = json.loads(summary_path.read_text(encoding="utf-8"))
    found: dict[str, None] = {}
    codes: set[str] = set()
    for path in runs:
        run = read_provenance(path.parent)
        room, method, seed = path.parts[-4:-1]
        told = machine_of(run) | {"python": run["python"]} | run["versions"]
        for key, value in (
            machine_in(summary, room, seed) | {"python": summary["python"]} | summary["versions"]
        ).items():
            if told.get(key) != value:
                found[f"{key} (reference {value}, fresh {told.get(key)})"] = None
        if summary["code"].get(f"{room}/{method}") != read_yaml(path.with_name("config.yaml"))["code"]:
            codes.add(f"{room}/{method}")
    code = [f"code of {len(codes)} methods (such as {min(codes)})"] if codes else []
    return [*found, *code]


def machine_in(summary: Mapping[str, Any], room: str, seed: str) -> dict[str, Any]:
    """The machine of a room's runs of a seed in a reference, as far as its summary tells it.

    A summary from before there were several machines tells the one of all runs, without GPU and threads.
    """
    if "machines" not in summary:
        return {key: summary[key] for key in MACHINE if key in summary}
    machine: dict[str, Any] = summary["machines"][summary["machine_of"].get(f"{room}/{seed}", 0)]
    return machine


def describe(comparisons: list[Comparison], differing: list[str] | None) -> str:
    """The result as text: every number that moved, every changed verdict, every row that is missing or new."""
    by: dict[str, list[Comparison]] = {}
    for comparison in comparisons:
        by.setdefault(comparison.status, []).append(comparison)
    verdicts = [c for c in by.get("moved", []) if c.is_verdict]
    moved = [c for c in by.get("moved", []) if not c.is_verdict]
    lines = [f"verdict  {c}" for c in verdicts]
    lines += [f"moved    {c}; tolerance {c.tolerance}" for c in moved]
    for status in ("missing", "new"):
        rows = dict.fromkeys((c.table, c.row) for c in by.get(status, []))
        for table, row in rows:
            columns = [c.column for c in by[status] if (c.table, c.row) == (table, row)]
            lines.append(f"{status:8} {table}, {row or 'outermost'}: {', '.join(columns)}")
    unequal = [*moved, *by.get("within tolerance", [])]
    if differing is None:
        lines.append("machine  unknown, since the run folders or the reference's summary are not there")
    elif differing:
        lines.append(f"machine  the runs differ from those of the reference in: {'; '.join(differing)}")
    else:
        lines.append("machine  that of the reference, versions and code too: all but times should be equal to the bit")
        lines += [f"unequal  {c}" for c in unequal[:SHOWN]]
        if len(unequal) > SHOWN:
            lines.append(f"unequal  and {len(unequal) - SHOWN} more")
    ratios = [b / a for c in by.get("time", []) if (a := number(c.reference.value)) and (b := number(c.fresh.value))]
    if ratios:
        lines.append(
            f"times    {len(ratios)}, fresh over reference: {min(ratios):.3g} to {max(ratios):.3g}, "
            f"median {median(ratios):.3g}"
        )
    counts = {
        status: len(by.get(status, [])) for status in ("equal", "within tolerance", "time", "follows", "missing", "new")
    }
    shown = ", ".join(f"{count} {status}" for status, count in counts.items())
    lines.append(f"{len(comparisons)} compared: {shown}, {len(moved)} moved, {len(verdicts)} verdicts changed")
    return "\n".join(lines)


def main() -> None:
    """Entry point of ``python -m experiments.provenance.compare``."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.provenance.compare",
        description="Compare a scale's tables, claims and numbers with the committed reference.",
    )
    parser.add_argument("--config", default="config/laptop.yaml", help="the scale's settings (default: %(default)s)")
    parser.add_argument("--reference", type=Path, help="folder to compare with (default: results/reference/<scale>)")
    options = parser.parse_args()
    scale = load(options.config).scale
    results, reference = Path("results", scale), options.reference or REFERENCE / scale
    if not reference.is_dir():
        raise UserError(f"{reference}: no reference of this scale; name one with --reference")
    tolerances = load_tolerances()
    comparisons = compare(tables_of(reference, tolerances), tables_of(results, tolerances), tolerances)
    write_text(results / "comparison.csv", as_csv(comparisons))
    print(describe(comparisons, differences(results, reference)))
    if any(comparison.status in ("moved", "missing") for comparison in comparisons):
        sys.exit(1)


if __name__ == "__main__":
    run_main(main)
