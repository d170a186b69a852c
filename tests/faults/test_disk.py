"""A disk that is full or read-only: one line that names the file, old files whole, and nothing half-written."""

import os
import random
import subprocess

import pytest
from processes import one_line
from scenes import content, differences, leftovers

pytestmark = pytest.mark.whole

CAPACITY = 4 << 20
"""Bytes of the disks."""


@pytest.fixture
def disk(tmp_path):
    """A small file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={CAPACITY}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("mounting a file system takes root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk, free):
    """Leave so many bytes free."""
    state = os.statvfs(disk)
    (disk / "filler").write_bytes(b"x" * max(0, state.f_bavail * state.f_frsize - free))


MOMENTS = {"nothing fits": 0, "the first checkpoint": 0.3, "the last results": 0.95}
"""What does not fit -> the share of a whole run folder that is free."""


@pytest.mark.parametrize(
    "what", ["digit classifier", "autoencoder, SoftAdapt", "IntroVAE, SoftAdapt", "gradient descent"]
)
def test_a_full_disk_is_one_line_and_with_space_the_run_ends_in_the_undisturbed_bytes(
    place, disk, number_of_trials, only_some, trials, what
):
    only_some(what, "autoencoder, SoftAdapt")
    whole = place.undisturbed(what)
    needed = sum(path.stat().st_size for path in whole.iterdir()) + 8192
    shares = [*MOMENTS.values(), *(random.uniform(0, 1.5) for _ in range(number_of_trials - 1))]
    for share in shares:
        folder = disk / f"run-{share}"
        fill(disk, int(share * needed))
        process = place.start(what, folder)
        code = process.wait()
        if code == 0:
            trials["fitted"] += 1
        else:
            said = [line for line in process.lines if "error" in line]
            assert code == 2, process.printed
            assert len(said) == 1, process.printed
            assert "Traceback" not in process.printed
            assert str(folder) in said[0], said
            assert "No space left on device" in said[0], said
            trials["full"] += 1
        assert leftovers(folder) == []
        (disk / "filler").unlink()
        process = place.start(what, folder)
        assert process.wait() == 0, process.printed
        assert differences(folder, whole) == []
        subprocess.run(["rm", "-r", str(folder)], check=True)
    assert trials["full"] >= 1


@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_a_disk_that_fills_up_in_training_keeps_a_whole_checkpoint(place, disk, only_some, trials, share):
    """Interrupted, the disk fills; the refused start leaves every byte of the folder as it was."""
    only_some(share, 0.6)
    folder = disk / "run"
    process = place.start_training(folder, until="checkpoint-previous.pt")
    process.send(9)
    process.wait()
    before = content(folder)
    checkpoint = max(len(value) for value in before.values())
    fill(disk, int(share * checkpoint))
    process = place.start("digit classifier", folder)
    code = process.wait()
    assert code == 2, process.printed
    trials["full"] += 1
    after = content(folder)
    assert leftovers(folder) == []
    assert {name for name in after if name.endswith(".pt")} & {"checkpoint.pt", "checkpoint-previous.pt"}
    (disk / "filler").unlink()
    process = place.start("digit classifier", folder)
    assert process.wait() == 0, process.printed
    assert differences(folder, place.undisturbed("digit classifier")) == []


def test_a_table_or_figure_that_does_not_fit_leaves_the_old_one(disk, trials):
    import pandas as pd

    from experiments.evidence import style, tables

    def write(number):
        figure, axes = style.plt.subplots()
        axes.plot([0, number], [0, 1])
        tables.write_table(pd.DataFrame({"number": [number] * 9000}), disk, "table")
        style.save(figure, disk, "figure")

    write(1)
    before = content(disk)
    for free in (0, 4096):
        fill(disk, free)
        for name in ("table", "figure"):
            with pytest.raises(OSError, match="No space left on device") as error:
                if name == "table":
                    tables.write_table(pd.DataFrame({"number": [2] * 9000}), disk, "table")
                else:
                    figure, axes = style.plt.subplots()
                    axes.plot([0, 2], [1, 0])
                    style.save(figure, disk, "figure")
            assert str(disk / name) in str(error.value)
            trials[name] += 1
        (disk / "filler").unlink()
        assert content(disk) == before
    style.plt.close("all")


@pytest.mark.parametrize("begun", [False, True], ids=["new", "begun"])
def test_a_read_only_disk_is_one_line_that_names_the_folder(place, disk, begun):
    folder = disk / "run"
    if begun:
        process = place.start_training(folder)
        process.send(9)
        process.wait()
    before = content(disk)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    one_line(place.start("digit classifier", folder), str(folder), "--output", "Read-only file system")
    assert content(disk) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_one_line_that_names_it(place, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    one_line(place.start("digit classifier", tmp_path / "locked" / "run"), str(tmp_path / "locked"))
