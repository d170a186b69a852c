"""What a folder must hold to be a room. All rooms are held to it, and no test names one."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import adapter
import pytest
import synthetic
import yaml

from experiments import scale
from experiments.evidence import claims, reading
from experiments.runs.command_line import Request
from experiments.runs.files import ROOT
from experiments.runs.jobs import captions
from experiments.runs.room import Section
from experiments.runs.sources import run_files
from experiments.scale import DEFAULT, ROOMS, Settings

REQUIRED = {"README.md", "settings.py", "run.py", "rules.smk", "__main__.py", "__init__.py"}
OPTIONAL = {"findings.py", "figures.py"}
WITH_FINDINGS = [room for room in ROOMS if reading.has_part(room, "findings")]


def folder(room):
    return ROOT / "experiments" / room


def public_functions(module):
    """Functions that a module defines itself."""
    return {
        name
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    }


def test_every_folder_with_settings_is_a_room_of_the_scale():
    assert {path.parent.name for path in (ROOT / "experiments").glob("*/settings.py")} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_its_files_and_no_others(room):
    """Besides them, the files that its run consists of."""
    files = {path.name for path in folder(room).iterdir() if path.is_file()}
    of_the_run = {path.name for path in run_files(room) if path.parent == folder(room)}
    assert files >= REQUIRED
    assert files <= REQUIRED | OPTIONAL | of_the_run
    assert (folder(room) / "__init__.py").read_bytes() == b""
    folders = {path.name for path in folder(room).iterdir() if path.is_dir()} - {"__pycache__"}
    assert folders == ({"captions"} if room in WITH_FINDINGS else set())
    assert not of_the_run & {*OPTIONAL, "__main__.py"}, "a run does not depend on how it is read"


@pytest.mark.parametrize("room", ROOMS)
def test_the_settings_of_a_room_are_its_section_of_the_scale(room):
    module = importlib.import_module(f"experiments.{room}.settings")
    section = scale.load(DEFAULT).section(room)
    assert isinstance(section, Section)
    assert type(section).__module__ == module.__name__
    assert set(section.needs) <= set(ROOMS) - {room}
    assert all(field.description for field in type(section).model_fields.values())


@pytest.mark.parametrize("room", ROOMS)
def test_the_run_of_a_room_takes_a_request(room):
    module = importlib.import_module(f"experiments.{room}.run")
    assert list(inspect.signature(module.run).parameters.values()) == [
        inspect.Parameter("request", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Request)
    ]
    assert module.run.__module__ == module.__name__
    assert not hasattr(module, "main")


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_checks_the_rules_that_its_settings_name(room):
    section = scale.load(DEFAULT).section(room)
    module = importlib.import_module(f"experiments.{room}.run")
    assert ("check" in public_functions(module)) == any(map(section.weightings, section.names()))


@pytest.mark.parametrize("room", ROOMS)
def test_the_command_of_a_room_names_the_room_and_does_nothing_else(room):
    """So that a room that was copied to begin another does not start the one that it was."""
    tree = ast.parse((folder(room) / "__main__.py").read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert [ast.unparse(call.func) for call in calls] == ["main"]
    module, name, description = calls[0].args
    assert (ast.unparse(module), ast.literal_eval(name)) == ("scale", room)
    assert len(ast.literal_eval(description)) > 20
    assert "def " not in (folder(room) / "__main__.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("room", ROOMS)
def test_the_rules_of_a_room_run_that_room(room):
    text = (folder(room) / "rules.smk").read_text(encoding="utf-8")
    assert f"rule {room}:" in text or f'f"{room}_' in text  # one rule, or several whose names begin so
    started = set(re.findall(r"experiments\.(\w+)", text))
    assert started & set(ROOMS) == {room}


@pytest.mark.parametrize("room", ROOMS)
def test_figures_tables_and_claims_come_together_with_findings(room):
    found = room in WITH_FINDINGS
    assert reading.has_part(room, "figures") == found
    assert bool(captions(room, "figures")) == bool(captions(room, "tables")) == found
    assert bool(claims.measurements(room)) == found


@pytest.mark.parametrize("room", WITH_FINDINGS)
def test_the_captions_of_figures_are_the_list_of_the_functions_that_draw_them(room):
    module = reading.open_room(room, "figures")
    assert sorted(public_functions(module)) == captions(room, "figures")
    for name in captions(room, "figures"):
        assert list(inspect.signature(getattr(module, name)).parameters) == ["runs"]


@pytest.mark.parametrize("room", WITH_FINDINGS)
def test_the_captions_of_tables_are_the_list_of_the_tables(room, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = synthetic.scale()
    settings = made.write(room, *Settings.model_validate(made.settings).section(room).needs)
    assert sorted(adapter.tables(settings, room)) == captions(room, "tables")


def test_no_two_rooms_have_a_figure_or_a_table_of_the_same_name():
    """They share a folder below results and figures."""
    for kind in ("figures", "tables"):
        names = [name for room in ROOMS for name in captions(room, kind)]
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("room", ROOMS)
def test_every_caption_says_something(room):
    for path in folder(room).glob("captions/*/*"):
        assert path.parent.name in ("figures", "tables")
        assert path.suffix == ".rst"
        assert len(path.read_text(encoding="utf-8").split()) >= 5, path


def test_infrastructure_knows_no_room():
    """No name of a room is text in the code that all rooms share: a new room is one folder and one line in ``scale.py``."""
    known = {}
    for package in ("runs", "evidence", "provenance", "weightings"):
        for path in (ROOT / "experiments" / package).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
            if found := sorted(texts & set(ROOMS)):
                known[f"{package}/{path.name}"] = found
    assert known == JUDGE


JUDGE = {"runs/command_line.py": ["digit_classifier"], "evidence/manuscript.py": ["digit_classifier"]}
"""The one room that another needs the results of: its folder is an option, and its accuracy is quoted."""


def test_the_map_of_the_experiments_names_every_room():
    text = (ROOT / "experiments" / "README.md").read_text(encoding="utf-8")
    assert [room for room in ROOMS if f"{room}/" not in text and f"({room}" not in text] == []


def test_the_default_scale_has_every_room():
    assert set(yaml.safe_load(Path(ROOT, DEFAULT).read_text(encoding="utf-8"))) >= set(ROOMS)
    assert scale.load(DEFAULT).complete
