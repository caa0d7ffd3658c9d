"""A blocking WebSocket client that can break every rule, and a server process to try it on.

Written from RFC 6455 and the documented message shapes alone, so that tests which use it
know nothing of the server's code.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.ports import free_port

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
ABNORMAL = 1006

_numbers = itertools.count(1)

# The server with all lines of its log: tests read in it what was counted for a stream.
_SERVE = """\
import sys
from mediaserver import logs
logs.limits.BURST = 1_000_000
from mediaserver.cli import main
sys.exit(main())
"""


def frame(
    opcode: int, body: bytes, *, fin: bool = True, rsv: int = 0, masked: bool = True
) -> bytes:
    """One client frame; the flags allow illegal ones."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    size, mask_bit = len(body), 0x80 if masked else 0
    if size < 126:
        head = bytes((first, mask_bit | size))
    elif size < 1 << 16:
        head = bytes((first, mask_bit | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, mask_bit | 127)) + size.to_bytes(8, "big")
    if not masked:
        return head + body
    key = os.urandom(4)
    stream = (key * (size // 4 + 1))[:size]
    covered = int.from_bytes(body, "big") ^ int.from_bytes(stream, "big")
    return head + key + covered.to_bytes(size, "big")


def text(message: object) -> bytes:
    """The frame of a JSON message."""
    return frame(TEXT, json.dumps(message).encode())


CONNECTED = text({"event": "connected", "version": "1.0.0"})


class Closed(Exception):
    """The server ended the connection, with ``code`` (1006: without a close frame)."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class RawCall:
    """One connection to ``/media``; ``begin()`` makes it a call.

    Args:
        port: of the server, on loopback.
        behind: makes octets to send right behind the upgrade request, in one segment with it.
        timeout_s: for any single wait; beyond it ``TimeoutError``.
    """

    def __init__(
        self,
        port: int,
        *,
        path: str = "/media",
        behind: Callable[[RawCall], bytes] | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        number = next(_numbers)
        self.call_control_id = f"v2:raw-{os.getpid()}-{number}"
        self.stream_id = f"32DE0DEA-53CB-4B21-89A4-{number:012X}"
        self._chunk = 1
        self._received = b""
        self.socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        # Else the kernel holds a small message back until the last one is acknowledged.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._upgrade(path, behind(self) if behind is not None else b"")

    def __enter__(self) -> RawCall:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, octets: bytes) -> None:
        """Send octets as they are; nothing happens if the server has gone."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(octets)

    def begin(self, encoding: str = "PCMU", rate_hz: int = 8000) -> None:
        """Send ``connected`` and ``start``."""
        self.send(CONNECTED)
        self.send(text(self.start(encoding, rate_hz)))

    def start(self, encoding: str = "PCMU", rate_hz: int = 8000) -> dict[str, Any]:
        """The ``start`` message of this call."""
        return {
            "event": "start",
            "sequence_number": "1",
            "start": {
                "user_id": "3E6F995F-85F7-4705-9741-53B116D28237",
                "call_control_id": self.call_control_id,
                "call_session_id": "ff55a038-6f5d-11ef-9692-02420aeffb1f",
                "from": "+13122010094",
                "to": "+13122123456",
                "tags": ["TAG1"],
                "client_state": "aGF2ZSBhIG5pY2UgZGF5ID1d",
                "custom_parameters": {"customer_id": "customer_123"},
                "media_format": {"encoding": encoding, "sample_rate": rate_hz, "channels": 1},
            },
            "stream_id": self.stream_id,
        }

    def media(self, payload: bytes) -> dict[str, Any]:
        """The next ``media`` message of this call; the same again until ``counted()``."""
        return {
            "event": "media",
            "sequence_number": str(self._chunk + 1),
            "media": {
                "track": "inbound",
                "chunk": str(self._chunk),
                "timestamp": str(self._chunk * 20),
                "payload": base64.b64encode(payload).decode(),
            },
            "stream_id": self.stream_id,
        }

    def counted(self) -> None:
        """The message that ``media()`` made has been sent: go on to the next chunk."""
        self._chunk += 1

    def echoed(self, payload: bytes) -> bytes:
        """Send ``payload`` as one message; as many octets of audio as come back for it.

        Raises:
            Closed: the server ended the connection instead.
        """
        self.send(self.spoken(payload))
        return self.heard(len(payload))

    def spoken(self, payload: bytes) -> bytes:
        """The frame of the next media message, counted as sent."""
        message = text(self.media(payload))
        self.counted()
        return message

    def heard(self, size: int) -> bytes:
        """``size`` octets of audio, or more if messages so fall; marks are returned.

        Raises:
            Closed: the server ended the connection instead.
        """
        audio = b""
        while len(audio) < size:
            message = self.message()
            if message["event"] == "media":
                audio += self.decoded(message)
            elif message["event"] == "mark":
                self.send(text({**message, "stream_id": self.stream_id}))
        return audio

    def decoded(self, message: dict[str, Any]) -> bytes:
        """The audio in a media message."""
        return base64.b64decode(message["media"]["payload"], validate=True)

    def message(self) -> dict[str, Any]:
        """The server's next message; its pings are answered on the way.

        Raises:
            Closed: the server ended the connection instead.
        """
        while True:
            opcode, body = self.frame()
            if opcode == TEXT:
                message: dict[str, Any] = json.loads(body)
                return message
            if opcode == PING:
                self.send(frame(PONG, body))
            elif opcode == CLOSE:
                raise Closed(int.from_bytes(body[:2], "big"), body[2:].decode())

    def frame(self) -> tuple[int, bytes]:
        """Opcode and body of the server's next frame.

        Raises:
            Closed: the stream ended instead.
        """
        head = self._take(2)
        assert head[0] & 0x70 == 0, "the server set reserved bits"
        assert not head[1] & 0x80, "the server masked a frame"
        size = head[1]
        if size >= 126:
            size = int.from_bytes(self._take(2 if size == 126 else 8), "big")
        return head[0] & 0x0F, self._take(size)

    def close_code(self) -> int:
        """The code the server closes with, whatever it sends before."""
        try:
            while True:
                self.message()
        except Closed as closed:
            return closed.code

    def _take(self, size: int) -> bytes:
        while len(self._received) < size:
            self._received += self._read()
        taken, self._received = self._received[:size], self._received[size:]
        return taken

    def _read(self) -> bytes:
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            raise Closed(ABNORMAL)
        return data

    def _upgrade(self, path: str, behind: bytes) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        self.send(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}"
            "\r\n\r\n".encode()
            + behind
        )
        while b"\r\n\r\n" not in self._received:
            self._received += self._read()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
        assert base64.b64encode(digest) in head


@dataclass(frozen=True)
class Server:
    """A running ``mediaserver serve`` process, and the file its output goes to."""

    port: int
    pid: int
    log: Path

    def memory_kib(self, field: str) -> int:
        """A field of ``/proc/PID/status``: ``VmRSS``, ``VmHWM`` (its peak)."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == field:
                return int(value.split()[0])
        raise KeyError(field)

    def get(self, path: str) -> str:
        """The body of an HTTP GET."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            body: bytes = answer.read()
            return body.decode()


@contextlib.contextmanager
def serving(log: Path, *arguments: str, **settings: str) -> Iterator[Server]:
    """A server process of its own, ready on a free port; ended on leaving.

    Args:
        log: where its output goes.
        arguments: further ones for ``serve``; ``--processor echo`` unless given.
        settings: further ones that have no flag.
    """
    port = free_port()
    command = [sys.executable, "-c", _SERVE, "serve", "--port", str(port)]
    environment = {f"MEDIASERVER_{name.upper()}": value for name, value in settings.items()}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *(arguments or ("--processor", "echo"))],
            stdout=output,
            stderr=output,
            env=os.environ | environment,
        )
    try:
        server = Server(port, process.pid, log)
        _await_ready(server, process)
        yield server
    finally:
        process.kill()
        process.wait()


def _await_ready(server: Server, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            server.get("/readyz")
            return
        time.sleep(0.05)
    raise RuntimeError(f"no server (exit code {process.poll()}): {server.log.read_text()[-2000:]}")
