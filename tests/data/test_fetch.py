"""Fetching: sources that fail are passed over, nothing half-written stays, two processes may fetch at once."""

import errno
import gzip
import io
import os
import threading
import time
from pathlib import Path

import pytest

from experiments.data import fetch
from experiments.data.fetch import SourceFailed, download, fetch_from_first, run_client
from experiments.runs.errors import UserError


def test_download(server, tmp_path):
    server.files["/file"] = b"content"
    download(f"{server.address}/file", tmp_path / "file", 7)
    assert (tmp_path / "file").read_bytes() == b"content"


@pytest.mark.whole
@pytest.mark.parametrize(
    "path", ["/missing", "/breaks-off", "/stalls", "/no-status", "/long-line", "/cut-chunks", "/bad-length"]
)
def test_a_source_that_fails_or_stalls_is_given_up_soon(server, tmp_path, monkeypatch, path):
    monkeypatch.setattr(fetch, "TIMEOUT", 0.3)
    started = time.monotonic()
    with pytest.raises(SourceFailed) as error:
        download(server.address + path, tmp_path / "file", 100)
    assert time.monotonic() - started < 5
    assert len(str(error.value)) < 200
    assert len(str(error.value).splitlines()) == 1


def test_a_download_beyond_its_limit_is_given_up(server, tmp_path):
    server.files["/file"] = b"x" * 1_000_000
    with pytest.raises(SourceFailed, match="more than the 6 bytes"):
        download(f"{server.address}/file", tmp_path / "file", 6)
    assert (tmp_path / "file").stat().st_size <= 6
    with pytest.raises(SourceFailed, match="would have 10 bytes"):
        download(f"{server.address}/breaks-off", tmp_path / "file", 9)


@pytest.fixture
def full():
    """A file on a full disk."""
    if not Path("/dev/full").exists():
        pytest.skip("no device that is always full")
    return Path("/dev/full")


def test_a_full_disk_is_no_fault_of_the_source(server, full, tmp_path):
    """It is reported as what it is, and no other source is tried."""
    server.files["/file"] = b"x" * 1_000_000

    def bring(scratch):
        (scratch / "file").symlink_to(full)
        download(f"{server.address}/file", scratch / "file", 1_000_000)

    sources = [("first", bring), ("second", lambda scratch: pytest.fail("tried another source"))]
    with pytest.raises(OSError, match="No space left on device") as error:
        fetch_from_first("data", sources, tmp_path, lambda scratch: None)
    assert error.value.errno == errno.ENOSPC
    assert error.value.filename == str(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_unpacking_ends_at_the_limit(tmp_path):
    packed = gzip.compress(bytes(10_000_000))
    with gzip.open(io.BytesIO(packed)) as file:
        fetch.unpack(file, tmp_path / "file", 10_000_000)
    assert (tmp_path / "file").read_bytes() == bytes(10_000_000)
    with (
        gzip.open(io.BytesIO(packed)) as file,
        pytest.raises(SourceFailed, match="file unpacks to more than the 999999 bytes"),
    ):
        fetch.unpack(file, tmp_path / "file", 999_999)
    assert (tmp_path / "file").stat().st_size <= 999_999


def test_a_full_disk_is_no_damage_of_a_packed_file(full):
    packed = io.BytesIO(gzip.compress(b"x" * 1_000_000))
    with gzip.open(packed) as file, pytest.raises(OSError, match="No space left"):
        fetch.unpack(file, full, 1_000_000)


def test_a_host_that_refuses_is_given_up_at_once(tmp_path):
    with pytest.raises(SourceFailed, match="no answer"):
        download("http://127.0.0.1:9/file", tmp_path / "file", 100)


def test_sources_are_tried_in_order_until_one_is_accepted(tmp_path):
    def fails(scratch):
        (scratch / "half").write_text("x")
        raise SourceFailed("down")

    def brings(scratch):
        (scratch / "whole").write_text("x")

    def install(scratch):
        assert not (scratch / "half").exists()
        (scratch / "whole").replace(tmp_path / "whole")

    fetch_from_first("data", [("first", fails), ("second", brings)], tmp_path, install)
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


def test_no_source_at_all_is_one_line_with_every_reason_and_leaves_nothing(tmp_path):
    def fails(scratch):
        (scratch / "half").write_text("x")
        raise SourceFailed("down")

    with pytest.raises(UserError, match=r"first: down; second: down.*network") as error:
        fetch_from_first("data", [("first", fails), ("second", fails)], tmp_path, lambda scratch: None)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_two_fetches_into_one_folder_both_succeed(tmp_path):
    """Each waits, in the middle of its work, until the other one is there too."""
    both, errors = threading.Barrier(2, timeout=10), []

    def bring(scratch):
        (scratch / "first").write_text("x")
        both.wait()
        (scratch / "second").write_text("y")
        both.wait()

    def install(scratch):
        both.wait()
        for name in ("first", "second"):
            (scratch / name).replace(tmp_path / name)

    def run():
        try:
            fetch_from_first("data", [("source", bring)], tmp_path, install)
        except BaseException as error:
            both.abort()
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"first": "x", "second": "y"}


@pytest.mark.parametrize("name", [".partial", ".partial-abc"])
@pytest.mark.parametrize("changed", ["long ago", "now", "inside, now"])
def test_only_the_scratch_of_dead_processes_is_removed(tmp_path, name, changed):
    scratch = tmp_path / name
    scratch.mkdir()
    (scratch / "half").write_text("x")
    for path in (scratch / "half", scratch):
        os.utime(path, (1e9, 1e9))
    if changed != "long ago":
        os.utime(scratch if changed == "now" else scratch / "half")
    fetch_from_first("data", [("source", lambda scratch: None)], tmp_path, lambda scratch: None)
    assert scratch.exists() == (changed != "long ago")


def test_a_client_works_in_the_folder_that_it_is_given(tmp_path):
    run_client(["touch", "file"], tmp_path)
    assert (tmp_path / "file").exists()


def test_a_client_that_is_missing_or_fails(tmp_path):
    with pytest.raises(SourceFailed, match="not installed"):
        run_client(["no-such-client"], tmp_path)
    with pytest.raises(SourceFailed, match="exit code 3"):
        run_client(["sh", "-c", "exit 3"], tmp_path)
    with pytest.raises(SourceFailed, match="no result"):
        run_client(["sleep", "10"], tmp_path, timeout=0.2)
