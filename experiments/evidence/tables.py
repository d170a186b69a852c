"""Write tables: a tidy CSV each, and the same numbers as Markdown and LaTeX for readers."""

from pathlib import Path

import numpy as np
import pandas as pd

from experiments.evidence import lineage, reading
from experiments.runs.errors import UserError, run_main
from experiments.runs.files import write_text
from experiments.runs.jobs import captions


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Join each value with its interval, ``value [low, high]``, to four significant digits, all as text.

    A value whose interval is itself, as that of a fact, stands alone.
    """
    shown: dict[str, list[str]] = {}
    for column in table.columns:
        if column.endswith(("_low", "_high")) and column.rsplit("_", 1)[0] in table.columns:
            continue
        texts = [_number(value) for value in table[column]]
        if f"{column}_low" in table.columns:
            bounds = zip(table[f"{column}_low"], table[f"{column}_high"], strict=True)
            texts = [
                text if np.isnan(low) or low == high else f"{text} [{_number(low)}, {_number(high)}]"
                for text, (low, high) in zip(texts, bounds, strict=True)
            ]
        shown[column.replace("_", " ")] = texts
    return pd.DataFrame(shown)


def _number(value: object) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.4g}"
    return str(value)


def markdown(table: pd.DataFrame) -> str:
    """A table of texts as Markdown. Bars and backslashes in it are escaped, so that no bar ends a cell."""
    lines = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    escaped = [[cell.replace("\\", r"\\").replace("|", r"\|") for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in escaped)


def write_table(table: pd.DataFrame, folder: Path, name: str) -> None:
    """Write ``name.csv`` with all digits, and ``name.md`` and ``name.tex`` for reading."""
    shown = readable(table)
    latex = shown.style.hide(axis="index").format(escape="latex").format_index(axis="columns", escape="latex")
    contents = {
        "csv": table.to_csv(index=False, lineterminator="\n"),
        "md": markdown(shown),
        "tex": latex.to_latex(hrules=True),
    }
    for suffix, text in contents.items():
        write_text(folder / f"{name}.{suffix}", text)
        lineage.wrote(folder / f"{name}.{suffix}")


def make(runs: reading.Runs, folder: Path) -> None:
    """Write the tables of a room.

    Raises:
        UserError: if the room's captions and its tables do not have the same names.
    """
    findings = reading.open_room(runs.room, "findings")
    tables = findings.Findings(runs).tables()
    if sorted(tables) != (named := captions(runs.room, "tables")):
        raise UserError(
            f"experiments/{runs.room}/captions/tables: captions {', '.join(named)} for the tables {', '.join(tables)}; "
            "give every table one"
        )
    for name, table in tables.items():
        write_table(table, folder, name)


def main() -> None:
    """Entry point of ``python -m experiments.evidence.tables``."""
    command = reading.command_line(
        "tables", "Make the tables of one experiment from the rows of its runs.", rooms=True, parts=("findings",)
    )
    with command.recorded():
        make(reading.Runs(command.settings, command.what), reading.results(command.settings) / "tables")


if __name__ == "__main__":
    run_main(main)
