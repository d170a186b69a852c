"""Files of data of any content are read, or refused in one line; none makes the readers allocate what it announces."""

import json
import struct
import tracemalloc

import numpy as np
import pytest
from fuzzing import fuzzed, success_or_one_line
from hypothesis import given
from hypothesis import strategies as st
from made_data import make_celeba

from experiments.data import celeba, image_folder, mnist, orl_faces

pytestmark = pytest.mark.whole

sizes = st.integers(0, 3) | st.sampled_from([2**16, 2**31, 2**32 - 1])


@st.composite
def idx_files(draw):
    """Any bytes, more often with a header that announces anything."""
    shape = draw(st.lists(sizes, max_size=6))
    dimensions = draw(st.sampled_from([len(shape), 0, 1, 255]))
    kind = draw(st.sampled_from([8, 8, 8, 9, 14, 0]))
    header = struct.pack(f">BBBB{len(shape)}I", 0, 0, kind, dimensions, *shape)
    return draw(st.binary(max_size=40)) if draw(st.integers(0, 4)) == 0 else header + draw(st.binary(max_size=40))


@fuzzed
@given(content=idx_files())
def test_any_bytes_as_an_idx_file_are_read_or_refused_in_one_line(tmp_path, trials, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    with success_or_one_line(trials, str(path)):
        array = mnist.read_idx(path)
        assert array.dtype == np.uint8
        assert array.tobytes() == content[len(content) - array.size :]


def test_an_idx_header_that_announces_everything_allocates_nothing(tmp_path, trials):
    tracemalloc.start()
    try:
        for shape in [(2**32 - 1,), (2**32 - 1, 2**32 - 1), (2**32 - 1,) * 4, (2**32 - 1,) * 40, (2**32 - 1, 0)]:
            (tmp_path / "file").write_bytes(struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape) + b"x" * 9)
            with success_or_one_line(trials, "file: "):
                mnist.read_idx(tmp_path / "file")
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    assert set(trials) == {"refused in one line"}


@st.composite
def pgm_files(draw):
    """Any bytes, more often with something like a header, its line ends converted or not."""
    numbers = st.sampled_from([b"92", b"112", b"255", b"0", b"1", b"2", b"-1", b"65535", b"9" * 5000, b"\xb2", b"x"])
    words = [draw(st.sampled_from([b"P5", b"P5", b"P5", b"P2", b"# x"])), *draw(st.lists(numbers, max_size=4))]
    content = draw(st.sampled_from([b"\n", b"\r\n", b" ", b"\r"])).join(words) + draw(
        st.sampled_from([b"\n", b"\r\n", b""])
    )
    length = draw(st.sampled_from([0, 4, 91 * 112, 92 * 112 - 1, 92 * 112]))
    pixels = draw(st.binary(max_size=30)) + draw(st.sampled_from([b"\n", b"\r\n", b"\0"])) * length
    return draw(st.binary(max_size=60)) if draw(st.integers(0, 4)) == 0 else content + pixels[: max(length, 30)]


@fuzzed
@given(content=pgm_files())
def test_any_bytes_as_a_pgm_image_are_read_or_refused_in_one_line(trials, content):
    with success_or_one_line(trials, "image.pgm"):
        image = orl_faces.read_pgm(orl_faces.undo_text_mode(content), "image.pgm")
        assert image.dtype == np.uint8
        assert image.ndim == 2


names = st.sampled_from([f"{number:06d}.jpg" for number in range(1, 14)]) | st.text(max_size=8)


@pytest.fixture
def made_celeba(tmp_path):
    return make_celeba(tmp_path)


@fuzzed
@given(
    content=st.binary(max_size=60)
    | st.lists(
        st.tuples(
            names, st.sampled_from(["0", "1", "2", "3", "-1", "x", ""]), st.sampled_from(["\n", " 5\n", "\r\n", "\x85"])
        )
    ).map(lambda rows: "".join(f"{name} {part}{end}" for name, part, end in rows).encode("utf-8", "replace"))
)
def test_any_bytes_as_celebas_partition_are_read_or_refused_in_one_line(made_celeba, tmp_path, trials, content):
    (made_celeba / "list_eval_partition.txt").write_bytes(content)
    with success_or_one_line(trials, "celeba"):
        files, partition = celeba.image_files(tmp_path)
        assert len(files) == len(partition) > 0


plain = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
notes = st.dictionaries(st.sampled_from(["images", "first", "sha256", "size", "x"]), plain) | st.lists(plain) | plain


@fuzzed
@given(content=st.binary(max_size=60) | notes.map(json.dumps).map(str.encode))
def test_any_bytes_as_the_note_beside_celebas_cache_say_what_they_hold_or_nothing(tmp_path, trials, content):
    (tmp_path / "note.json").write_bytes(content)
    with success_or_one_line(trials):
        assert isinstance(image_folder._read_note(tmp_path / "note.json"), dict)
    assert set(trials) == {"accepted"}


@pytest.mark.parametrize("content", [b"null", b"{", b"\xff", b"[" * 100_000, b'{"images": 12}'])
def test_a_damaged_note_beside_celebas_cache_leads_to_the_same_images(made_celeba, tmp_path, content):
    before = celeba.load(tmp_path, 8)[2]
    (made_celeba / "images-8.json").write_bytes(content)
    assert celeba.load(tmp_path, 8)[2] == before
