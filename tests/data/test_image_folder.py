"""Any folder of images as a data set: right squares in right parts, and one clear line for what cannot be read."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from commands import run_room
from made_data import make_celeba
from PIL import Image

from experiments.data import image_folder
from experiments.data.__main__ import main
from experiments.data.faces import load_faces
from experiments.runs.errors import UserError


def save(path, width, height, mode="RGB", seed=0):
    """Save an image of noise without loss, and return its pixels."""
    bands = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, bands), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.squeeze(), mode).save(path)
    return pixels


@pytest.fixture
def folder(tmp_path):
    """Twenty colour images of 30x40 pixels in two folders, and their pixels in the order of their names."""
    return [save(tmp_path / "mine" / f"{i // 10}" / f"{i % 10}.png", 30, 40, seed=i) for i in range(20)]


def load(tmp_path, size, validation=0.1, held_out=0.2, **more):
    return load_faces("folder", tmp_path, size, validation, held_out, path="mine", **more)


def test_the_last_images_are_held_out_and_those_before_them_choose(tmp_path, folder):
    """By shares or by numbers, in the order of the names, without loss where the crop has the size of the images."""
    middles = np.stack([pixels[12:28, 7:23].transpose(2, 0, 1) for pixels in folder])
    for sizes in ((0.1, 0.2), (2, 4), (0.1, 4)):
        faces = load(tmp_path, 16, *sizes, crop=16)
        np.testing.assert_array_equal(faces.train, middles[:14])
        np.testing.assert_array_equal(faces.validation, middles[14:16])
        np.testing.assert_array_equal(faces.held_out, middles[16:])
        assert faces.train.dtype == np.uint8


def test_a_share_is_rounded(tmp_path, folder):
    counts = [len(load(tmp_path, 8, 0, share).held_out) for share in (0.03, 0.07, 0.08, 0.94)]
    assert counts == [1, 1, 2, 19]


@pytest.mark.parametrize(("crop", "box"), [(None, (0, 5, 30, 35)), (20, (5, 10, 25, 30)), (8, (11, 16, 19, 24))])
def test_a_square_of_another_size_is_resized(tmp_path, folder, crop, box):
    faces = load(tmp_path, 16, crop=crop)
    for image, pixels in zip(faces.train, folder[:14], strict=True):
        expected = Image.fromarray(pixels).resize((16, 16), Image.Resampling.LANCZOS, box=box)
        np.testing.assert_array_equal(image, np.asarray(expected).transpose(2, 0, 1))


def test_odd_margins_put_the_extra_row_and_column_behind(tmp_path):
    pixels = [save(tmp_path / "mine" / f"{i}.png", 9, 13, seed=i) for i in range(3)]
    faces = load(tmp_path, 8, 0, 1, crop=8)
    np.testing.assert_array_equal(faces.train[0], pixels[0][2:10, 0:8].transpose(2, 0, 1))


def test_wide_images_lose_their_sides(tmp_path):
    pixels = [save(tmp_path / "mine" / f"{i}.png", 20, 8, seed=i) for i in range(3)]
    np.testing.assert_array_equal(load(tmp_path, 8, 0, 1).train[1], pixels[1][:, 6:14].transpose(2, 0, 1))


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("LA", 1), ("RGB", 3), ("RGBA", 3)])
def test_grey_images_have_one_channel_and_transparency_is_dropped(tmp_path, mode, channels):
    pixels = [save(tmp_path / "mine" / f"{i}.png", 8, 8, mode, seed=i) for i in range(4)]
    faces = load(tmp_path, 8, 1, 1)
    np.testing.assert_array_equal(faces.train[1], pixels[1][..., :channels].transpose(2, 0, 1))


def test_a_turned_photograph_stands_upright(tmp_path):
    for i in range(3):
        pixels = save(tmp_path / "mine" / f"{i}.png", 8, 8, seed=i)
        turn = Image.Exif()
        turn[0x0112] = 3  # upside down
        Image.fromarray(pixels).save(tmp_path / "mine" / f"{i}.png", exif=turn)
    np.testing.assert_array_equal(load(tmp_path, 8, 0, 1).held_out[0], pixels[::-1, ::-1].transpose(2, 0, 1))


def test_hidden_files_do_not_count(tmp_path, folder):
    before = load(tmp_path, 8).checksums
    (tmp_path / "mine" / ".DS_Store").write_bytes(b"x")
    save(tmp_path / "mine" / ".thumbnails" / "0.png", 4, 4)
    assert load(tmp_path, 8).checksums == before


def test_a_list_says_which_images_belong_to_which_part(tmp_path, folder):
    """In the order of the list; images that it leaves out are not read, so that they may be anything."""
    (tmp_path / "mine" / "notes.txt").write_text("no image")
    lines = ["1/3.png 2", "0/1.png 0", "1/0.png  1", " 0/0.png 0 ", "0/9.png 2"]
    (tmp_path / "parts.txt").write_text("\n".join(lines) + "\n")
    faces = load(tmp_path, 16, 0.5, 0.5, crop=16, parts="parts.txt")
    middle = [pixels[12:28, 7:23].transpose(2, 0, 1) for pixels in folder]
    np.testing.assert_array_equal(faces.train, [middle[1], middle[0]])
    np.testing.assert_array_equal(faces.validation, [middle[10]])
    np.testing.assert_array_equal(faces.held_out, [middle[13], middle[9]])
    assert "parts.txt" in faces.checksums
    (tmp_path / "parts.txt").write_text("\n".join(lines[:-1]) + "\n")
    after = load(tmp_path, 16, crop=16, parts="parts.txt")
    assert all(after.checksums[name] != faces.checksums[name] for name in faces.checksums)


def test_names_in_a_list_may_hold_spaces(tmp_path):
    for i in range(3):
        save(tmp_path / "mine" / f"face of {i}.png", 8, 8, seed=i)
    (tmp_path / "parts.txt").write_text("face of 2.png 0\nface of 0.png 2\n")
    faces = load(tmp_path, 8, parts="parts.txt")
    assert (len(faces.train), len(faces.validation), len(faces.held_out)) == (1, 0, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0/0.png 0\n0/1.png 3\n", "parts.txt: line 2 is not 'name 0|1|2'; write a line 'name part' for each image"),
        ("0/0.png\n", "line 1 is not"),
        (" 0\n", "line 1 is not"),
        ("0/0.png 0\n0/0.png 2\n", "line 2 names an image a second time"),
        ("", "parts.txt: lists no image"),
        ("0/0.png 0\n../mine/0/1.png 2\n", "mine: 1 images that parts.txt names are missing, such as ../mine/0/1.png"),
        ("0/0.png 0\n0/1.png 1\n", "of 2 images 1 remain to train on and 0 are held out"),
        ("0/0.png 2\n0/1.png 1\n", "of 2 images 0 remain to train on and 1 are held out"),
        (None, "parts.txt: cannot be read .No such file or directory.; write a line"),
    ],
)
def test_a_damaged_list_is_one_clear_line(tmp_path, folder, text, message):
    if text is not None:
        (tmp_path / "parts.txt").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        load(tmp_path, 8, parts="parts.txt")
    assert "\n" not in str(error.value)


def other(path, **options):
    return lambda mine: save(mine / path, **({"width": 30, "height": 40} | options))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda mine: mine.rename(mine.with_name("yours")), "mine: cannot be read .No such file or directory.; name a"),
        (lambda mine: [path.unlink() for path in mine.rglob("*.png")], "mine: holds no images; name a folder"),
        (
            lambda mine: (mine / "1" / "notes.txt").write_text("x"),
            r"1/notes.txt: unreadable image .of no known format.; r",
        ),
        (lambda mine: (mine / "0" / "5.png").write_bytes((mine / "0" / "5.png").read_bytes()[:500]), "0/5.png: unread"),
        (other("1/5.png", mode="L"), "1/5.png: is grey, but 0.png is in colour; keep them in folders of their own"),
        (other("0/0.png", mode="L"), "0/1.png: is in colour, but 0.png is grey"),
        (other("0/7.png", width=19), r"0/7.png: 19x40 px are smaller than the crop of 20 px; lower introvae.crop"),
        (other("0/7.png", height=19), r"0/7.png: 30x19 px are smaller than the crop of 20 px"),
        (
            lambda mine: Image.fromarray(np.zeros((40, 30), np.uint16)).save(mine / "0" / "3.png"),
            "0/3.png: has pixels of the kind I;16; convert it to 8 bits",
        ),
    ],
)
def test_a_folder_that_cannot_be_used_is_one_clear_line_and_leaves_no_array(tmp_path, folder, break_it, message):
    break_it(tmp_path / "mine")
    with pytest.raises(UserError, match=message) as error:
        load(tmp_path, 16, crop=20)
    assert "\n" not in str(error.value)
    assert list(tmp_path.rglob("*.npy")) == []


def test_a_file_in_place_of_the_folder_is_one_clear_line(tmp_path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(UserError, match=r"mine: cannot be read .Not a directory"):
        load(tmp_path, 8)


def test_a_folder_inside_that_cannot_be_read_is_named(tmp_path, folder, monkeypatch):
    """Not passed over, as `os.walk` would."""
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "1":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"mine/1: cannot be read .Permission denied"):
        load(tmp_path, 8)


@pytest.mark.parametrize(("validation", "held_out"), [(0, 0.01), (0.5, 0.5), (19, 1), (0, 20), (20, 20)])
def test_parts_that_leave_nothing_are_refused(tmp_path, folder, validation, held_out):
    with pytest.raises(UserError, match=r"introvae.held_out and validation, or the list of parts: of 20 images"):
        load(tmp_path, 8, validation, held_out)


@pytest.fixture
def built(monkeypatch):
    """The arrays that have been made."""
    made, build = [], image_folder._build
    monkeypatch.setattr(image_folder, "_build", lambda *a: made.append(a[-1].name) or build(*a))
    return made


def test_each_size_crop_folder_and_list_has_an_array_of_its_own_that_is_made_once(tmp_path, folder, built):
    save(tmp_path / "other" / "mine" / "0.png", 30, 40)
    save(tmp_path / "other" / "mine" / "1.png", 30, 40)
    (tmp_path / "parts.txt").write_text("0/3.png 0\n0/0.png 2\n")
    for _ in range(2):
        for size, crop in ((8, None), (8, 8), (16, 8)):
            assert load(tmp_path, size, crop=crop).train.shape == (14, 3, size, size)
        assert len(load(tmp_path, 8, parts="parts.txt").train) == 1
        assert len(load_faces("folder", tmp_path, 8, 0, 1, path="other/mine").train) == 1
        assert load_faces("folder", tmp_path, 8, 0, 1, path=str(tmp_path / "other" / "mine")).train.shape[0] == 1
    assert built == ["images-8.npy", "images-8-crop-8.npy", "images-16-crop-8.npy"] + 3 * ["images-8.npy"]
    assert len(list((tmp_path / "folder").rglob("*.npy"))) == 6


@pytest.mark.parametrize("change", ["older", "longer", "name", "new", "gone", "array", "note"])
def test_a_change_of_the_images_or_of_the_array_makes_it_anew(tmp_path, folder, built, change):
    mine = tmp_path / "mine"
    for path, pixels in zip(sorted(mine.rglob("*.png")), folder, strict=True):
        Image.fromarray(pixels).save(path.with_suffix(".bmp"))  # all of one size
        path.unlink()
        os.utime(path.with_suffix(".bmp"), (2e9, 2e9))
    before = load(tmp_path, 8).checksums
    (array,) = tmp_path.rglob("*.npy")
    first = mine / "0" / "0.bmp"
    if change == "older":
        Image.fromarray(255 - folder[0]).save(first)
        os.utime(first, (1e9, 1e9))
    elif change == "longer":
        save(first, 31, 40)
        os.utime(first, (2e9, 2e9))
    elif change == "name":
        first.rename(mine / "1" / "x.bmp")
    elif change == "new":
        save(mine / "1" / "x.bmp", 30, 40)
    elif change == "gone":
        (mine / "1" / "9.bmp").unlink()
    elif change == "array":
        array.write_bytes(array.read_bytes()[:-1] + b"x")
    else:
        note = array.with_suffix(".json")
        note.write_text(json.dumps(json.loads(note.read_text()) | {"sha256": "0" * 64}))
    after = load(tmp_path, 8).checksums
    assert len(built) == 2
    assert (after == before) == (change in ("array", "note"))


def test_checksums_name_the_files_below_the_data_folder(tmp_path, folder):
    from experiments.runs.files import sha256

    (tmp_path / "parts.txt").write_text("0/0.png 0\n0/1.png 2\n")
    checksums = load(tmp_path, 8, parts="parts.txt").checksums
    assert len(checksums) == 2
    for name, checksum in checksums.items():
        assert sha256(tmp_path / name) == checksum


def test_celebas_middle_can_be_cut_out_without_resizing(tmp_path):
    make_celeba(tmp_path)
    random = np.random.default_rng(0)
    for path in (tmp_path / "celeba" / "img_align_celeba").iterdir():
        Image.fromarray(random.integers(0, 256, (109, 89, 3), dtype=np.uint8)).save(path)
    faces = load_faces("celeba", tmp_path, 64, 1, 1, crop=64)
    assert faces.train.shape == (8, 3, 64, 64)
    with Image.open(tmp_path / "celeba" / "img_align_celeba" / "000011.jpg") as image:
        np.testing.assert_array_equal(faces.held_out[0], np.asarray(image)[22:86, 12:76].transpose(2, 0, 1))
    assert faces.checksums.keys() == {"celeba/list_eval_partition.txt", "celeba/images-64-crop-64.npy"}


def test_a_folder_is_checked_and_converted_by_the_command(tmp_path, folder, monkeypatch, capsys):
    words = ["folder", "--data-dir", str(tmp_path), "--path", "mine"]
    main(["verify", *words])
    main(["fetch", *words])
    assert list(tmp_path.rglob("*.npy")) == []
    main(["fetch", *words, "--image-size", "8", "--crop", "20"])
    assert f"folder: whole, in {tmp_path}/mine" in capsys.readouterr().out
    monkeypatch.setattr(image_folder, "_build", lambda *a: pytest.fail("converted again"))
    load(tmp_path, 8, crop=20)
    with pytest.raises(UserError, match=r"parts.txt: cannot be read"):
        main(["verify", *words, "--parts", "parts.txt"])
    (tmp_path / "mine" / "notes.txt").write_text("no image")
    for action in ("verify", "fetch"):
        with pytest.raises(UserError, match=r"notes.txt: unreadable image"):
            main([action, *words])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fetch", "folder"], "--path: names the images of folder"),
        (["fetch", "celeba", "--path", "mine"], "--path: names the images of folder"),
        (["fetch", "celeba", "--parts", "parts.txt"], "--parts only beside it"),
        (
            ["verify", "folder", "--path", "mine", "--image-size", "8"],
            "--image-size 8: goes with fetch celeba or fetch f",
        ),
        (["fetch", "celeba", "--image-size", "0"], "--image-size 0: goes with .* and must be positive"),
        (["fetch", "celeba", "--crop", "8"], "--crop 8: goes with --image-size"),
        (["fetch", "celeba", "--image-size", "8", "--crop", "-1"], "--crop -1: .* must be positive"),
    ],
)
def test_options_that_do_not_go_together_are_refused(words, message):
    with pytest.raises(UserError, match=message):
        main(words)


def test_introvae_trains_on_a_folder_of_grey_images(tmp_path, tiny_config):
    for i in range(90):
        save(tmp_path / "data" / "mine" / f"{i:02d}.png", 20, 20, "L", seed=i)
    words = ["--dataset", "folder", "--folder.path", "mine", "--crop", "16", "--validation", "0", "--held-out", "0.1"]
    run_room("introvae", "--config", tiny_config, "--output", tmp_path / "run", *words)
    provenance = json.loads((tmp_path / "run" / "provenance.json").read_text())
    (name,) = provenance["data"]
    assert (tmp_path / "data" / name).exists()
    with np.load(tmp_path / "run" / "samples.npz") as samples:
        assert samples["held_out_originals"].shape == (8, 1, 16, 16)
