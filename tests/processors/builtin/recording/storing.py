"""A small stand-in for an S3 store: takes PUT requests, or does what stores do on bad days."""

from __future__ import annotations

import http.server
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

DENIED = b"<Error><Code>AccessDenied</Code><Message>s3cret detail</Message></Error>"


class Store:
    """What has come.

    Attributes:
        answers: the status of the next requests, one each; 0 hangs; none left: 200.
        objects: what was put, by the path with its bucket.
        requests: the statuses that were given.
    """

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.objects: dict[str, bytes] = {}
        self.requests: list[int] = []
        self.unsigned: int = 0
        self.free = threading.Event()
        self.slow = threading.Event()
        self.slow.set()

    def take(self, request: http.server.BaseHTTPRequestHandler) -> int:
        """Judge one request, and keep what it brings."""
        body = request.rfile.read(int(request.headers.get("content-length") or 0))
        self.slow.wait(30.0)
        status = self.answers.pop(0) if self.answers else 200
        self.requests.append(status)
        self.unsigned += "AWS4-HMAC-SHA256" not in request.headers.get("authorization", "")
        if status == 200:
            self.objects[urllib.parse.unquote(request.path)] = body
        if status == 0:
            self.free.wait(30.0)
        return status


@contextmanager
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store on loopback; the environment says where, and with which keys."""
    found = Store()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            status = found.take(self)
            if status == 0:
                self.close_connection = True
                return
            body = b"" if status == 200 else DENIED
            self.send_response(status)
            self.send_header("ETag", '"1"')
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Tests are to be quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    try:
        yield found
    finally:
        found.free.set()
        found.slow.set()
        server.shutdown()
        server.server_close()
