"""The files that a run's numbers come from, derived from imports: none too few, none of another room."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from experiments import scale
from experiments.runs import files, sources
from experiments.runs.command_line import parse
from experiments.runs.files import ROOT
from experiments.runs.room import WEIGHTINGS_FOLDER, rules_of
from experiments.runs.sources import closure, code_fingerprint, module_files, run_files
from experiments.scale import ROOMS

RULES = sorted(path.stem for path in WEIGHTINGS_FOLDER.glob("[a-z]*.py"))


def names(paths):
    return {str(path.relative_to(sources.ROOT)) for path in paths}


def lay_out(folder, contents):
    for name, text in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))


def forget():
    for cached in (sources._behind, sources._paths_of):
        cached.cache_clear()


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A function that lays out a small repository and returns what the run of its room needs besides itself."""
    monkeypatch.setattr(sources, "ROOT", tmp_path)

    def find(contents, start="experiments/room/run.py"):
        lay_out(tmp_path, contents)
        forget()
        return names(closure([tmp_path / start])) - {start}

    yield find
    forget()


HELPER = {"experiments/room/_helper.py": "x = 1"}


@pytest.mark.parametrize(
    "line",
    [
        "from ._helper import x",
        "from . import _helper",
        "from . import something, _helper",
        "import experiments.room._helper",
        "import os, experiments.room._helper as other",
        "from experiments.room import _helper",
        "from experiments.room._helper import x",
        "from ..room import _helper",
        "from ..room._helper import x",
        "def run():\n    from ._helper import x",
        "class Run:\n    def run(self):\n        import experiments.room._helper",
        "try:\n    from ._helper import x\nexcept ImportError:\n    pass",
        "if not TYPE_CHECKING:\n    from ._helper import x",
        "if TYPE_CHECKING:\n    import os\nelse:\n    from ._helper import x",
        "with open('x'):\n    from ._helper import x",
    ],
)
def test_every_way_to_import_a_file_is_followed(made, line):
    assert made({"experiments/room/run.py": line, **HELPER}) == {"experiments/room/_helper.py"}


@pytest.mark.parametrize(
    "line",
    [
        "if TYPE_CHECKING:\n    from ._helper import x",
        "import typing\nif typing.TYPE_CHECKING:\n    from ._helper import x",
        "import _helper",
        "text = 'from ._helper import x'",
        "from .other import _helper",
    ],
)
def test_what_imports_nothing_is_not_followed(made, line):
    assert made({"experiments/room/run.py": line, **HELPER}) == set()


def test_imports_are_followed_through_files_and_around_circles(made):
    found = made(
        {
            "experiments/room/run.py": "from models import one",
            "models/one.py": "from .two import x",
            "models/two.py": "from experiments.data import three\nfrom models import one",
            "experiments/data/three.py": "import models.two",
        }
    )
    assert found == {"models/one.py", "models/two.py", "experiments/data/three.py"}


def test_a_package_counts_where_it_is_imported_itself_and_has_code(made):
    contents = {
        "experiments/room/run.py": "from library import f\nfrom documented import g\nfrom other.part import h",
        "library/__init__.py": "from library.part import f",
        "library/part.py": "",
        "documented/__init__.py": "'''A docstring.'''",
        "documented/g.py": "",
        "other/__init__.py": "from other.unused import x",
        "other/part.py": "",
        "other/unused.py": "",
    }
    assert made(contents) == {"library/__init__.py", "library/part.py", "documented/g.py", "other/part.py"}


@pytest.mark.parametrize("line", ["DATA_FILES = ('model.npz',)", "DATA_FILES: tuple[str, ...] = ('model.npz',)"])
def test_data_files_that_a_module_lists_are_sources(made, line):
    found = made(
        {"experiments/room/run.py": "from experiments.metrics import m", "experiments/metrics/m.py": line}
        | {"experiments/metrics/model.npz": "numbers"}
    )
    assert found == {"experiments/metrics/m.py", "experiments/metrics/model.npz"}


def test_settings_and_what_starts_and_saves_runs_are_left_out(made):
    found = made(
        {
            "experiments/room/run.py": """
                from experiments import scale
                from experiments.data import fetch
                from experiments.room.settings import X
                from experiments.runs import loop
                from experiments.runs.folder import Run
                """,
            "experiments/data/fetch.py": "from models import net",
            "experiments/scale.py": "from models import net",
            "experiments/room/settings.py": "from models import net",
            "experiments/runs/loop.py": "from experiments.runs.progress import bar",
            "experiments/runs/folder.py": "",
            "experiments/runs/progress.py": "",
            "models/net.py": "",
        }
    )
    assert found == {"experiments/runs/loop.py"}


def test_the_bytes_and_the_places_of_the_files_make_the_fingerprint(tmp_path):
    lay_out(tmp_path, {"a.py": "1", "b.py": "2"})
    one = files.fingerprint([tmp_path / "a.py", tmp_path / "b.py"])
    (tmp_path / "b.py").write_text("3")
    assert files.fingerprint([tmp_path / "a.py", tmp_path / "b.py"]) != one
    (tmp_path / "b.py").write_text("2")
    assert files.fingerprint([tmp_path / "a.py", tmp_path / "b.py"]) == one
    (tmp_path / "b.py").rename(tmp_path / "c.py")
    assert files.fingerprint([tmp_path / "a.py", tmp_path / "c.py"]) != one


@pytest.fixture
def edited(monkeypatch):
    """A function that lets a file of the repository read as if it had been edited."""
    real = Path.read_bytes

    def edit(name):
        path = ROOT / name
        assert path.exists()
        monkeypatch.setattr(Path, "read_bytes", lambda self: real(self) + (b"\n" if self == path else b""))

    return edit


@pytest.mark.parametrize(
    ("room", "rules", "name", "counts"),
    [
        ("digit_classifier", [], "experiments/metrics/classification.py", True),
        ("digit_classifier", [], "experiments/data/mnist.py", True),
        ("digit_classifier", [], "experiments/data/fetch.py", False),
        ("introvae", ["fixed"], "experiments/data/orl_faces.py", True),
        ("introvae", ["fixed"], "experiments/data/image_folder.py", True),
        ("introvae", ["fixed"], "experiments/data/fetch.py", False),
        ("sparse_autoencoder", ["fixed"], "experiments/metrics/classification.py", True),
        ("sparse_autoencoder", ["fixed"], "experiments/runs/loop.py", True),
        ("sparse_autoencoder", ["fixed"], "experiments/runs/folder.py", False),
        ("sparse_autoencoder", ["fixed"], "experiments/weightings/gradnorm.py", False),
        ("sparse_autoencoder", ["gradnorm"], "experiments/weightings/gradnorm.py", True),
        ("sparse_autoencoder", ["gradnorm"], "experiments/weightings/_gradients.py", True),
        ("introvae", ["fixed"], "experiments/metrics/niqe_live_model.npz", True),
        ("introvae", ["fixed"], "softadapt/functional.py", False),
        ("introvae", ["softadapt"], "softadapt/functional.py", True),
        ("introvae", ["fixed"], "experiments/introvae/settings.py", False),
        ("niqe_collapse", [], "experiments/metrics/niqe_live_model.npz", True),
        ("step_cost", [], "experiments/weightings/softadapt.py", True),
        ("step_cost", [], "experiments/weightings/fixed.py", True),
        ("step_cost", [], "experiments/weightings/nequip.py", False),
    ],
)
def test_an_edit_of_a_file_changes_the_fingerprint_of_the_runs_that_it_counts_in(edited, room, rules, name, counts):
    before = code_fingerprint(room, rules)
    edited(name)
    assert (code_fingerprint(room, rules) != before) == counts


def test_files_behind_modules():
    assert names(module_files("models.objectives", "models.nowhere")) == {"models/objectives.py"}


SCRIPT = """
import importlib, json, sys, types
from pathlib import Path
root, tops, cases = json.loads(sys.argv[1])
imported = {}
for case, (packages, modules) in cases.items():
    for name in [name for name in sys.modules if name.split(".")[0] in tops]:  # those of the case before
        del sys.modules[name]
    for package in packages:  # without the code of packages that no import names
        stand_in = types.ModuleType(package)
        stand_in.__path__ = [str(Path(root, *package.split(".")))]
        sys.modules[package] = stand_in
    for module in modules:
        importlib.import_module(module)
    own = [module for name, module in sys.modules.items() if name.split(".")[0] in tops]
    imported[case] = [module.__file__ for module in own if hasattr(module, "__file__")]
print(json.dumps(imported))
"""
TOPS = ("experiments", "models", "softadapt")
CASES = {room: (room, []) for room in ROOMS} | {"all rules": ("sparse_autoencoder", RULES)}


@pytest.fixture(scope="module")
def really_imported():
    """Case -> the files that a fresh interpreter imports; one process asks for all, so that torch is loaded once."""
    questions = {}
    for case, (room, rules) in CASES.items():
        found = names(run_files(room, rules))
        packages = sorted(
            ".".join(path.parent.relative_to(ROOT).parts)
            for top in TOPS
            for path in (ROOT / top).rglob("__init__.py")
            if str(path.relative_to(ROOT)) not in found
        )
        modules = [f"experiments.{room}.run", *(f"experiments.weightings.{rule}" for rule in rules)]
        questions[case] = packages, modules
    words = json.dumps([str(ROOT), TOPS, questions])
    result = subprocess.run([sys.executable, "-c", SCRIPT, words], capture_output=True, text=True, check=True, cwd=ROOT)
    return {case: names(map(Path, paths)) for case, paths in json.loads(result.stdout).items()}


@pytest.mark.whole
@pytest.mark.xdist_group("what runs import")
@pytest.mark.parametrize("case", CASES)
def test_what_a_run_really_imports_is_in_its_closure(really_imported, case):
    """But for what is left out by rule: settings, what fetches data, and in ``runs`` all but the loop."""
    room, rules = CASES[case]
    found, imported = names(run_files(room, rules)), really_imported[case]
    runs = {name for name in imported if name.startswith("experiments/runs/")} - {"experiments/runs/loop.py"}
    settings = {name for name in imported if name.endswith("/settings.py")} | {"experiments/data/fetch.py"}
    assert f"experiments/{room}/run.py" in imported
    assert imported - runs - settings <= found
    later = {f"experiments/data/{name}.py" for name in ("celeba", "image_folder", "orl_faces")} | {
        "models/digit_classifier.py"
    }
    assert {name for name in found - imported if name.endswith(".py")} <= later, "a file counts without being needed"


@pytest.mark.parametrize("room", [room for room in ROOMS if room != "step_cost"])
def test_no_other_room_is_in_the_closure_of_a_room(room):
    """Step cost times the steps of others."""
    parts = [Path(name).parts for name in names(run_files(room, RULES))]
    assert {folder for top, folder, *_ in parts if top == "experiments"} & set(ROOMS) == {room}


def test_the_rules_that_a_run_depends_on_are_those_of_its_identity():
    """The workflow asks the section for them, and the run folder reads them from the identity."""
    for room, section in scale.load("config/smoke.yaml").rooms.items():
        for name in section.names():
            words = ["--method", name] if "method" in section.choices() else []
            (request,) = parse(scale, room, arguments=["--config", "config/smoke.yaml", *words])
            assert rules_of(request.identity) == sorted(section.weightings(name)), (room, name)
