"""Small made data in place of MNIST and the ORL faces: the tests need no network."""

import hashlib
import shutil
import struct

import numpy as np
import pytest
import torch
import yaml
from hypothesis import settings

from experiments.data import mnist, orl_faces

settings.register_profile("suite", deadline=None)  # a busy machine is no failure
settings.load_profile("suite")


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def made_mnist(tmp_path, monkeypatch):
    """A data folder with blobs as digits: one bright block per class, so that a classifier can learn them."""
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    checksums = {}
    for prefix, count in (("train", 400), ("t10k", 120)):
        labels = np.arange(count, dtype=np.uint8) % 10
        images = random.integers(0, 40, (count, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[2 * label : 2 * label + 6, 4:24] += 200
        for name, array in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", labels)):
            (folder / name).write_bytes(idx_bytes(array))
            checksums[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(mnist, "CHECKSUMS", checksums)
    return folder.parent


@pytest.fixture
def made_faces(tmp_path, monkeypatch):
    """A data folder with 400 smooth random images in the layout of the ORL faces."""
    folder = tmp_path / "data" / "orl-faces"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (400, 8, 8), dtype=np.uint8)
    images = np.kron(coarse, np.ones((14, 12), dtype=np.uint8))[:, :112, :92]
    np.save(folder / "images.npy", images)
    checksum = hashlib.sha256((folder / "images.npy").read_bytes()).hexdigest()
    monkeypatch.setattr(orl_faces, "CHECKSUM", checksum)
    return folder.parent


@pytest.fixture(scope="session")
def analysed_once(tmp_path_factory):
    """A folder with a small finished scale, its analysis done; made once, to be copied."""
    import finished_scale

    folder = tmp_path_factory.mktemp("analysed")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        finished_scale.lay_out(folder)
        finished_scale.analyse(monkeypatch)
    return folder


@pytest.fixture
def analysed(analysed_once, tmp_path, monkeypatch):
    """A copy of that folder, the working directory of the test."""
    folder = tmp_path / "analysed"
    shutil.copytree(analysed_once, folder)
    monkeypatch.chdir(folder)
    checksum = hashlib.sha256((folder / "data" / "orl-faces" / "images.npy").read_bytes()).hexdigest()
    monkeypatch.setattr(orl_faces, "CHECKSUM", checksum)
    return folder


@pytest.fixture
def tiny_config(tmp_path):
    """Path of a config of the smoke scale made smaller still, on the made data."""
    with open("config/smoke.yaml", encoding="utf-8") as file:
        values = yaml.safe_load(file)
    values["data_dir"] = str(tmp_path / "data")
    values["digit_classifier"] |= {"train_images": 400, "batch_size": 20, "minimum_accuracy": 50.0}
    values["sparse_autoencoder"] |= {"train_images": 300, "validation_images": 100, "test_images": 100}
    values["sparse_autoencoder"] |= {"hidden_units": 8, "batch_size": 50}
    values["introvae"] |= {"channels": [4, 8], "latent_size": 4, "batch_size": 64, "evaluated_images": 8}
    values["introvae"] |= {"warmup_epochs": 0, "precision": "float32"}
    values["gradient_descent"] |= {"starts": 4, "max_steps": 200}
    values["gradient_descent"]["step_sizes"]["count"] = 3
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


@pytest.fixture
def faces_config(tmp_path, tiny_config):
    """Path of the same config without all experiments but IntroVAE."""
    values = yaml.safe_load(tiny_config.read_text(encoding="utf-8"))
    values = {"scale": "faces-only", "data_dir": values["data_dir"], "introvae": values["introvae"]}
    path = tmp_path / "faces-only.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path
