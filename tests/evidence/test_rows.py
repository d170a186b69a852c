"""Rows of runs: what is written is read back exactly, and a committed table of rows is worth the run folders."""

import math
import shutil
import sys
from collections import Counter
from pathlib import Path

import adapter
import numpy as np
import pytest
import synthetic
from hypothesis import given
from hypothesis import strategies as st
from openings import openings

from experiments.evidence import claims, reading, redraw, rows, tables
from experiments.evidence.specifications import Ledger
from experiments.runs.errors import UserError
from experiments.runs.files import ROOT, write_text

IDENTITY = {"room": "a", "run": "b", "seed": 0, "settings": "c", "code": "d", "commit": "e", "machine": "f"}
IDENTITY |= {"verdict": "", "train_seconds": None}


def read_back(some_rows, folder):
    path = folder / "rows.csv"
    write_text(path, rows.text_of([IDENTITY | row for row in some_rows]))
    return reading.typed(reading.read_rows(path))


def same(one, other):
    """To the bit."""
    return np.array(one, dtype=float).tobytes() == np.array(other, dtype=float).tobytes()


@given(st.lists(st.floats(allow_nan=False)))
def test_packed_floats_come_back_to_the_bit(values):
    array = np.array(values, dtype=float)
    assert same(reading.unpacked(reading.packed(array)), array)
    assert same(reading.unpacked(reading.packed(values)), array)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_packed_integers_come_back_as_integers(values):
    array = reading.unpacked(reading.packed(np.array(values)))
    assert array.dtype == np.int64
    assert array.tolist() == values


def test_what_else_can_be_packed():
    assert reading.unpacked(reading.packed(np.array([True, False]))).tolist() == [1, 0]
    special = reading.unpacked(reading.packed([math.nan, math.inf, -math.inf, -0.0]))
    assert math.isnan(special[0])
    assert special[1:].tolist() == [math.inf, -math.inf, 0]
    assert math.copysign(1, special[3]) == -1
    assert reading.unpacked(reading.packed([])).tolist() == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("rows")


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=5))
def test_floats_of_a_column_come_back_to_the_bit(folder, values):
    assert same(read_back([{"x": value} for value in values], folder)["x"], values)


def test_special_values_of_a_column(tmp_path):
    table = read_back([{"x": math.nan, "y": True}, {"x": math.inf, "y": False}, {"x": 1, "y": True}], tmp_path)
    assert math.isnan(table["x"][0])
    assert table["x"][1:].tolist() == [math.inf, 1]
    assert table["y"].tolist() == [True, False, True]
    assert read_back([{"x": 1, "z": math.nan}, {"y": "word"}], tmp_path).columns[-3:].tolist() == ["x", "z", "y"]


@pytest.mark.parametrize("name", ["NA", "nan", "null", "1", "1e5", "True", "a,b"])
def test_a_name_is_text_whatever_it_looks_like(tmp_path, name):
    table = read_back([{"run": name, "code": name}, {"run": "other", "code": name}], tmp_path)
    assert table["run"].tolist() == [name, "other"]
    assert table["code"].tolist() == [name, name]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Settings of the made scale, and a folder in which its runs are written and gathered."""
    folder = tmp_path_factory.mktemp("written")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        settings = synthetic.scale().write(*synthetic.scale().settings)
        shutil.copy(ROOT / "paper" / "claims.yaml", "paper")
    return settings, folder


@pytest.fixture
def settings(written, tmp_path, monkeypatch):
    """Those of the made scale; the working directory is a copy of its folder."""
    settings, folder = written
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return settings


def test_rows_that_the_scale_does_not_name_are_left_out(settings):
    """As those of committed rows, where a config has fewer seeds or methods."""
    before = reading.Runs(settings, "introvae").rows
    section = settings.introvae.model_copy(update={"seeds": settings.introvae.seeds[:2]})
    fewer = reading.Runs(settings.model_copy(update={"introvae": section}), "introvae").rows
    assert set(before["seed"]) > set(fewer["seed"]) == {*section.seeds}
    assert len(fewer) == before["seed"].isin(section.seeds).sum()


LEDGER = [
    {"id": "a", "measure": {"sparse_autoencoder.frontier": {}}, "over": ["yardstick"], "rule": {"below": 1.0}},
    {"id": "b", "measure": {"introvae.without_warmup": {}}, "rule": {"above": 15.0}},
    {"id": "c", "measure": {"step_cost.overhead": {"experiment": "introvae", "by": "calls"}}, "rule": {"below": 0.05}},
    {"id": "d", "measure": {"namesakes.order_disagreement": {"rule": "NequIP"}}, "rule": {"below": 0.5}},
    {
        "id": "e",
        "measure": {"gradient_descent.lost_or_slow": {"function": "beale", "smallest_step": 0.01}},
        "over": ["long"],
        "rule": {"above": 0.1},
    },
]

CHOICES = {"yardstick": ["active_share", "l1"], "long": [100, 400]}


def ledger_of(entries):
    """A ledger of claims of the paper."""
    common = {"family": "paper", "where": "here", "statement": "It is so."}
    choices = {name: {"open": "It is.", "options": dict.fromkeys(of, "so")} for name, of in CHOICES.items()}
    return Ledger.model_validate({"choices": choices, "claims": [common | entry for entry in entries]})


def evidence_from(settings, table, folder):
    """All tables, and a ledger with its specifications, made from a table of rows; the bytes of each file."""
    findings = {}
    for room in settings.rooms:
        if reading.has_part(room, "findings"):
            runs = reading.Runs(settings, room, table(room))
            findings[room] = reading.open_room(room, "findings").Findings(runs)
            tables.make(runs, folder)
    made = ledger_of(LEDGER)
    for name, judged in zip(("claims", "specifications"), claims.judge(made.claims, made, findings), strict=True):
        tables.write_table(judged, folder, name)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_one_table_of_all_rooms_is_worth_the_tables_of_each(settings, tmp_path):
    write_text(tmp_path / "runs.csv", rows.concatenated(settings))
    own = evidence_from(settings, lambda room: None, tmp_path / "own")
    one = evidence_from(settings, lambda room: tmp_path / "runs.csv", tmp_path / "one")
    assert own == one
    assert len(own) == 3 * (2 + 9)  # claims and specifications, and nine tables
    assert len(reading.specifications_of(tmp_path / "own" / "specifications.csv")) == 2 + 1 + 1 + 1 + 2


def test_a_row_says_how_its_run_was_made(settings):
    table = reading.read_rows(reading.results(settings) / "rows" / "introvae.csv")
    row = table[(table["run"] == "equal") & (table["seed"] == "12")].iloc[0]
    assert row[list(reading.IDENTITY)].to_dict() == {
        "room": "introvae",
        "run": "equal",
        "seed": "12",
        "settings": "h" * 16,
        "code": "made",
        "commit": "c" * 40,
        "machine": "cpu a processor; threads 1; system Linux",
        "verdict": "trained",
        "train_seconds": "30.0",
    }


def test_rows_that_lack_a_run_are_one_line(settings, tmp_path):
    path = tmp_path / "results" / "made" / "rows" / "introvae.csv"
    path.write_text(
        "\n".join(line for line in path.read_text().splitlines() if not line.startswith("introvae,equal,12,"))
    )
    with pytest.raises(
        UserError, match=r"introvae\.csv: lacks 1 of 15 runs of introvae, such as equal, seed 12; run the"
    ):
        reading.Runs(settings, "introvae").rows  # noqa: B018
    path.write_text("epoch\n1\n")
    with pytest.raises(UserError, match=r"introvae\.csv: lacks the column room"):
        reading.Runs(settings, "introvae").rows  # noqa: B018
    path.unlink()
    with pytest.raises(UserError, match=r"introvae\.csv: missing; run the workflow, which gathers it"):
        reading.Runs(settings, "introvae").rows  # noqa: B018


@pytest.mark.whole
def test_a_scale_is_redrawn_from_its_committed_rows_alone(settings, tmp_path, monkeypatch, capsys):
    """As on a fresh clone: no run folders."""
    Path("config").mkdir()
    write_text("config/made.yaml", settings.model_dump_json(exclude={"niqe_collapse"}))  # JSON is YAML
    write_text("results/reference/made/runs.csv", rows.concatenated(settings))
    shutil.rmtree("results/made")
    monkeypatch.setattr(claims, "load_claims", lambda: ledger_of(LEDGER))
    monkeypatch.setattr(sys, "argv", ["redraw", "--config", "config/made.yaml"])
    with adapter.coarse():
        redraw.main()
    assert len(list(Path("results/made/tables").glob("*.csv"))) == 8
    assert reading.claims_of(Path("results/made/claims.csv"))["id"].tolist() == ["a", "b", "c", "d", "e"]
    assert len(reading.specifications_of(Path("results/made/specifications.csv"))) == 7
    drawn = {path.stem for path in Path("figures/made").glob("*.png")}
    assert {"steps_by_step_size", "sparsity_frontier", "introvae_quality", "namesakes", "step_cost"} <= drawn
    left_out = capsys.readouterr().err
    assert left_out.startswith("not drawn, since they need the run folders: ")
    assert "introvae_course" in left_out
    assert not {"introvae_course", "figure_2_rosenbrock", "figure_6_digits"} & drawn


def test_a_scale_without_committed_rows_is_one_line(settings):
    with pytest.raises(
        UserError, match=r"results/reference/made/runs\.csv: missing; no rows of this scale are committed"
    ):
        redraw.redraw(settings)


@pytest.mark.whole
@pytest.mark.parametrize("room", ["introvae", "sparse_autoencoder"])
def test_figures_read_each_file_of_a_run_once(settings, room):
    made = ledger_of(LEDGER)  # which figures of specifications draw
    for name, judged in zip(
        ("claims", "specifications"), claims.judge(made.claims, made, adapter.all_findings(settings)), strict=True
    ):
        tables.write_table(judged, reading.results(settings), name)
    with openings() as found:
        adapter.draw(settings, room)
    of_runs = Counter(path for path in found if "runs" in path.parts)
    assert of_runs
    assert set(of_runs.values()) == {1}


def test_gathering_reads_each_file_of_a_run_once(settings):
    with openings() as found:
        adapter.gathered(settings, *settings.rooms)
    of_runs = Counter(path for path in found if "runs" in path.parts)
    assert len(of_runs) > 4 * 50
    assert set(of_runs.values()) == {1}
