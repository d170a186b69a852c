"""What a run notes of its commit and its processor."""

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from experiments.runs import environment

IGNORED = Path(".gitignore").resolve()


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A repository with one committed file, of which `environment` tells."""
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        (tmp_path / "experiments").mkdir(exist_ok=True)
        (tmp_path / "experiments" / "environment.py").touch()
        shutil.copy(IGNORED, tmp_path / ".gitignore")
        subprocess.run(
            ["git", "-c", "user.name=n", "-c", "user.email=e", *words], cwd=tmp_path, check=True, capture_output=True
        )
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "experiments" / "environment.py"))
    environment._git.cache_clear()
    yield tmp_path
    environment._git.cache_clear()


def test_only_changes_of_tracked_files_make_a_commit_dirty(clone):
    (clone / "notes.txt").write_text("x")
    assert environment.environment()["dirty"] is False
    environment._git.cache_clear()
    (clone / "experiments" / "environment.py").write_text("changed")
    assert environment.environment()["dirty"] is True


def test_an_environment_and_a_data_folder_that_are_links_are_ignored(clone):
    for name in (".venv", "data"):
        (clone / name).symlink_to("elsewhere")
    status = subprocess.run(["git", "status", "--porcelain"], cwd=clone, check=True, capture_output=True, text=True)
    assert status.stdout == ""


@pytest.fixture
def cpuinfo(monkeypatch):
    """A function that says what ``/proc/cpuinfo`` holds; None for a system without it."""

    def read(text):
        def read_text(path, encoding):
            if text is None:
                raise FileNotFoundError(path)
            return text

        environment._cpuinfo.cache_clear()
        monkeypatch.setattr(environment.Path, "read_text", read_text)
        found = environment._cpu_name(), environment._cpu_capability()
        monkeypatch.undo()
        return found

    yield read
    environment._cpuinfo.cache_clear()


INTEL = """processor\t: 0
model name\t: Some Xeon
flags\t\t: fpu fma avx2 avx avx512f amx_bf16 avx512_bf16 avx512ifma

processor\t: 1
model name\t: Another
flags\t\t: avx512vl
"""


def test_the_capability_of_a_processor_is_what_decides_rounding(cpuinfo):
    assert cpuinfo(INTEL) == ("Some Xeon", "amx_bf16 avx avx2 avx512_bf16 avx512f fma")
    assert cpuinfo("Features\t: fp sve asimd aes\n")[1] == "asimd sve"
    assert cpuinfo(None) == (platform.processor(), "")


def test_the_processor_is_part_of_the_environment():
    assert {"cpu", "cpu_capability"} <= environment.environment().keys()
