"""A seeded sample of all mutants that mutmut can make, in copies of the repository that hold no other mutants.

A package is tried with ``tests/<package>`` where that folder exists, and a room with ``tests/rooms``; packages with the same tests
share a copy. Rooms and evidence do, and lineage is tested with provenance. With the sampled mutants alone, a mutated file is hardly longer than the original: with all of them it takes
longer to import than its tests take to run.
"""

import json
import random
import shutil
from collections import defaultdict
from collections.abc import Iterable
from contextlib import chdir
from pathlib import Path

import libcst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut import __main__ as mutmut
from mutmut import configuration
from mutmut.mutation import file_mutation

WORK = Path("results/mutants").absolute()
PACKAGES = configuration.config().source_paths
all_mutations = file_mutation.create_mutations


def is_mutated(path: Path) -> bool:
    """Neither the few lines of a command nor the figures of a room: no test looks at a picture."""
    picture = path.name == "figures.py" and path.with_name("run.py").exists()
    return Path(path.parts[0]) in PACKAGES and path.suffix == ".py" and path.name != "__main__.py" and not picture


def tests_of(source: str) -> str:
    """The folders of tests of a source file, separated by spaces."""
    package = Path(source).parent.as_posix()
    folder = "tests/runs" if package == "experiments" else f"tests/{package.removeprefix('experiments/')}"
    alone = Path(folder).is_dir() and folder != "tests/evidence"
    return folder if alone else "tests/evidence tests/provenance tests/rooms"


def copy_of(tests: str) -> Path:
    """The copy of the repository in which these tests try mutants."""
    return WORK / tests.replace("/", "-").replace(" ", "-")


def draw(sources: Iterable[str], sample: int, seed: int) -> dict[str, dict[str, list[int]]]:
    """Sampled mutants by test folder and file, as places in `_mutations`."""
    mutants = [(source, n) for source in sources for n in range(len(_mutations(source, Path(source).read_text())[1]))]
    drawn = defaultdict(lambda: defaultdict(list))
    for source, number in sorted(random.Random(seed).sample(mutants, min(sample, len(mutants)))):
        drawn[tests_of(source)][source].append(number)
    print(f"{min(sample, len(mutants))} of {len(mutants)} mutants, seed {seed}", flush=True)
    return drawn


def make_copy(tests: str, drawn: dict[str, list[int]], files: Iterable[Path]) -> dict[str, list[int]]:
    """Make the copy that mutmut runs in, with the drawn mutants alone; return their lines by file."""
    folder, lines = copy_of(tests), {}
    for path in files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, folder / path)
    configure(tests, list(drawn))
    with chdir(folder):
        for source, numbers in drawn.items():

            def only_drawn(*arguments, source=source, numbers=numbers):
                module, mutations = _mutations(*arguments)
                place = MetadataWrapper(module, unsafe_skip_copy=True).resolve(PositionProvider)
                mutations = [mutations[n] for n in numbers]
                at = [place.get(m.original_node, place[m.contained_by_top_level_function]) for m in mutations]
                lines[source] = [position.start.line for position in at]
                return module, mutations, set(), set()

            file_mutation.create_mutations = only_drawn
            target = "mutants" / Path(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            if error := mutmut.create_mutants_for_file(Path(source), target).error:
                raise error
    return lines


def configure(tests: str, sources: list[str], options: Iterable[str] = ()) -> None:
    """Complete the section of mutmut in the pyproject.toml of a copy, with options for pytest."""
    kept = {"mutants", "pyproject.toml", *map(str, PACKAGES)}
    values = {
        "only_mutate": sources,
        "also_copy": sorted(path.name for path in copy_of(tests).iterdir() if path.name not in kept),
        "pytest_add_cli_args_test_selection": tests.split(),
        "pytest_add_cli_args": ["-p", "tests.mutation.in_order", *options],
    }
    section = "\n".join(["[tool.mutmut]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())])
    settings = Path("pyproject.toml").read_text().replace("[tool.mutmut]", section)
    (copy_of(tests) / "pyproject.toml").write_text(settings)
    configuration.reset_config()


def _mutations(source: str, code: str, *lines: set[int]) -> tuple[libcst.Module, list[file_mutation.Mutation]]:
    """The mutations of a file that mutmut can switch on, in the order of their names: function by function."""
    module, mutations, *_ = all_mutations(source, code, *lines)
    place: dict[libcst.CSTNode | None, int] = {}
    for node in module.body:
        for function in node.body.body if isinstance(node, libcst.ClassDef) else [node]:
            if isinstance(function, libcst.FunctionDef):
                place[function] = len(place)
    inside = [mutation for mutation in mutations if mutation.contained_by_top_level_function in place]
    return module, sorted(inside, key=lambda mutation: place[mutation.contained_by_top_level_function])
