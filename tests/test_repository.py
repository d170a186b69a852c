"""The repository keeps its own promises: one truth for versions, no secrets of one machine, one-way imports."""

import ast
import re
import subprocess
from pathlib import Path

import pytest
import yaml

TRACKED = [
    Path(name)
    for name in subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout.splitlines()
    if Path(name).is_file()
]


def pins():
    lines = Path("requirements.lock").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_conda_and_make_build_the_same_environment():
    environment = yaml.safe_load(Path("environment.yml").read_text())
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert pip == ["--requirement requirements.lock"]
    assert {re.split("[=<>]", name)[0] for name in conda} == {"python", "pip", "make"}
    assert "--requirement requirements.lock" in Path("Makefile").read_text()


def test_the_lock_holds_what_the_suite_needs_and_is_what_is_installed():
    from importlib.metadata import version

    named = [
        "torch",
        "torchvision",
        "numpy",
        "scipy",
        "scikit-image",
        "piq",
        "matplotlib",
        "pandas",
        "snakemake",
        "pytest",
    ]
    assert set(named) <= pins().keys()
    for name in named:
        assert version(name).split("+")[0] == pins()[name]


def test_no_path_of_one_machine_and_no_host_of_a_registry():
    patterns = re.compile(
        "|".join(["/" + "work/", "/" + "root/", "pypi" + r"\.org", "python" + "hosted", "npm" + r"js\."])
    )
    for path in TRACKED:
        if path.suffix in {".png", ".pdf", ".npz"}:
            continue
        found = patterns.search(path.read_text(encoding="utf-8"))
        assert not found, f"{path}: {found.group() if found else ''}"


ALLOWED = {
    "softadapt": {"softadapt"},
    "models": {"models"},
    "experiments": {"softadapt", "models", "experiments"},
}


def imported(path):
    """Modules of this repository that a file imports, at any depth."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        yield from (name for name in names if name.split(".")[0] in ALLOWED)


@pytest.mark.parametrize("path", [p for p in TRACKED if p.suffix == ".py" and p.parts[0] in ALLOWED], ids=str)
def test_imports_run_one_way(path):
    package = path.parts[0]
    scripts = {"gradient_descent", "digit_classifier", "sparse_autoencoder", "introvae"}
    for name in imported(path):
        top, *rest = name.split(".")
        assert top in ALLOWED[package], f"{path} imports {name}"
        if package == "experiments" and top == "experiments" and rest:
            timed = {"gradient_descent"} if path.name == "step_cost.py" else set()  # it times that script's own step
            assert rest[0] not in (scripts - timed) | {"audits"}, f"{path} imports the experiment {name}"
            if path.parts[1] != "analysis":
                assert rest[0] != "analysis", f"{path} imports the analysis"
            else:
                allowed = {"analysis", "config", "environment", "errors", "files", "sources"}
                if path.name == "verify.py":  # it hashes what those wrote
                    allowed |= {"data", "progress", "runs"}
                assert rest[0] in allowed, f"{path} reads more than run folders: {name}"


def test_library_and_models_import_torch_only():
    allowed = {"torch", "softadapt", "models", "collections", "dataclasses", "functools", "itertools", "math", "typing"}
    for path in TRACKED:
        if path.suffix == ".py" and path.parts[0] in ("softadapt", "models"):
            for node in ast.walk(ast.parse(path.read_text())):
                modules = []
                if isinstance(node, ast.Import):
                    modules = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    modules = [node.module]
                assert {module.split(".")[0] for module in modules} <= allowed, path


def test_checkpoints_are_loaded_without_running_code():
    for path in TRACKED:
        if path.suffix == ".py" and path.parts[0] != "tests":
            for call in re.findall(r"torch\.load\([^\n]*", path.read_text()):
                assert "weights_only=True" in call, f"{path}: {call}"


@pytest.mark.parametrize("path", [p for p in TRACKED if p.suffix == ".py"], ids=str)
def test_a_file_holds_one_idea(path):
    assert len(path.read_text().splitlines()) <= 400


def test_the_readme_shows_the_reference_claims():
    """And so do the READMEs of rooms that have a place for their claims."""
    from experiments.provenance.reference import readmes
    from experiments.scale import load

    reference = Path("results/reference/laptop")
    for path, text in readmes(load("config/laptop.yaml"), reference / "claims.csv", reference / "claims.md").items():
        assert path.read_text(encoding="utf-8") == text


def test_links_in_the_documents_lead_somewhere():
    for document in ("README.md", "CONTRIBUTING.md", *map(str, Path("docs").glob("*.md"))):
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", Path(document).read_text(encoding="utf-8")):
            assert (Path(document).parent / target).exists(), f"{document}: {target}"
