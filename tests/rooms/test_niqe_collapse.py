"""The run of the NIQE audit on made faces: every set is scored, and scored as the formulas say."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from commands import run_room
from made_data import make_faces

from experiments.data import orl_faces
from experiments.data.faces import load_faces
from experiments.metrics.niqe import block_features, live_model, niqe_pooled
from experiments.niqe_collapse import run as niqe_collapse
from experiments.runs.folder import Run
from experiments.scale import load

SIZE = 96
SETS = {"faces": 3, "natural crops, blur 0": 42, "natural crops, blur 2": 42, "noise": 3, "checkerboard": 1}


@pytest.fixture(scope="module")
def audit(tmp_path_factory):
    """A function that runs the audit with a seed, and returns its folder, its history and its metrics."""
    folder = tmp_path_factory.mktemp("audit")
    config = folder / "audit.yaml"
    section = {"seed": 0, "image_size": SIZE, "images": 3, "crops": 42, "blurs": [0.0, 2.0]}
    config.write_text(yaml.safe_dump({"scale": "audit", "data_dir": str(folder / "data"), "niqe_collapse": section}))

    def run(seed):
        place = folder / f"seed-{seed}"
        run_room("niqe_collapse", "--config", config, "--output", place, "--seed", seed)
        return place, pd.read_csv(place / "history.csv"), json.loads((place / "metrics.json").read_text())

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(orl_faces, "CHECKSUM", make_faces(folder / "data"))
        yield run


@pytest.fixture(scope="module")
def run(audit):
    return audit(0)


def score(mean, variance):
    """The distance with the scalars m and v broadcast, by a linear system in place of an inverse."""
    model = live_model()
    difference = model.mean - mean
    return np.sqrt(difference @ np.linalg.lstsq((model.covariance + variance) / 2, difference)[0])


def test_every_image_of_every_set_is_scored(run):
    _, history, metrics = run
    assert history["set"].drop_duplicates().tolist() == list(SETS)
    for name, count in SETS.items():
        assert history[history["set"] == name]["image"].tolist() == list(range(count))
    expected = [score(*moments) for moments in history[["mean", "variance"]].to_numpy()]
    np.testing.assert_allclose(history["score"], expected, rtol=1e-6)
    distance = metrics["c"] ** 2 + 2 * (history["mean"] - metrics["m0"]) ** 2 / (history["variance"] + metrics["s"])
    np.testing.assert_allclose(history["closed_form"], np.sqrt(distance))


def test_the_metrics_sum_up_the_scores(run):
    """The scores of images that have nothing in common differ in the third decimal."""
    _, history, metrics = run
    assert metrics["lowest_score"] == history["score"].min()
    assert metrics["highest_score"] == history["score"].max()
    assert metrics["highest_score"] - metrics["lowest_score"] < 0.01 * metrics["lowest_score"]
    errors = (history["score"] - history["closed_form"]).abs()
    assert metrics["largest_error_of_closed_form"] == errors.max() < 1e-8


def test_the_moments_are_those_of_the_features_of_each_image(run):
    """With the divisor 35 in the variance of 36 numbers, as ``nancov`` has it."""
    _, history, _ = run
    squares = [[float((row // 8 + column // 8) % 2) for column in range(SIZE)] for row in range(SIZE)]
    images = {"checkerboard": torch.tensor([[squares]], dtype=torch.float64)}
    images["noise"] = torch.rand(3, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    for name, expected in images.items():
        features = block_features(expected, SIZE)[:, 0]
        rows = history[history["set"] == name]
        np.testing.assert_allclose(rows["mean"], features.sum(1) / 36)
        np.testing.assert_allclose(rows["variance"], ((features - features.mean(1)[:, None]) ** 2).sum(1) / 35)


def test_the_faces_are_spread_over_the_set_in_the_sizes_that_are_asked_for(run, tmp_path):
    """All 400 but the ten of the last person, who is held out: each 130th."""
    place, history, _ = run
    make_faces(tmp_path / "data")
    faces = load_faces("orl-faces", str(tmp_path / "data"), SIZE, 0, 1).train
    assert len(faces) == 390
    chosen = faces[[0, 130, 260]] / 255
    with np.load(place / "samples.npz") as samples:
        np.testing.assert_array_equal(samples["faces"], chosen)
    features = block_features(torch.from_numpy(chosen), SIZE)[:, 0]
    np.testing.assert_allclose(history[history["set"] == "faces"]["mean"], features.mean(1))
    provenance = json.loads((place / "provenance.json").read_text())
    assert list(provenance["data"]) == ["orl-faces/images.npy"]


def test_the_pooled_niqe_of_the_natural_crops_orders_them_by_their_blur(run):
    _, _, metrics = run
    settings = load("config/laptop.yaml").niqe_collapse.model_copy(update={"image_size": SIZE, "crops": 42})
    assert list(metrics["pooled"]) == ["natural crops, blur 0", "natural crops, blur 2"]
    crops = niqe_collapse.natural_crops(settings)
    assert metrics["pooled"]["natural crops, blur 0"] == pytest.approx(niqe_pooled(crops))
    assert metrics["pooled"]["natural crops, blur 2"] > metrics["pooled"]["natural crops, blur 0"]


def test_natural_crops_are_different_squares_of_six_photographs():
    settings = load("config/laptop.yaml").niqe_collapse.model_copy(update={"image_size": 100, "crops": 43})
    crops = niqe_collapse.natural_crops(settings)
    assert crops.shape == (43, 1, 100, 100)
    assert crops.dtype == torch.float64
    assert 0 <= crops.min() < 0.05 < 0.95 < crops.max() <= 1
    assert len({crop.numpy().tobytes() for crop in crops}) == 43
    from skimage import data

    camera = data.camera() / 255  # the second photograph: eight crops of each, in two rows
    assert np.array_equal(crops[8, 0], camera[:100, :100])
    assert np.array_equal(crops[15, 0], camera[-100:, -100:])


def test_the_seed_decides_the_noise_alone(run, audit):
    history, other = run[1], audit(1)[1]
    noise = history["set"] == "noise"
    pd.testing.assert_frame_equal(history[~noise], other[~noise], check_exact=True)
    assert not set(history[noise]["mean"]) & set(other[noise]["mean"])


def test_an_audit_that_is_finished_is_not_run_again(run, audit, monkeypatch):
    monkeypatch.setattr(Run, "start", lambda self: pytest.fail("it was started"))
    assert audit(0)[2] == run[2]
