"""Tables as readers see them, in Markdown and LaTeX, whatever their cells hold."""

import math
import re

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.evidence.tables import markdown, readable, write_table


def test_tables_join_values_and_intervals_and_escape_latex(tmp_path):
    table = pd.DataFrame({"method": ["a_b", "50 %"], "psnr": [20.123456, 3.0], "psnr_low": [19.0, math.nan]})
    table["psnr_high"] = [21.0, math.nan]
    assert readable(table).to_dict("list") == {"method": ["a_b", "50 %"], "psnr": ["20.12 [19, 21]", "3"]}
    write_table(table, tmp_path, "t")
    assert (tmp_path / "t.md").read_text().splitlines() == [
        "| method | psnr |",
        "| --- | --- |",
        "| a_b | 20.12 [19, 21] |",
        "| 50 % | 3 |",
    ]
    assert r"a\_b & 20.12 [19, 21] \\" in (tmp_path / "t.tex").read_text()
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "t.csv"), table)


def test_a_column_is_joined_with_its_own_interval_alone():
    """``test_pcc_low`` is of ``test_pcc``; a name may end like a bound without being one; no number is an empty cell."""
    table = pd.DataFrame(
        {"test_pcc": [80.0, math.nan], "test_pcc_low": [70.0, math.nan], "test_pcc_high": [90.5, math.nan]}
    )
    table["how_low"] = [2, 3]
    assert readable(table).to_dict("list") == {"test pcc": ["80 [70, 90.5]", ""], "how low": ["2", "3"]}


LATEX = {
    "$": r"\$",
    "^": r"\textasciicircum ",
    "~": r"\textasciitilde ",
    "{": r"\{",
    "}": r"\}",
    "\\": r"\textbackslash ",
    "&": r"\&",
    "%": r"\%",
    "_": r"\_",
    "#": r"\#",
}


MARKDOWN = {"|": r"\|", "\\": r"\\"}


@pytest.mark.parametrize("character", [*LATEX, "|"])
def test_special_characters_are_escaped_in_cells_and_columns(tmp_path, character):
    text = f"a{character}b"
    write_table(pd.DataFrame({text: [text], "value": [1.5]}), tmp_path, "t")
    tex = (tmp_path / "t.tex").read_text().splitlines()
    in_latex, in_markdown = (f"a{escapes.get(character, character)}b" for escapes in (LATEX, MARKDOWN))
    assert f"{in_latex} & 1.5 \\\\" in tex
    head = ("a b", "a b") if character == "_" else (in_latex, in_markdown)  # names are shown with spaces
    assert f"{head[0]} & value \\\\" in tex
    lines = (tmp_path / "t.md").read_text().splitlines()
    assert lines == [f"| {head[1]} | value |", "| --- | --- |", f"| {in_markdown} | 1.5 |"]
    assert pd.read_csv(tmp_path / "t.csv").to_numpy().tolist() == [[text, 1.5]]


@given(st.lists(st.text(r"ab|\$ ", min_size=1), min_size=3, max_size=3))
def test_no_cell_ends_at_a_bar_of_its_own(cells):
    """Read as GitHub does: a backslash takes the character after it along."""
    line = markdown(pd.DataFrame([cells], columns=["x", "y", "z"])).splitlines()[-1]
    parts = re.findall(r"((?:\\.|[^|\\])*)\|", line)
    assert [re.sub(r"\\(.)", r"\1", part[1:-1]) for part in parts[1:]] == cells
