"""The repository keeps its own promises: one truth for versions, no secrets of one machine."""

import re
import subprocess
from pathlib import Path

import yaml

from experiments.runs.environment import PACKAGES

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

    named = [*PACKAGES, "pytest"]
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


def test_checkpoints_are_loaded_without_running_code():
    for path in TRACKED:
        if path.suffix == ".py" and path.parts[0] != "tests":
            for call in re.findall(r"torch\.load\([^\n]*", path.read_text()):
                assert "weights_only=True" in call, f"{path}: {call}"


def test_the_readme_shows_the_reference_claims():
    """And so do the READMEs of rooms that have a place for their claims."""
    from experiments.provenance.reference import readmes, shown_ledgers

    for path, text in readmes(shown_ledgers()).items():
        assert path.read_text(encoding="utf-8") == text
