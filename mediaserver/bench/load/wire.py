"""The client's side of the wire for a load: Telnyx's messages in RFC 6455 frames.

Faster than that of ``carrier``, which follows each call in detail. Written from Telnyx'
documentation and the RFC, not from the server's code, so that it does not share its mistakes.
"""

from __future__ import annotations

import base64
import hashlib
import os
import random
from collections.abc import Iterator, Mapping
from functools import cache
from typing import NamedTuple

import msgspec

from mediaserver.bench.figures import BenchError

TOKEN_HEADER = "x-telnyx-streaming-auth-token"
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_START = (
    b'{"event":"start","sequence_number":"1",'
    b'"start":{"user_id":"3E6F995F-85F7-4705-9741-53B116D28237",'
    b'"call_control_id":"v2:bench-%(call)d","call_session_id":"bench-session-%(call)d",'
    b'"from":"+13122010094","to":"+13122123456","tags":["bench"],'
    b'"client_state":"aGF2ZSBhIG5pY2UgZGF5ID1d",'
    b'"custom_parameters":%(parameters)s,'
    b'"media_format":{"encoding":"%(encoding)s","sample_rate":%(rate)d,"channels":1}},'
    b'"stream_id":"%(stream)s"}'
)
_MEDIA = (
    b'{"event":"media","sequence_number":"%(sequence)d",'
    b'"media":{"track":"inbound","chunk":"%(chunk)d","timestamp":"%(timestamp)d",'
    b'"payload":"%(payload)s"},"stream_id":"%(stream)s"}'
)
_STOP = (
    b'{"event":"stop","sequence_number":"%(sequence)d",'
    b'"stop":{"user_id":"3E6F995F-85F7-4705-9741-53B116D28237",'
    b'"call_control_id":"v2:bench-%(call)d"},"stream_id":"%(stream)s"}'
)
_MARK = (
    b'{"event":"mark","stream_id":"%(stream)s","sequence_number":"%(sequence)d",'
    b'"mark":{"name":%(name)s}}'
)


class ProtocolError(BenchError):
    """The server broke RFC 6455 or the shape of a message; its text says how."""


class _Media(msgspec.Struct):
    payload: bytes


class _Mark(msgspec.Struct):
    name: str


class Reply(msgspec.Struct):
    """A message from the server; ``payload`` is decoded from base64 on the way."""

    event: str
    media: _Media | None = None
    mark: _Mark | None = None


parse_reply = msgspec.json.Decoder(Reply).decode


class Form(NamedTuple):
    """What ``start`` says of the audio, and which parameters it has."""

    encoding: str
    rate_hz: int
    parameters: Mapping[str, str]


PCMU = Form("PCMU", 8000, {"customer_id": "customer_123"})


class Stream:
    """Writes one call's messages, numbering them as Telnyx does."""

    def __init__(self, call: int, form: Form = PCMU) -> None:
        self._names = {b"call": call, b"stream": b"32DE0DEA-53CB-4B21-89A4-%012X" % call}
        self._form = form
        self._sequence = 0
        self._chunk = 0

    def opening(self) -> bytes:
        """The frames of ``connected`` and ``start``."""
        self._sequence = 1
        form = self._form
        own = {
            b"encoding": form.encoding.encode(),
            b"rate": form.rate_hz,
            b"parameters": msgspec.json.encode(form.parameters),
        }
        return frame(TEXT, b'{"event":"connected","version":"1.0.0"}') + frame(
            TEXT, _START % {**self._names, **own}
        )

    def media(self, payload_b64: bytes) -> bytes:
        """The frame of the next ``media`` message."""
        self._chunk += 1
        own = {b"chunk": self._chunk, b"timestamp": self._chunk * 20, b"payload": payload_b64}
        return frame(TEXT, _MEDIA % self._numbered(own))

    def mark(self, name: str) -> bytes:
        """The frame that returns the server's mark ``name``."""
        return frame(TEXT, _MARK % self._numbered({b"name": msgspec.json.encode(name)}))

    def closing(self) -> bytes:
        """The frames of ``stop`` and of the WebSocket close with code 1000."""
        return frame(TEXT, _STOP % self._numbered({})) + frame(CLOSE, b"\x03\xe8")

    def _numbered(self, own: dict[bytes, object]) -> dict[bytes, object]:
        self._sequence += 1
        return {**self._names, b"sequence": self._sequence, **own}


def upgrade(
    path: str, port: int, host: str = "127.0.0.1", token: str | None = None
) -> tuple[bytes, bytes]:
    """The upgrade request, and the ``Sec-WebSocket-Accept`` value that must come back."""
    key = base64.b64encode(os.urandom(16))
    host = f"[{host}]" if ":" in host else host
    request = (
        f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key.decode()}\r\n"
        + ("" if token is None else f"{TOKEN_HEADER}: {token}\r\n")
        + "\r\n"
    )
    return request.encode(), base64.b64encode(hashlib.sha1(key + _GUID).digest())


def check_upgraded(head: bytes, accept: bytes) -> None:
    """Raise ``ProtocolError`` unless ``head`` is a 101 answer with the right accept value."""
    status, *fields = head.split(b"\r\n")
    found = {name.strip().lower(): value.strip() for name, _, value in map(_split, fields)}
    if status.split(b" ")[1:2] != [b"101"] or found.get(b"sec-websocket-accept") != accept:
        raise ProtocolError(f"no upgrade: {status.decode('latin-1')}")


def _split(field: bytes) -> tuple[bytes, bytes, bytes]:
    return field.partition(b":")


def frame(opcode: int, body: bytes) -> bytes:
    """A complete masked client frame with a fresh key (RFC 6455, 5.2)."""
    size = len(body)
    head = (
        bytes((0x80 | opcode, 0x80 | size))
        if size < 126
        else bytes((0x80 | opcode, 0x80 | 126)) + size.to_bytes(2, "big")
    )
    key = random.getrandbits(32)
    # One big-integer XOR: the key, repeated by a multiplication, over the whole body.
    surplus_bits = -size % 4 * 8
    stream = key * _ones((size + 3) // 4) >> surplus_bits
    masked = int.from_bytes(body, "big") ^ stream
    return head + key.to_bytes(4, "big") + masked.to_bytes(size, "big")


@cache
def _ones(words: int) -> int:
    return int.from_bytes(b"\0\0\0\1" * words, "big")


class FrameReader:
    """Cuts a server's byte stream into frames."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield ``(opcode, body)`` of each frame complete by now.

        Raises:
            ProtocolError: masked, fragmented, or with reserved bits set.
        """
        data = self._rest + data if self._rest else data
        at = 0
        while (span := self._span(data, at)) is not None:
            start, end = span
            yield data[at] & 0x0F, data[start:end]
            at = end
        self._rest = data[at:]

    @staticmethod
    def _span(data: bytes, at: int) -> tuple[int, int] | None:
        if len(data) < at + 2:
            return None
        if data[at] & 0xF0 != 0x80 or data[at + 1] & 0x80:
            raise ProtocolError(f"unexpected frame head {data[at : at + 2].hex()}")
        size, start = data[at + 1], at + 2
        if size >= 126:
            start += 2 if size == 126 else 8
            if len(data) < start:
                return None
            size = int.from_bytes(data[at + 2 : start], "big")
        return (start, start + size) if len(data) >= start + size else None
