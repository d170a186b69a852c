"""What every room must have and keep to, whatever its experiment: no list of rooms stands here."""

import ast
import importlib
from pathlib import Path

import pytest

from experiments.evidence.claims import load_claims, measurement, measurements
from experiments.evidence.statistics import Estimate
from experiments.runs.jobs import captions
from experiments.runs.room import Section
from experiments.runs.sources import run_files
from experiments.runs.validation import model_in
from experiments.scale import ROOMS, Settings, load

SCALE = load("config/laptop.yaml")


def functions(room, part):
    """Public functions and classes of a file of a room."""
    tree = ast.parse(Path("experiments", room, f"{part}.py").read_text(encoding="utf-8"))
    return {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    }


def test_the_folders_of_rooms_are_the_fields_of_a_scale():
    folders = {path.parent.name for path in Path("experiments").glob("*/settings.py")}
    assert folders == set(ROOMS)
    assert all(issubclass(model_in(Settings.model_fields[room].annotation), Section) for room in ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_its_files_and_an_empty_init(room):
    folder = Path("experiments", room)
    for name in ("README.md", "settings.py", "run.py", "rules.smk", "__main__.py"):
        assert (folder / name).stat().st_size > 0, name
    assert (folder / "__init__.py").read_text(encoding="utf-8") == ""
    assert (folder / "findings.py").exists() == (folder / "figures.py").exists() == (folder / "captions").exists()


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_without_its_name_in_its_own_rules_would_see_the_last_room(room):
    rules = Path("experiments", room, "rules.smk").read_text(encoding="utf-8")
    assert f"rule {room}:" in rules
    assert f"python -m experiments.{room} " in rules or f"-m experiments.{room} " in rules
    assert "{room}" not in rules


@pytest.mark.parametrize("room", [room for room in ROOMS if captions(room, "figures")])
def test_the_captions_of_figures_are_the_functions_of_figures_py(room):
    assert functions(room, "figures") == set(captions(room, "figures"))


@pytest.mark.parametrize("room", [room for room in ROOMS if captions(room, "tables")])
def test_a_room_with_tables_has_rows_and_findings(room):
    assert {"rows", "Findings"} <= set(vars(importlib.import_module(f"experiments.{room}.findings")))
    assert measurements(room)


def test_names_are_of_one_room_and_every_figure_stands_in_the_paper():
    manuscript = Path("paper/paper.typ").read_text(encoding="utf-8")
    for kind in ("figures", "tables"):
        names = [name for room in ROOMS for name in captions(room, kind)]
        assert len(names) == len(set(names))
        assert kind == "tables" or [name for name in names if f'"{name}"' not in manuscript] == []


def test_every_measurement_of_a_claim_is_a_method_that_returns_an_estimate():
    for claim in load_claims():
        if measured := measurement(claim):
            room, name, _ = measured
            findings = importlib.import_module(f"experiments.{room}.findings").Findings
            assert getattr(findings, name).__annotations__["return"] is Estimate


@pytest.mark.parametrize("room", ROOMS)
def test_the_files_behind_a_run_hold_no_other_room(room):
    section = SCALE.section(room)
    files = {path for name in section.names() for path in run_files(room, section.weightings(name))}
    others = {path.parent.name for path in files} & (set(ROOMS) - {room})
    assert others == ({"gradient_descent", "introvae"} if room == "step_cost" else set())  # it times their steps


@pytest.mark.parametrize("room", ROOMS)
def test_every_setting_of_a_room_is_described(room):
    def undescribed(model, prefix=""):
        for name, field in model.model_fields.items():
            inner = model_in(field.annotation)
            if not field.description:
                yield f"{prefix}{name}"
            if inner:
                yield from undescribed(inner, f"{prefix}{name}.")

    assert [name for name in undescribed(type(SCALE.section(room))) if not name.endswith("rule")] == []
