"""A server of files that is as bad as servers get."""

import http.server
import threading

import pytest

UNSPOKEN = {
    "/no-status": b"welcome to the hotel, please log in" + b"!" * 300 + b"\r\n\r\n",
    "/long-line": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    "/cut-chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nabc",
    "/bad-length": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nabc",
}
"""Answers that are no HTTP."""


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
        elif self.path in self.server.unspoken:
            self.wfile.write(self.server.unspoken[self.path])
            self.close_connection = True
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
    """A server of its `files` by path, which can also stall, break off and send what is not HTTP, `unspoken`."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.files, running.unspoken, running.stop_stalling = {}, dict(UNSPOKEN), threading.Event()
        running.address = f"http://127.0.0.1:{running.server_port}"
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.stop_stalling.set()
        running.shutdown()
