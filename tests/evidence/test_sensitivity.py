"""Claims beside those of scales that vary what the paper leaves open."""

import pandas as pd

from experiments.evidence.sensitivity import sensitivity


def test_sensitivity_shows_the_claims_that_another_setting_judges_too(tmp_path):
    columns = ["id", "measured", "measured_low", "measured_high", "observations", "unit", "verdict"]

    def write(folder, rows):
        folder.mkdir()
        rows = [[*row, 0.0, 1.0, 5, "dB", "not reproduced" if row[0] == "e" else "inconclusive"] for row in rows]
        pd.DataFrame(rows, columns=columns).to_csv(folder / "claims.csv", index=False)

    write(tmp_path / "own", [("b", 0.5), ("a", 0.4), ("c", None), ("e", 0.2)])
    write(tmp_path / "wide", [("a", 0.3), ("c", None), ("d", 0.1), ("e", None)])  # e: a verdict, since runs diverged
    table = sensitivity(tmp_path / "own" / "claims.csv", {"wide": "wider"}, tmp_path)
    assert table[["id", "setting", "measured"]].fillna(-1).to_numpy().tolist() == [
        ["a", "as in this document", 0.4],
        ["a", "wider", 0.3],
        ["e", "as in this document", 0.2],
        ["e", "wider", -1],
    ]
