"""Who may import whom: one table, to which every import is held, in functions and for types as well."""

import ast
import json
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from experiments.runs import sources
from experiments.scale import ROOMS

RUNS = "experiments.runs"
COMPUTING = [RUNS, "experiments.data", "experiments.metrics", "experiments.weightings", "models", "softadapt"]
TOOLS = [
    f"experiments.evidence.{tool}" for tool in ("reading", "statistics", "summaries", "style", "specification_curve")
]

ARROWS = {
    "softadapt": ["softadapt"],
    "models": ["models"],
    RUNS: [RUNS],
    "experiments.data": ["experiments.data", RUNS, "softadapt"],
    "experiments.metrics": ["experiments.metrics", RUNS, "softadapt", "models"],
    "experiments.weightings": ["experiments.weightings", RUNS, "softadapt"],
    "ROOM.settings": ["experiments.runs.room"],
    "ROOM.__main__": ["experiments.scale", RUNS],
    "ROOM.findings": ["ROOM.settings", *TOOLS, "experiments.runs.errors"],
    "ROOM.figures": ["ROOM.settings", "ROOM.findings", *TOOLS, "models.objectives"],
    "experiments.step_cost.run": ["ROOM", *COMPUTING, "ANY.settings", "ANY.run", "ANY.updates"],  # it times their steps
    "ROOM": ["ROOM", *COMPUTING],
    "experiments.scale": ["ANY.settings", RUNS],
    "experiments.evidence": ["experiments.evidence", "experiments.scale", RUNS],
    "experiments.provenance": [
        *("experiments.provenance", "experiments.evidence", "experiments.scale", RUNS, "experiments.data")
    ],
    "experiments": [],
}
"""From -> may import: modules and all below them. The first row that fits decides. ROOM is the folder of the importing
file's own experiment, ANY that of any. What evidence opens by name is no import."""

WITHOUT_TORCH = ("settings", "__main__", "findings", "figures", "evidence", "scale", "room", "command_line", "jobs")
"""Files and packages that load no torch, so that help, plans, tables and figures are fast."""


def module_of(path: Path) -> str:
    return ".".join(path.parent.parts if path.name == "__init__.py" else path.with_suffix("").parts)


FILES = {
    module_of(path): path for package in ("softadapt", "models", "experiments") for path in Path(package).rglob("*.py")
}


def imported_names(path):
    """Dotted names that a file imports anywhere, relative ones made absolute, each with whether it may be of a module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = path.parent.parts[: len(path.parent.parts) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((module, alias.name) for alias in node.names)


def imported(path):
    """Modules of this repository that a file imports: those that it names, not the packages that these lie in."""
    for module, name in imported_names(path):
        yield from [full for full in (f"{module}.{name}", module) if full in FILES][:1]


def fits(module, row, room):
    """Whether a module is that of a row, or lies below it."""
    for own in ROOMS if row.startswith("ANY") else [room]:
        place = row.replace("ANY", f"experiments.{own}").replace("ROOM", f"experiments.{own}")
        if f"{module}.".startswith(f"{place}."):
            return True
    return False


def forbidden(module, targets):
    """Those of the imported modules that no row allows."""
    room = next((name for name in ROOMS if fits(module, "ROOM", name)), None)
    allowed = next(allowed for row, allowed in ARROWS.items() if fits(module, row, room))
    return [target for target in targets if not any(fits(target, row, room) for row in allowed)]


def test_every_import_follows_an_arrow():
    wrong = {module: found for module, path in FILES.items() if (found := forbidden(module, imported(path)))}
    assert wrong == {}


def test_no_file_imports_itself_in_a_circle():
    """`CycleError` names the files of a circle."""
    tuple(TopologicalSorter({module: set(imported(path)) for module, path in FILES.items()}).static_order())


@pytest.mark.parametrize(
    ("module", "target"),
    [
        ("softadapt.module", "experiments.runs.errors"),
        ("models.introvae", "softadapt"),
        ("experiments.runs.loop", "experiments.scale"),
        ("experiments.runs.loop", "experiments.weightings"),
        ("experiments.data.faces", "models.introvae"),
        ("experiments.weightings", "experiments.metrics.psnr"),
        ("experiments.introvae.settings", "experiments.runs.errors"),
        ("experiments.introvae.settings", "experiments.digit_classifier.settings"),
        ("experiments.introvae.run", "experiments.sparse_autoencoder.run"),
        ("experiments.introvae.updates", "experiments.scale"),
        ("experiments.introvae.run", "experiments.evidence.reading"),
        ("experiments.introvae.findings", "experiments.introvae.run"),
        ("experiments.introvae.findings", "experiments.evidence.claims"),
        ("experiments.gradient_descent.figures", "models.introvae"),
        ("experiments.gradient_descent.figures", "experiments.introvae.findings"),
        ("experiments.step_cost.run", "experiments.introvae.findings"),
        ("experiments.scale", "experiments.introvae.run"),
        ("experiments.evidence.reading", "experiments.introvae.findings"),
        ("experiments.evidence.reading", "experiments.data.mnist"),
        ("experiments.provenance.verify", "experiments.introvae.run"),
        ("experiments.new_package.file", "experiments.runs.files"),
    ],
)
def test_the_table_forbids(module, target):
    assert forbidden(module, [target]) == [target]


@pytest.mark.parametrize("package", ["softadapt", "models"])
def test_library_and_models_import_torch_only(package):
    own = [path for path in FILES.values() if path.parts[0] == package and "integrations" not in path.parts]
    names = {name.split(".")[0] for path in own for name, _ in imported_names(path)}
    assert names - sys.stdlib_module_names <= {"torch", package}


@pytest.mark.parametrize("place", ["settings", "findings", "figures", "evidence", "scale"])
def test_what_describes_and_reads_runs_imports_no_torch_in_functions_either(place):
    for module, path in FILES.items():
        if place in module.split("."):
            names = sources._imports(ast.parse(path.read_text(encoding="utf-8")), module)
            assert "torch" not in {name.split(".")[0] for name in names}, path


SCRIPT = """
import importlib, json, sys
unwanted, *modules = json.loads(sys.argv[1])
for module in modules:
    importlib.import_module(module)
    assert unwanted not in sys.modules, module
"""


@pytest.mark.parametrize(
    ("unwanted", "places"),
    [("torch", WITHOUT_TORCH), ("pandas", ("settings", "scale", "room", "command_line", "jobs"))],
)
def test_what_is_asked_often_loads_neither_torch_nor_pandas(unwanted, places):
    modules = [module for module in FILES if set(module.split(".")) & set(places)] + ["models.objectives"]
    assert len(modules) > len(ROOMS)
    words = json.dumps([unwanted, *modules])
    result = subprocess.run([sys.executable, "-c", SCRIPT, words], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
