"""What all figures share: what is drawn of a number, and files that depend on nothing else."""

import numpy as np
import pytest

from experiments.evidence import style


@pytest.fixture
def axes():
    figure, axes = style.plt.subplots()
    yield axes
    style.plt.close(figure)


def test_a_band_shows_the_mean_and_the_range_of_the_seeds(axes):
    style.band(axes, np.array([1, 2, 4]), np.array([[1.0, 3.0, 5.0], [3.0, 7.0, 5.0]]), style.BLUE, "ours", "--")
    (line,) = axes.lines
    assert line.get_xydata().tolist() == [[1, 2], [2, 5], [4, 5]]
    assert (line.get_label(), line.get_color(), line.get_linestyle()) == ("ours", style.BLUE, "--")
    (band,) = axes.collections
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices.tolist()}
    assert corners == {(1, 1), (1, 3), (2, 3), (2, 7), (4, 5)}


def test_a_band_of_no_seeds_shows_nothing(axes):
    style.band(axes, np.array([]), np.empty((0, 3)), style.BLUE, "ours")
    assert not axes.lines
    assert not axes.collections


@pytest.mark.parametrize(("channels", "shape"), [(1, (2, 6)), (3, (2, 6, 3))])
def test_images_stand_side_by_side(axes, channels, shape):
    images = np.linspace(0, 1, 3 * channels * 4).reshape(3, channels, 2, 2)
    style.show_images(axes, images, "a row")
    (drawn,) = axes.images
    shown = np.asarray(drawn.get_array())
    assert shown.shape == shape
    for position, image in enumerate(images):
        part = shown[:, 2 * position : 2 * position + 2]
        np.testing.assert_array_equal(part, image[0] if channels == 1 else np.moveaxis(image, 0, -1))
    assert drawn.get_clim() == (0, 1)
    assert axes.get_ylabel() == "a row"


def test_a_figure_is_saved_as_pdf_and_png_that_say_nothing_of_when_and_with_what(tmp_path):
    for name in ("one", "other"):
        figure, axes = style.plt.subplots()
        axes.plot([1, 2], [3, 4])
        style.save(figure, tmp_path / "figures", name)
        assert not style.plt.fignum_exists(figure.number)
    files = {path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()}
    assert sorted(files) == ["one.pdf", "one.png", "other.pdf", "other.png"]
    assert files["one.pdf"] == files["other.pdf"]
    assert files["one.png"] == files["other.png"]
    assert files["one.pdf"].startswith(b"%PDF")
    assert b"CreationDate" not in files["one.pdf"]
    assert files["one.png"].startswith(b"\x89PNG")
    assert b"Software" not in files["one.png"]
