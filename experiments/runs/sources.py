"""The files that numbers come from, derived from imports: a change in one makes a run stale, and is part of its identity.

The imports are read from the source text, so that torch need not be loaded. An import below ``if TYPE_CHECKING`` runs
nothing and is not followed, nor is the file of a package that only stands in the name of an imported module: ``softadapt`` in
``softadapt.ranks``. Left out are files whose effect shows elsewhere: settings, by their values in the run's identity,
``experiments/runs``, which starts, saves and records runs but computes no numbers, except for the training loop, and
``experiments/data/fetch.py``, since the SHA-256 of the data says what was fetched. Files that are found by name are added:
weighting rules that the settings name, and data files that a module lists in ``DATA_FILES``.
"""

import ast
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

from experiments.runs.files import ROOT, fingerprint
from experiments.runs.room import WEIGHTINGS_FOLDER


def run_files(room: str, rules: Iterable[str] = ()) -> list[Path]:
    """Return the sorted files that the numbers of a room's runs come from, with these weighting rules."""
    return closure([ROOT / "experiments" / room / "run.py", *(WEIGHTINGS_FOLDER / f"{rule}.py" for rule in rules)])


def code_fingerprint(room: str, rules: Iterable[str] = ()) -> str:
    """Return the first 16 digits of the SHA-256 over `run_files`."""
    return fingerprint(run_files(room, rules))


def module_files(*modules: str) -> list[Path]:
    """Return the sorted files behind modules, as ``experiments.introvae.figures``, these included."""
    return closure([path for module in modules for path in _paths_of(module)])


def closure(files: Iterable[Path]) -> list[Path]:
    """Return `files` and every file of this repository that they import or list as data, however indirectly, sorted."""
    found: set[Path] = set()
    waiting = list(files)
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _behind(path)
    return sorted(found)


@functools.cache
def _behind(path: Path) -> tuple[Path, ...]:
    """The files that one file imports or lists, without those that are left out."""
    if path.suffix != ".py":
        return ()
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    package = ".".join(path.parent.relative_to(ROOT).parts)
    imported = [file for name in _imports(tree, package) for file in _paths_of(name)]
    listed = [path.parent / name for name in _data_files(tree)]
    return tuple(file for file in [*imported, *listed] if not _left_out(file))


def _left_out(path: Path) -> bool:
    if path.parent == ROOT / "experiments" / "runs":
        return path.name != "loop.py"
    elsewhere = (ROOT / "experiments" / "scale.py", ROOT / "experiments" / "data" / "fetch.py")
    return path.name == "settings.py" or path in elsewhere


def _imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Names of the modules that a file may import, with the names imported from them, since these may be modules too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield from _imports(ast.Module(node.orelse, []), package)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
        else:
            yield from _imports(node, package)


def _data_files(tree: ast.Module) -> list[str]:
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if [ast.unparse(target) for target in targets] == ["DATA_FILES"]:
            return list(ast.literal_eval(node.value))  # type: ignore[attr-defined]
    return []


@functools.cache
def _paths_of(module: str) -> list[Path]:
    """The file of a module of this repository, as a list of one; empty for any other name, and for a package without code."""
    place = ROOT.joinpath(*module.split("."))
    package = place / "__init__.py"
    if package.is_file():
        code = ast.parse(package.read_text(encoding="utf-8")).body
        return [package] if any(not isinstance(node, ast.Expr) for node in code) else []
    return [place.with_suffix(".py")] if place.with_suffix(".py").is_file() else []
