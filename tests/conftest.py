"""Fixtures of all tests: made data, tiny settings, and how many trials the faults are given."""

import sys

import pytest
import torch
import yaml
from hypothesis import settings
from made_data import make_faces, make_mnist, tiny_settings

from experiments.data import mnist, orl_faces

settings.register_profile("suite", deadline=None)  # a busy machine is no failure
settings.register_profile("thorough", deadline=None, max_examples=10_000)
settings.load_profile("suite")


def pytest_addoption(parser):
    group = parser.getgroup("faults")
    group.addoption("--trials", type=int, default=1, help="trials of every random fault in tests/faults (default: 1)")
    group.addoption("--faults-table", metavar="PATH", help="write faults, trials and outcomes to PATH.md and PATH.csv")


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _no_open_figures():
    """Close a test's figures: Matplotlib warns of many open ones, which is an error in whichever test comes next."""
    yield
    if (pyplot := sys.modules.get("matplotlib.pyplot")) is not None:
        pyplot.close("all")


@pytest.fixture
def made_mnist(tmp_path, monkeypatch):
    """A data folder with made digits."""
    monkeypatch.setattr(mnist, "CHECKSUMS", make_mnist(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def made_faces(tmp_path, monkeypatch):
    """A data folder with made faces."""
    monkeypatch.setattr(orl_faces, "CHECKSUM", make_faces(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def tiny_config(tmp_path):
    """Path of a config of the smoke scale made smaller still, on the made data."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_settings(tmp_path / "data")), encoding="utf-8")
    return path


@pytest.fixture
def faces_config(tmp_path, tiny_config):
    """Path of the same config without all experiments but IntroVAE."""
    values = yaml.safe_load(tiny_config.read_text(encoding="utf-8"))
    values = {"scale": "faces-only", "data_dir": values["data_dir"], "introvae": values["introvae"]}
    path = tmp_path / "faces-only.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path
