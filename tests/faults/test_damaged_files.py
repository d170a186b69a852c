"""Damaged data and run folders: one line that names the file, whatever is wrong with it, and nothing changed."""

import random
import shutil

import numpy as np
import pytest
import yaml
from made_data import make_celeba, make_faces, make_mnist
from processes import one_line
from scenes import content

from experiments import scale
from experiments.data import celeba, mnist, orl_faces
from experiments.runs import command_line
from experiments.runs.errors import UserError
from experiments.runs.room import run_folder
from experiments.scale import Settings
from experiments.sparse_autoencoder import run as sparse_autoencoder

pytestmark = pytest.mark.whole


def damage(path, moments):
    """Cut a file short, flip one of its bits, empty it or take it away."""
    whole = path.read_bytes()
    kind = moments.choice(["cut", "flip", "empty", "gone"])
    if kind == "gone":
        path.unlink()
    elif kind == "flip":
        changed = bytearray(whole)
        changed[moments.randrange(len(whole))] ^= 1 << moments.randrange(8)
        path.write_bytes(changed)
    else:
        path.write_bytes(whole[: moments.randrange(1, len(whole)) if kind == "cut" else 0])
    return kind


@pytest.mark.parametrize("data", ["mnist", "orl-faces"])
def test_any_damage_to_a_data_set_is_found_and_named(tmp_path, monkeypatch, number_of_trials, trials, data):
    monkeypatch.setattr(mnist, "CHECKSUMS", make_mnist(tmp_path))
    monkeypatch.setattr(orl_faces, "CHECKSUM", make_faces(tmp_path))
    module = {"mnist": mnist, "orl-faces": orl_faces}[data]
    paths = sorted((tmp_path / data).iterdir())
    moments = random.Random(0)
    for _ in range(10 * number_of_trials):
        path = moments.choice(paths)
        whole = path.read_bytes()
        kind = damage(path, moments)
        with pytest.raises(UserError, match=r"missing|damaged") as error:
            module.verify(tmp_path)
        assert str(path) in str(error.value)
        assert f"fetch {data}" in str(error.value)
        trials[kind] += 1
        path.write_bytes(whole)
    module.verify(tmp_path)


@pytest.mark.parametrize("what", ["digit classifier", "IntroVAE, SoftAdapt"])
def test_a_run_on_damaged_data_is_refused_in_one_line_before_it_begins(place, tmp_path, what):
    data = tmp_path / "data"
    shutil.copytree(place.data, data)
    for path in data.rglob("*images*"):
        path.write_bytes(path.read_bytes()[:-1])
    one_line(place.start(what, tmp_path / "run", "--data-dir", str(data)), "images", "damaged", "fetch")
    assert not (tmp_path / "run").exists()


def test_any_damage_to_celeba_is_named_or_leads_to_the_same_images(tmp_path, number_of_trials, trials):
    """A flipped bit of a JPEG may still be an image; its cached array is then another, with another checksum."""
    folder = make_celeba(tmp_path)
    before = np.array(celeba.load(tmp_path, 8)[0])
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    moments = random.Random(0)
    for _ in range(20 * number_of_trials):
        path = moments.choice(paths)
        whole = path.read_bytes()
        kind = damage(path, moments)
        try:
            images, partition, _ = celeba.load(tmp_path, 8)
        except UserError as error:
            assert str(error).splitlines() == [str(error)]
            assert str(folder) in str(error)
            trials[f"{kind}: refused in one line"] += 1
        else:
            if path.suffix in (".npy", ".json"):
                assert np.array_equal(images, before)
            else:
                assert kind != "cut" or path.suffix == ".txt" or path.suffix == ".jpg"
                assert images.shape == (12, 3, 8, 8) or partition is not None
            trials[f"{kind}: passed over"] += 1
        path.write_bytes(whole)
    assert np.array_equal(celeba.load(tmp_path, 8)[0], before)


def test_a_missing_celeba_folder_names_the_layout(tmp_path):
    with pytest.raises(UserError, match=r"img_align_celeba: no images; download"):
        celeba.verify(tmp_path)


@pytest.fixture
def finished(place, tmp_path, monkeypatch):
    """Folder of a finished run, where the evidence looks for it."""
    settings = Settings.model_validate(yaml.safe_load(place.config.read_text()))
    source = place.undisturbed("IntroVAE, SoftAdapt")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / run_folder(settings.scale, "introvae", "softadapt", 10)
    shutil.copytree(source, folder)
    return folder


BROKEN = {
    "metrics.json": ("metrics", [b"", b"{", b"[]", b"\xff\xfe", b"null"]),
    "provenance.json": ("provenance", [b"", b"{", b"[]", b"\xff\xfe"]),
    "history.csv": ("history", [b"", b"\xff\xfe", b'a,b\n"1', b"a\n1,2\n3,4,5\n"]),
    "samples.npz": ("samples", [b"", b"PK", b"\x93NUMPY", b"x" * 99]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_damaged_file_of_a_finished_run_is_named_by_the_evidence(finished, trials, name):
    from experiments.evidence.reading import FinishedRun

    folder = finished
    attribute, contents = BROKEN[name]
    whole = (folder / name).read_bytes()
    for broken in [*contents, whole[: len(whole) // 2] if name != "history.csv" else b"", None]:
        if broken is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(broken)
        with pytest.raises(UserError) as error:
            getattr(FinishedRun(folder), attribute)
        unfinished = name == "metrics.json" and broken is None
        assert ("no finished run" if unfinished else name) in str(error.value)
        assert str(error.value).splitlines() == [str(error.value)]
        trials["refused in one line"] += 1
    (folder / name).write_bytes(whole)
    assert len(getattr(FinishedRun(folder), attribute)) > 0


@pytest.mark.parametrize(
    "broken", [b"", b"a: [", b"- 1\n", b"\xff\xfe", b"a: 2001-99-99", b"settings: 5\n", b"[" * 100_000]
)
def test_a_damaged_config_of_a_run_folder_is_one_line_and_nothing_changes(place, tmp_path, broken):
    folder = tmp_path / "run"
    shutil.copytree(place.undisturbed("digit classifier"), folder)
    (folder / "config.yaml").write_bytes(broken)
    before = content(folder)
    one_line(place.start("digit classifier", folder), str(folder))
    assert content(folder) == before


@pytest.mark.parametrize("broken", [b"", b"x" * 99])
def test_a_judge_with_damaged_weights_is_one_line(place, tmp_path, broken):
    shutil.copytree(place.undisturbed("digit classifier"), tmp_path / "judge")
    (tmp_path / "judge" / "weights.pt").write_bytes(broken)
    process = place.start("autoencoder, SoftAdapt", tmp_path / "run", "--classifier", str(tmp_path / "judge"))
    one_line(process, str(tmp_path / "judge"))
    assert not (tmp_path / "run" / "metrics.json").exists()


REPLAYED = {
    "gone": lambda whole: None,
    "cut": lambda whole: whole[: len(whole) // 2],
    "empty": lambda whole: b"",
    "flipped": lambda whole: whole[:61] + bytes([whole[61] ^ 255]) + whole[62:],
    "another file": lambda whole: b"x" * 99,
}


@pytest.mark.parametrize("damage", REPLAYED)
def test_weights_that_cannot_be_replayed_are_one_line_that_names_the_run_to_make(place, tmp_path, monkeypatch, damage):
    words = ["--config", str(place.config), "--method", "softadapt-yoked"]
    [yoked] = command_line.parse(scale, "sparse_autoencoder", arguments=words)
    monkeypatch.chdir(tmp_path)
    folder = run_folder(yoked.scale.scale, "sparse_autoencoder", "softadapt", 11)  # the next seed's
    folder.mkdir(parents=True)
    weights = np.random.default_rng(0).random((24, 2), dtype=np.float32)
    np.savez_compressed(folder / "samples.npz", **{sparse_autoencoder.WEIGHTS: weights})
    whole = (folder / "samples.npz").read_bytes()
    assert sparse_autoencoder._replayed_weights(yoked, "softadapt", 24).numpy() == pytest.approx(weights)
    broken = REPLAYED[damage](whole)
    (folder / "samples.npz").unlink()
    if broken is not None:
        (folder / "samples.npz").write_bytes(broken)
    with pytest.raises(UserError) as error:
        sparse_autoencoder._replayed_weights(yoked, "softadapt", 24)
    assert str(error.value) == (
        f"{folder}/samples.npz: no weights to replay; run first: "
        "python -m experiments.sparse_autoencoder --method softadapt --seed 11"
    )


def test_a_run_that_kept_no_weights_cannot_be_replayed(place, tmp_path, monkeypatch):
    words = ["--config", str(place.config), "--method", "softadapt-yoked", "--seed", "11"]
    [yoked] = command_line.parse(scale, "sparse_autoencoder", arguments=words)
    monkeypatch.chdir(tmp_path)
    folder = run_folder(yoked.scale.scale, "sparse_autoencoder", "softadapt", 10)  # after the last seed the first
    folder.mkdir(parents=True)
    np.savez_compressed(folder / "samples.npz", originals=np.zeros((2, 784)))
    with pytest.raises(
        UserError, match=r"samples\.npz: no weights to replay; run first: .* --method softadapt --seed 10"
    ):
        sparse_autoencoder._replayed_weights(yoked, "softadapt", 24)


def test_weights_of_another_number_of_steps_are_not_replayed(place, tmp_path, monkeypatch):
    words = ["--config", str(place.config), "--method", "softadapt-yoked"]
    [yoked] = command_line.parse(scale, "sparse_autoencoder", arguments=words)
    monkeypatch.chdir(tmp_path)
    folder = run_folder(yoked.scale.scale, "sparse_autoencoder", "softadapt", 11)
    folder.mkdir(parents=True)
    np.savez_compressed(folder / "samples.npz", **{sparse_autoencoder.WEIGHTS: np.zeros((24, 2), dtype=np.float32)})
    with pytest.raises(
        UserError, match=r"samples\.npz: holds the weights of 24 steps, and this run takes 12; give both"
    ):
        sparse_autoencoder._replayed_weights(yoked, "softadapt", 12)
