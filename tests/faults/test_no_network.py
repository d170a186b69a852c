"""Without a network: one line with every source's reason, no partial files; what is there already is used."""

import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from made_data import make_faces, make_mnist

from experiments.data import mnist, orl_faces
from experiments.data.__main__ import main
from experiments.data.fetch import SourceFailed
from experiments.runs.errors import UserError

pytestmark = pytest.mark.whole


@pytest.fixture
def no_network(monkeypatch):
    def fail(*arguments, **keywords):
        raise urllib.error.URLError("Network is unreachable")

    def fail_client(command, *arguments):
        raise SourceFailed(f"{command[0]}: Network is unreachable")

    monkeypatch.setattr(urllib.request, "urlopen", fail)
    monkeypatch.setattr(mnist, "run_client", fail_client)
    monkeypatch.setattr(orl_faces, "run_client", fail_client)


@pytest.mark.parametrize("data", ["mnist", "orl-faces"])
def test_fetching_is_one_line_with_every_reason_and_leaves_nothing(no_network, tmp_path, data):
    with pytest.raises(UserError) as error:
        main(["fetch", data, "--data-dir", str(tmp_path)])
    assert str(error.value).splitlines() == [str(error.value)]
    assert "could not be fetched" in str(error.value)
    assert str(error.value).count("unreachable") >= 2
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("data", ["mnist", "orl-faces"])
def test_what_is_there_is_used(no_network, tmp_path, monkeypatch, data):
    monkeypatch.setattr(mnist, "CHECKSUMS", make_mnist(tmp_path))
    monkeypatch.setattr(orl_faces, "CHECKSUM", make_faces(tmp_path))
    main(["fetch", data, "--data-dir", str(tmp_path)])


def test_fetching_what_is_damaged_leaves_the_rest_as_it_was(no_network, tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "CHECKSUMS", make_mnist(tmp_path))
    damaged = tmp_path / "mnist" / "train-images-idx3-ubyte"
    damaged.write_bytes(b"x")
    before = {path.name: path.read_bytes() for path in (tmp_path / "mnist").iterdir()}
    with pytest.raises(UserError, match="could not be fetched"):
        main(["fetch", "mnist", "--data-dir", str(tmp_path)])
    assert {path.name: path.read_bytes() for path in (tmp_path / "mnist").iterdir()} == before


@pytest.mark.parametrize("data", ["mnist", "orl-faces"])
def test_a_process_without_any_network_is_one_line(tmp_path, number_of_trials, data):
    """In a network namespace of its own, where nothing is reachable, and nothing is patched."""
    if number_of_trials == 1:
        pytest.skip("package clients wait long for a network: thorough mode only")
    isolated = ["unshare", "--net"]
    if shutil.which("unshare") is None or subprocess.run([*isolated, "true"], check=False).returncode:
        pytest.skip("a network namespace takes root")
    command = [*isolated, sys.executable, "-m", "experiments.data", "fetch", data, "--data-dir", str(tmp_path / "data")]
    caches = dict.fromkeys(("npm_config_cache", "PIP_CACHE_DIR"), str(tmp_path / "cache"))
    environment = os.environ | {"PYTHONPATH": "."} | caches  # what a client has kept needs no network
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith("error: ")
    assert [path for path in (tmp_path / "data").rglob("*") if path.is_file()] == []
