"""A release has one version, and says what changed."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

import softadapt


def test_the_citation_has_the_version_of_the_package():
    citation = yaml.safe_load(Path("CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == softadapt.__version__


def test_the_package_is_built_with_that_version():
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in project["project"]
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "softadapt.__version__"}


def test_the_changelog_tells_what_the_version_brought():
    headings = re.findall(r"^## (.+)$", Path("CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert softadapt.__version__ in headings


def test_pre_commit_downloads_nothing():
    hooks = yaml.safe_load(Path(".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert {repository["repo"] for repository in hooks["repos"]} == {"local"}
    assert {hook["language"] for repository in hooks["repos"] for hook in repository["hooks"]} == {"system"}


def test_the_other_project_of_this_import_name_is_detected(tmp_path):
    """Its files lie in the folder of ours if both are installed, this one last."""
    shutil.copytree("softadapt", tmp_path / "softadapt")
    (tmp_path / "softadapt/algorithms").mkdir()
    command = [sys.executable, "-c", "import softadapt"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "ImportError: two projects share the folder" in result.stderr
    assert "pip uninstall softadapt-suite softadapt" in result.stderr
