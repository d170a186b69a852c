"""Atomic writing: modes, threads and the folder's own flush; checksums that are computed once."""

import os
import stat
import threading

import pytest

from experiments.runs import files
from experiments.runs.files import atomic_path, leftovers, sha256, sha256_once, write_text


@pytest.fixture(params=[0o022, 0o077, 0o002])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_a_written_file_has_the_mode_that_the_umask_leaves(tmp_path, umask):
    write_text(tmp_path / "file", "x")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~umask


def test_writing_never_changes_the_umask_which_all_threads_share(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("changed the umask"))
    write_text(tmp_path / "file", "x")


def test_threads_that_write_one_file_leave_it_whole(tmp_path):
    texts = [str(number) * 10_000 for number in range(8)]
    threads = [threading.Thread(target=write_text, args=(tmp_path / "file", text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "file").read_text() in texts
    assert os.listdir(tmp_path) == ["file"]


def test_a_temporary_name_that_is_taken_is_passed_over(tmp_path, monkeypatch):
    tokens = iter(["aa", "aa", "bb"])
    monkeypatch.setattr(files.secrets, "token_hex", lambda _: next(tokens))
    with atomic_path(tmp_path / "file.npz") as first, atomic_path(tmp_path / "file.npz") as second:
        assert first != second
        assert leftovers(tmp_path) == [first, second]
        assert first.suffix == second.suffix == ".npz"


def test_the_folder_is_flushed_after_the_rename(tmp_path, monkeypatch):
    flushed = []

    def note(descriptor):
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        flushed.append(("folder" if folder else "file", (tmp_path / "file").exists()))

    monkeypatch.setattr(os, "fsync", note)
    write_text(tmp_path / "file", "x")
    assert flushed == [("file", False), ("folder", True)]


def test_a_system_that_cannot_flush_folders_writes_all_the_same(tmp_path, monkeypatch):
    flush = os.fsync

    def refuse(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(22, "Invalid argument")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    write_text(tmp_path / "file", "x")
    assert os.listdir(tmp_path) == ["file"]


def test_a_checksum_is_computed_once_for_a_file_that_stays_as_it_is(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("one")
    first = sha256_once(path)
    assert first == sha256(path)
    with monkeypatch.context() as patch:
        patch.setattr(files, "sha256", lambda _: pytest.fail("read again"))
        assert sha256_once(path) == sha256_once(str(path)) == first
    path.write_text("other")
    assert sha256_once(path) == sha256(path) != first
    same_size = sha256(path)
    path.write_text("OTHER")
    os.utime(path, (2e9, 2e9))  # later, however coarse the clock of the file system
    assert sha256_once(path) == sha256(path) != same_size
