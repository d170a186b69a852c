"""A small finished scale, made once and copied for every test."""

import hashlib
import shutil

import finished_scale
import pytest

from experiments.data import orl_faces


@pytest.fixture(scope="session")
def analysed_once(tmp_path_factory):
    """A folder with a small finished scale, its analysis done; made once, to be copied."""
    folder = tmp_path_factory.mktemp("analysed")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        finished_scale.lay_out(folder)
        finished_scale.analyse(monkeypatch)
    return folder


@pytest.fixture
def analysed(analysed_once, tmp_path, monkeypatch):
    """A copy of that folder, the working directory of the test."""
    folder = tmp_path / "analysed"
    shutil.copytree(analysed_once, folder)
    monkeypatch.chdir(folder)
    checksum = hashlib.sha256((folder / "data" / "orl-faces" / "images.npy").read_bytes()).hexdigest()
    monkeypatch.setattr(orl_faces, "CHECKSUM", checksum)
    return folder
