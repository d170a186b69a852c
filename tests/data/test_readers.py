"""Readers of the data files: right on right files, one clear line on all others."""

import gzip
import os
import warnings

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_data import idx_bytes, make_celeba
from PIL import Image

from experiments.data import celeba, image_folder, mnist, orl_faces
from experiments.data.__main__ import main
from experiments.data.faces import load_faces
from experiments.runs import files
from experiments.runs.errors import UserError

anything = settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_idx_round_trip(tmp_path):
    array = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "file").write_bytes(idx_bytes(array))
    found = mnist.read_idx(tmp_path / "file")
    assert (found == array).all()
    assert not found.flags.writeable


@anything
@given(content=st.binary(max_size=60), header=st.booleans())
def test_idx_reader_raises_nothing_but_user_errors(tmp_path, content, header):
    path = tmp_path / "file"
    path.write_bytes((b"\0\0\x08" if header else b"") + content)
    try:
        mnist.read_idx(path)
    except UserError as error:
        assert "\n" not in str(error)
        assert str(path) in str(error)


@anything
@given(content=st.binary(max_size=60), header=st.sampled_from([b"", b"P5\n", b"P5\n2 2\n255\n", b"P5\n2 2 # x\n255\n"]))
def test_pgm_reader_raises_nothing_but_user_errors(content, header):
    try:
        image = orl_faces.read_pgm(header + content, "image.pgm")
    except UserError as error:
        assert "image.pgm" in str(error)
    else:
        assert image.dtype == np.uint8


def test_pgm_reader():
    assert orl_faces.read_pgm(b"P5\n# made\n3 2\n255\n\x00\x01\x02\x03\x04\x0a", "x").tolist() == [
        [0, 1, 2],
        [3, 4, 10],
    ]


@pytest.mark.parametrize("header", [b"P5\nx 2\n255\n", b"P5\n3 x\n255\n", b"P5\n3 2\nx\n", b"P5\n3 1234567890\n255\n"])
def test_a_pgm_header_without_numbers_is_one_clear_line(header):
    with pytest.raises(UserError, match=r"x.pgm: not a binary PGM image"):
        orl_faces.read_pgm(header + bytes(6), "x.pgm")


def smooth_face() -> np.ndarray:
    """92x112 pixels, like from row to row and unlike along a row, a quarter of them 10; no pair 13, 10."""
    row = np.random.default_rng(0).choice(np.array([10, 60, 120, 200], dtype=np.uint8), 92)
    return np.tile(row, (112, 1))


def test_text_mode_is_undone_exactly():
    original = b"P5\n92 112\n255\n" + smooth_face().tobytes()
    assert original.count(b"\n") > 50
    assert orl_faces.undo_text_mode(original) == original
    assert orl_faces.undo_text_mode(original.replace(b"\n", b"\r\n")) == original


def test_text_mode_is_undone_where_the_image_had_a_line_end_of_its_own():
    image = smooth_face()
    image[60, np.flatnonzero(image[60] == 10)[5] - 1] = 13
    original = b"P5\n92 112\n255\n" + image.tobytes()
    converted = original.replace(b"\r\n", b"\0pair").replace(b"\n", b"\r\n").replace(b"\0pair", b"\r\n")
    restored = orl_faces.undo_text_mode(converted)
    assert len(restored) == len(original)
    assert restored == original


@pytest.mark.parametrize("split", ["train", "test"])
def test_damaged_mnist_is_found_at_load(made_mnist, split):
    for path in (made_mnist / "mnist").glob("*images*"):
        content = bytearray(path.read_bytes())
        content[1000] ^= 1
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"images-idx3-ubyte: damaged.*fetch mnist"):
        mnist.load(made_mnist, split)


def test_missing_mnist_names_file_and_remedy(tmp_path):
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte: missing.*fetch mnist"):
        mnist.load(tmp_path, "train")


def test_damaged_faces_are_found_at_load(made_faces):
    path = made_faces / "orl-faces" / "images.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="damaged"):
        orl_faces.load(made_faces)


def test_whole_people_are_held_out(made_faces):
    faces = load_faces("orl-faces", made_faces, 16, 2, 3)
    every = load_faces("orl-faces", made_faces, 16, 0, 1)
    assert faces.train.shape == (350, 1, 16, 16)
    assert faces.train.dtype == np.uint8
    np.testing.assert_array_equal(faces.train, every.train[:350])
    np.testing.assert_array_equal(faces.validation, every.train[350:370])
    np.testing.assert_array_equal(faces.held_out, np.concatenate((every.train[370:], every.held_out)))
    with pytest.raises(UserError, match="of 40 people 0 remain to train on and 36 are held out"):
        load_faces("orl-faces", made_faces, 16, 4, 36)


def test_a_share_of_the_people_is_held_out(made_faces):
    by_share, by_number = (
        load_faces("orl-faces", made_faces, 16, 0.05, 0.1),
        load_faces("orl-faces", made_faces, 16, 2, 4),
    )
    assert len(by_number.held_out) == 40
    for part in ("train", "validation", "held_out"):
        np.testing.assert_array_equal(getattr(by_share, part), getattr(by_number, part))
    with pytest.raises(UserError, match="of 40 people 40 remain to train on and 0 are held out"):
        load_faces("orl-faces", made_faces, 16, 0, 0.01)


@pytest.fixture
def made_celeba(tmp_path):
    make_celeba(tmp_path)
    return tmp_path


def test_celeba_follows_the_official_partition(made_celeba):
    faces = load_faces("celeba", made_celeba, 16, 1, 5)
    assert faces.train.shape == (8, 3, 16, 16)
    assert faces.validation.shape == faces.held_out.shape == (2, 3, 16, 16)
    for part, first in ((faces.train, 0), (faces.validation, 8), (faces.held_out, 10)):
        assert abs(int(part[0, 0].mean()) - 20 * first) <= 4
    again = load_faces("celeba", made_celeba, 16, 1, 5)
    assert again.checksums == faces.checksums


def test_celebas_parts_stay_on_disk_and_a_write_does_not_reach_it(made_celeba):
    """The training images of the whole data set take gigabytes."""
    faces = load_faces("celeba", made_celeba, 16, 1, 5)
    cache = made_celeba / "celeba" / "images-16.npy"
    before = cache.read_bytes()
    for part in (faces.train, faces.validation, faces.held_out):
        assert isinstance(part, np.memmap)
        with warnings.catch_warnings(action="error"):
            tensor = torch.from_numpy(np.asarray(part))
        assert tensor.data_ptr() == part.ctypes.data
        tensor.zero_()
    assert cache.read_bytes() == before
    assert (load_faces("celeba", made_celeba, 16, 1, 5).train > 0).any()


def test_celebas_parts_are_right_where_the_partition_mixes_them(made_celeba):
    whole = np.load(celeba.load(made_celeba, 16) and made_celeba / "celeba" / "images-16.npy")
    listing = made_celeba / "celeba" / "list_eval_partition.txt"
    parts = [0, 1, 2, 0, 0, 1, 2, 2, 0, 1, 1, 0]
    names = [line.split()[0] for line in listing.read_text().splitlines()]
    listing.write_text("".join(f"{name} {part}\n" for name, part in zip(names, parts, strict=True)))
    faces = load_faces("celeba", made_celeba, 16, 1, 5)
    for part, images in enumerate((faces.train, faces.validation, faces.held_out)):
        np.testing.assert_array_equal(images, whole[np.array(parts) == part])


def test_each_file_is_hashed_once_in_a_process(made_mnist, made_faces, made_celeba, monkeypatch):
    """At load and for the provenance at the end."""
    hashed, sha256 = [], files.sha256
    for module in (files, mnist, orl_faces):
        monkeypatch.setattr(module, "sha256", lambda path: hashed.append(path.name) or sha256(path))
    for _ in range(2):
        mnist.load(made_mnist, "train")
        mnist.load(made_mnist, "test")
        mnist.checksums(made_mnist)
        orl_faces.load(made_faces)
        orl_faces.checksums(made_faces)
        celeba.load(made_celeba, 16)
    names = [*mnist.CHECKSUMS, "images.npy", "list_eval_partition.txt", "images-16.npy"]
    assert sorted(hashed) == sorted(names)


def test_celeba_without_a_partition_holds_out_the_last_images(made_celeba):
    (made_celeba / "celeba" / "list_eval_partition.txt").unlink()
    faces = load_faces("celeba", made_celeba, 16, 3, 5)
    assert (len(faces.train), len(faces.validation), len(faces.held_out)) == (4, 3, 5)
    assert abs(int(faces.held_out[0, 0].mean()) - 20 * 7) <= 4
    with pytest.raises(UserError, match="of 12 images 0 remain to train on and 11 are held out"):
        load_faces("celeba", made_celeba, 16, 2, 11)


def test_a_damaged_celeba_cache_is_made_anew(made_celeba):
    before = load_faces("celeba", made_celeba, 16, 1, 5)
    cache = made_celeba / "celeba" / "images-16.npy"
    cache.write_bytes(cache.read_bytes()[:-7])
    assert load_faces("celeba", made_celeba, 16, 1, 5).checksums == before.checksums


def test_celeba_is_resized_when_it_is_fetched(made_celeba, monkeypatch):
    main(["fetch", "celeba", "--image-size", "16", "--data-dir", str(made_celeba)])
    monkeypatch.setattr(image_folder, "_build", lambda *a: pytest.fail("resized again"))
    assert load_faces("celeba", made_celeba, 16, 1, 5).train.shape == (8, 3, 16, 16)
    main(["fetch", "celeba", "--data-dir", str(made_celeba)])


@pytest.mark.parametrize("words", [["verify", "celeba"], ["fetch", "orl-faces"]])
def test_a_size_goes_with_fetching_images(made_celeba, words):
    with pytest.raises(UserError, match="--image-size 16: goes with fetch celeba"):
        main([*words, "--image-size", "16", "--data-dir", str(made_celeba)])


def test_changed_celeba_images_under_the_same_names_are_noticed(made_celeba):
    before = load_faces("celeba", made_celeba, 16, 1, 5)
    path = made_celeba / "celeba" / "img_align_celeba" / "000001.jpg"
    Image.new("RGB", (178, 218), (250, 250, 250)).save(path)
    os.utime(path, (2e9, 2e9))  # later, however coarse the clock of the file system
    after = load_faces("celeba", made_celeba, 16, 1, 5)
    assert after.train[0].mean() > 240
    assert after.checksums != before.checksums


def test_another_partition_is_another_data_set(made_celeba):
    """Also where it only lists the images in another order, which is that of the rows of the cache."""
    before = load_faces("celeba", made_celeba, 16, 1, 5)
    listing = made_celeba / "celeba" / "list_eval_partition.txt"
    first, *middle, last = listing.read_text().splitlines()
    listing.write_text("\n".join([first, *reversed(middle), last]) + "\n")
    after = load_faces("celeba", made_celeba, 16, 1, 5)
    assert after.checksums.keys() == before.checksums.keys() == {f"celeba/{listing.name}", "celeba/images-16.npy"}
    assert all(after.checksums[name] != before.checksums[name] for name in after.checksums)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (
            lambda folder: (folder / "img_align_celeba" / "000003.jpg").unlink(),
            "1 images that list_eval_partition.txt names are missing, such as 000003.jpg",
        ),
        (lambda folder: (folder / "img_align_celeba" / "000003.jpg").write_bytes(b"no"), "000003.jpg: unreadable"),
        (lambda folder: (folder / "list_eval_partition.txt").write_text("000001.jpg 7\n"), "line 1"),
        (lambda folder: [p.unlink() for p in (folder / "img_align_celeba").iterdir()], "no images"),
    ],
)
def test_partial_celeba_is_one_clear_line(made_celeba, break_it, message):
    break_it(made_celeba / "celeba")
    with pytest.raises(UserError, match=message) as error:
        celeba.load(made_celeba, 16)
    assert "\n" not in str(error.value)
    assert not (made_celeba / "celeba" / "images-16.npy").exists()


def test_gzip_is_not_taken_for_idx(tmp_path):
    (tmp_path / "file").write_bytes(gzip.compress(b"x" * 100))
    with pytest.raises(UserError, match="not an IDX file"):
        mnist.read_idx(tmp_path / "file")
