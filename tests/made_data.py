"""Small made data in place of MNIST, the ORL faces and CelebA: the tests need no network."""

import hashlib
import struct
from pathlib import Path

import numpy as np

from experiments import scale


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def make_mnist(data_dir: Path) -> dict[str, str]:
    """Blobs as digits, one bright block per class, so that a classifier can learn them; returns their checksums."""
    folder = data_dir / "mnist"
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
    return checksums


def make_faces(data_dir: Path) -> str:
    """400 smooth random images in the layout of the ORL faces; returns their checksum."""
    folder = data_dir / "orl-faces"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (400, 8, 8), dtype=np.uint8)
    images = np.kron(coarse, np.ones((14, 12), dtype=np.uint8))[:, :112, :92]
    np.save(folder / "images.npy", images)
    return hashlib.sha256((folder / "images.npy").read_bytes()).hexdigest()


def make_celeba(data_dir: Path) -> Path:
    """Twelve plain images with their partition in the layout of CelebA; returns its folder."""
    from PIL import Image

    folder = data_dir / "celeba" / "img_align_celeba"
    folder.mkdir(parents=True)
    lines = []
    for index in range(12):
        name = f"{index + 1:06d}.jpg"
        color = (20 * index, 100, 255 - 20 * index)
        Image.new("RGB", (178, 218), color).save(folder / name)
        lines.append(f"{name} {0 if index < 8 else 1 if index < 10 else 2}")
    (data_dir / "celeba" / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    return data_dir / "celeba"


def tiny_settings(data_dir: Path) -> dict:
    """The smoke scale made smaller still, on the made data, with two more rules: of gradients, and of chance."""
    values = scale.read("config/smoke.yaml")
    rivals = scale.read("config/full.yaml")["sparse_autoencoder"]["methods"]
    values["sparse_autoencoder"]["methods"] |= {name: rivals[name] for name in ("gradnorm", "random-weights")}
    values["data_dir"] = str(data_dir)
    values["digit_classifier"] |= {"train_images": 400, "batch_size": 20, "minimum_accuracy": 50.0}
    values["sparse_autoencoder"] |= {"train_images": 300, "validation_images": 100, "test_images": 100}
    values["sparse_autoencoder"] |= {"hidden_units": 8, "batch_size": 50}
    values["introvae"] |= {"channels": [4, 8], "latent_size": 4, "evaluated_images": 8}
    values["introvae"] |= {"validation": 15, "held_out": 15, "batch_size": 24}  # of 40 people with ten images each
    values["introvae"] |= {"warmup_epochs": 0, "precision": "float32", "decay_share": 0.0}
    values["introvae"]["methods"]["softadapt"]["margin"] = 60.0
    values["gradient_descent"] |= {"starts": 4, "max_steps": 200}
    values["gradient_descent"]["step_sizes"]["count"] = 3
    return values
