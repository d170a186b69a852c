"""Hold the claims of a scale against those of committed scales that vary what the paper leaves open."""

from pathlib import Path

import pandas as pd

from experiments.evidence import reading
from experiments.evidence.claims import load_ledger
from experiments.evidence.tables import write_table
from experiments.runs.errors import run_main


def sensitivity(ledger: Path, varied: dict[str, str], reference: Path = reading.REFERENCE) -> pd.DataFrame:
    """Measurement and verdict of every claim that a varied scale judges too: a row for each claim and setting.

    Args:
        ledger: ``claims.csv`` of this scale.
        varied: committed scale -> what it varies. Scales that are not there are left out.
        reference: folder of the committed scales.
    """
    own = reading.claims_of(ledger)
    tables = {"as in this document": own}
    for scale, what in varied.items():
        path = reference / scale / "claims.csv"
        if path.exists():
            tables[what] = reading.claims_of(path)
    columns = ["id", "measured", "measured_low", "measured_high", "observations", "unit", "verdict"]
    rows = pd.concat([table[columns].assign(setting=what) for what, table in tables.items()], ignore_index=True)
    judged = rows[rows["measured"].notna() | rows["verdict"].isin(["reproduced", "not reproduced"])]  # or runs diverged
    shared = judged.groupby("id")["setting"].transform("size") > 1
    order = {claim: position for position, claim in enumerate(own["id"])}
    table = judged[shared & judged["id"].isin(list(order))]
    table = table.sort_values("id", key=lambda ids: ids.map(order), kind="stable")
    return table[["id", "setting", *columns[1:]]].reset_index(drop=True)


def main() -> None:
    """Entry point of ``python -m experiments.evidence.sensitivity``."""
    command = reading.command_line("sensitivity", "Hold the claims against those of scales that vary what is open.")
    folder = reading.results(command.settings)
    with command.recorded():
        write_table(sensitivity(folder / "claims.csv", load_ledger().sensitivity), folder / "tables", "sensitivity")


if __name__ == "__main__":
    run_main(main)
