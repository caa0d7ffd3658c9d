"""What a malformed message does to its call: a table, tried on a real server process.

Each kind is sent on a call of its own, beside another call that keeps echoing. ``GOES_ON``
means that the call's next audio comes back bit for bit; a number is the close code.
"""

from __future__ import annotations

import ast
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.server.rawclient import (
    BINARY,
    CLOSE,
    CONNECTED,
    PING,
    TEXT,
    RawCall,
    Server,
    frame,
    serving,
    text,
)

GOES_ON = 0
MIB = 1 << 20
CONTINUATION = 0x0
# No 0x7F: minus zero, which an echo through linear PCM returns as 0xFF.
SPOKEN = bytes(code for code in range(256) if code != 0x7F)[:160]

# What a kind sends: octets, made for the call that sends them.
Sends = Callable[[RawCall], bytes]


@dataclass(frozen=True)
class Kind:
    """One malformed thing a peer may send, and what comes of it.

    Attributes:
        name: as the test's id.
        sends: the octets.
        outcome: ``GOES_ON`` or the close code.
        when: where the call stands: ``opened`` (nothing sent), ``connected``, ``streaming``.
        counted: the kind under which the server counts it; None where it is harmless enough
            not to be counted, or ends the connection.
    """

    name: str
    sends: Sends
    outcome: int = GOES_ON
    when: str = "streaming"
    counted: str | None = None


def counted(name: str, *kinds: Kind) -> list[Kind]:
    """These kinds, all of them counted under ``name``."""
    return [replace(kind, counted=name) for kind in kinds]


def raw(octets: bytes) -> Sends:
    return lambda _call: octets


def said(body: str | bytes) -> Sends:
    """A legal text frame of this body."""
    return raw(frame(TEXT, body.encode() if isinstance(body, str) else body))


def media(**fields: Any) -> Sends:
    """The call's next media message with fields of its ``media`` replaced; None removes one."""

    def sends(call: RawCall) -> bytes:
        message = call.media(SPOKEN)
        message["media"] = _changed(message["media"], fields)
        return text(message)

    return sends


def media_message(**fields: Any) -> Sends:
    """The call's next media message with top-level fields replaced; None removes one."""
    return lambda call: text(_changed(call.media(SPOKEN), fields))


def start(**fields: Any) -> Sends:
    """The call's start message with top-level fields replaced."""
    return lambda call: text(_changed(call.start(), fields))


def media_format(value: Any) -> Sends:
    """A start message that announces ``value`` as its media format."""

    def sends(call: RawCall) -> bytes:
        message = call.start()
        message["start"]["media_format"] = value
        return text(message)

    return sends


def _changed(message: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**message, **fields}.items() if value is not None}


def bare(name: str, value: str) -> Sends:
    """The call's next media message with ``name`` set to JSON text that ``json`` cannot write."""

    def sends(call: RawCall) -> bytes:
        message = call.media(SPOKEN)
        message["media"][name] = "@"
        return frame(TEXT, json.dumps(message).replace('"@"', value).encode())

    return sends


def empty_media(call: RawCall) -> bytes:
    """A chunk without a single octet of audio; it counts as a chunk all the same."""
    return call.spoken(b"")


GOING_ON = [
    *counted(
        "not_json",
        Kind("no JSON", said("hello")),
        Kind("empty message", said("")),
        Kind("spaces only", said("  \n")),
        Kind("truncated JSON", said('{"event":"media","media":{"pay')),
        Kind("two objects", said('{"event":"stop"}{"event":"stop"}')),
        Kind("garbage behind", said('{"event":"stop"} x')),
        Kind("single quotes", said("{'event':'stop'}")),
        Kind("trailing comma", said('{"event":"stop",}')),
        Kind("byte order mark", said('\ufeff{"event":"stop"}')),
        Kind("NUL in a string", said('{"event":"mark","mark":{"name":"\0"}}')),
        Kind("NaN", bare("timestamp", "NaN")),
        Kind("Infinity", bare("timestamp", "-Infinity")),
        Kind("number too large", bare("chunk", "1e999")),
        Kind("lone surrogate", said('{"event":"mark","mark":{"name":"\\ud800"}}')),
        Kind("lone surrogate as event", said('{"event":"\\udfff"}')),
        Kind("no JSON before connected", said("hello"), when="opened"),
    ),
    *counted(
        "too_deep",
        Kind("deep arrays", said("[" * 20_000)),
        Kind("deep arrays in an object", said('{"a":' + "[" * 15_000 + "]" * 15_000 + "}")),
        Kind(
            "deep nesting in a field",
            said('{"event":"connected","connected":' + "[" * 10_000 + "]" * 10_000 + "}"),
        ),
    ),
    *counted(
        "not_object",
        Kind("array", said("[]")),
        Kind("number", said("7")),
        Kind("string", said('"media"')),
        Kind("null", said("null")),
        Kind("true", said("true")),
    ),
    *counted(
        "no_event",
        Kind("empty object", said("{}")),
        Kind("no event", media_message(event=None)),
        Kind("null event", said('{"event":null}')),
        Kind("number as event", media_message(event=7)),
        Kind("object as event", media_message(event={"media": 1})),
    ),
    *counted(
        "unknown_event",
        Kind("unknown event", media_message(event="telepathy")),
        Kind("event in capitals", media_message(event="MEDIA")),
    ),
    *counted(
        "too_long",
        Kind("1 MiB of escapes", said(b'"' + b"\\u0000" * (MIB // 6 - 1) + b'"')),
        Kind("1 MiB string", said(b'{"event":"' + b"A" * (MIB - 12) + b'"}')),
        Kind("1 MiB of lists", said(b"[" + b"[]," * (MIB // 3 - 1) + b"[]]")),
        Kind("64 KiB of lists", said(b"[" + b"[]," * 21_000 + b"[]]")),
        Kind("34 kB of mark", said(b'{"event":"mark","mark":{"name":"' + b"A" * 34_000 + b'"}}')),
        Kind("30 s of audio", media(payload="A" * 320_000)),
    ),
    *counted(
        "bad_base64",
        Kind("no base64", media(payload="!!!!")),
        Kind("base64 cut short", media(payload="AAAAA")),
        Kind("base64 not padded", media(payload="AAA")),
        Kind("URL-safe base64", media(payload="no-_Jho-")),
        Kind("base64 not ASCII", media(payload="ÄÖÜß")),
    ),
    *counted(
        "connected_repeated",
        Kind("second connected", said('{"event":"connected","version":"1.0.0"}')),
    ),
    *counted(
        "start_repeated",
        Kind("second start", start()),
        Kind("second start of another stream", start(stream_id="another")),
    ),
    *counted(
        "wrong_stream_id",
        Kind("media of another stream", media_message(stream_id="another")),
        Kind("stop of another stream", said('{"event":"stop","stream_id":"another"}')),
    ),
    *counted(
        "media_before_connected",
        Kind("media before connected", media_message(), when="opened"),
    ),
    *counted(
        "mark_before_connected",
        Kind("mark before connected", said('{"event":"mark","mark":{"name":"m"}}'), when="opened"),
    ),
    *counted(
        "media_before_start",
        Kind("media before start", media_message(), when="connected"),
    ),
    *counted(
        "dtmf_before_start",
        Kind("dtmf before start", said('{"event":"dtmf","dtmf":{"digit":"1"}}'), when="connected"),
    ),
    *counted(
        "binary",
        Kind("binary message", raw(frame(BINARY, b"\x80\x00" * 86))),
        Kind("empty binary message", raw(frame(BINARY, b""))),
        Kind(
            "binary in fragments",
            raw(frame(BINARY, b"ab", fin=False) + frame(CONTINUATION, b"cd")),
        ),
        Kind("binary before connected", raw(frame(BINARY, b"RIFF")), when="opened"),
    ),
    *counted(
        "bad_field",
        Kind("no media", media_message(media=None)),
        Kind("string as media", media_message(media="AAAA")),
        Kind("array as media", media_message(media=["AAAA"])),
        Kind("no payload", media(payload=None)),
        Kind("number as payload", media(payload=7)),
        Kind("object as payload", media(payload={})),
        Kind("number as track", media(track=7)),
        Kind("mark without body", said('{"event":"mark"}')),
        Kind("mark without name", said('{"event":"mark","mark":{}}')),
        Kind("number as mark", said('{"event":"mark","mark":{"name":7}}')),
        Kind("dtmf without digit", said('{"event":"dtmf","dtmf":{}}')),
        Kind("dtmf of 200 digits", said('{"event":"dtmf","dtmf":{"digit":"' + "1" * 200 + '"}}')),
        Kind("start without body", said('{"event":"start"}'), when="connected"),
        Kind("array as start", start(start=[]), when="connected"),
        Kind("word as media format", media_format("PCMU"), when="connected"),
    ),
    Kind("empty payload", empty_media),
    Kind("mark nobody set", said('{"event":"mark","mark":{"name":"nobody"}}')),
    Kind("error without body", said('{"event":"error"}')),
    Kind("unknown track", media(track="sideways")),
]
ENDING = [
    Kind("unknown codec", media_format({"encoding": "CODEC2"}), 1003, when="connected"),
    Kind("text not UTF-8", said(b'{"event":"\xff"}'), 1007),
    Kind("UTF-8 over-long", said(b'{"event":"\xc0\x80"}'), 1007),
    Kind("UTF-8 of a surrogate", said(b'{"event":"\xed\xa0\x80"}'), 1007),
    Kind("UTF-8 cut short", said(b'{"event":"\xe2\x82'), 1007),
    Kind(
        "fragments not UTF-8",
        raw(frame(TEXT, b'"\xe2\x82', fin=False) + frame(CONTINUATION, b'\x28"')),
        1007,
    ),
    Kind("unmasked frame", raw(frame(TEXT, b"{}", masked=False)), 1002),
    Kind("reserved bit 1", raw(frame(TEXT, b"{}", rsv=4)), 1002),
    Kind("reserved bit 2", raw(frame(TEXT, b"{}", rsv=2)), 1002),
    Kind("reserved bit 3", raw(frame(TEXT, b"{}", rsv=1)), 1002),
    Kind("opcode 3", raw(frame(0x3, b"")), 1002),
    Kind("opcode 11", raw(frame(0xB, b"")), 1002),
    Kind("opcode 15 of 64 bytes", raw(frame(0xF, bytes(64))), 1002),
    Kind("continuation of nothing", raw(frame(CONTINUATION, b"{}")), 1002),
    Kind("text inside a text", raw(frame(TEXT, b"{", fin=False) + frame(TEXT, b"{}")), 1002),
    Kind("ping in fragments", raw(frame(PING, b"a", fin=False)), 1002),
    Kind("ping of 126 bytes", raw(frame(PING, bytes(126))), 1002),
    Kind("close of one byte", raw(frame(CLOSE, b"\x03")), 1002),
    Kind("close with code 1005", raw(frame(CLOSE, b"\x03\xed")), 1002),
    Kind("close with code 999", raw(frame(CLOSE, b"\x03\xe7")), 1002),
    Kind("close reason not UTF-8", raw(frame(CLOSE, b"\x03\xe8\xff")), 1007),
    Kind("message above 1 MiB", said(b'{"event":"' + b"A" * MIB + b'"}'), 1009),
    Kind("length of 4 EiB", raw(b"\x81\xff" + (1 << 62).to_bytes(8, "big") + bytes(4)), 1009),
    Kind(
        "fragments above 1 MiB",
        raw(
            frame(TEXT, b"A" * 700_000, fin=False) + frame(CONTINUATION, b"A" * 700_000, fin=False)
        ),
        1009,
    ),
    Kind(
        "a thousand fragments",
        raw(frame(TEXT, b"{", fin=False) + frame(CONTINUATION, b" ", fin=False) * 1000),
        1009,
    ),
    Kind("flood of pings", raw(frame(PING, b"?") * 200), 1008),
]
KINDS = GOING_ON + ENDING


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("malformed") / "server.log") as running:
        yield running


@pytest.fixture(scope="module")
def bystander(server: Server) -> Iterator[RawCall]:
    with RawCall(server.port) as call:
        call.begin()
        yield call


def test_table_has_the_forty_kinds() -> None:
    """The table names at least 40 kinds, each once."""
    assert len({kind.name for kind in KINDS}) == len(KINDS) >= 40


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_malformed_message(server: Server, bystander: RawCall, kind: Kind) -> None:
    """The call goes on or ends with the code in the table; it is counted; no other is harmed."""
    with RawCall(server.port) as call:
        if kind.when == "streaming":
            call.begin()
            assert call.echoed(SPOKEN) == SPOKEN
        elif kind.when == "connected":
            call.send(CONNECTED)
        call.send(kind.sends(call))
        if kind.outcome == GOES_ON:
            _goes_on(call, kind.when)
        else:
            assert call.close_code() == kind.outcome
    assert bystander.echoed(SPOKEN[::-1]) == SPOKEN[::-1]
    if kind.counted is not None:
        assert _refused(server, call.stream_id) == {kind.counted: 1}


def test_close_code_reaches_a_peer_that_goes_on_sending(server: Server) -> None:
    """Media that arrives behind the fatal frame does not cost the peer the close code."""
    with RawCall(server.port) as call:
        call.begin()
        assert call.echoed(SPOKEN) == SPOKEN
        call.send(frame(PING, b"?") * 200)
        # Still unread when the server closes: a close() then resets the connection.
        call.send(text(call.media(SPOKEN)))
        assert call.close_code() == 1008


def _refused(server: Server, stream_id: str) -> dict[str, int]:
    """The refused messages by kind, which the server logs when the stream's socket is gone."""
    mark = f"stream {stream_id}: refused messages: "
    for _ in range(500):
        for line in server.log.read_text().splitlines():
            if mark in line:
                found: dict[str, int] = ast.literal_eval(line.partition(mark)[2])
                return found
        time.sleep(0.01)
    raise AssertionError(f"nothing was counted for stream {stream_id}")


def _goes_on(call: RawCall, when: str) -> None:
    """Finish the call's beginning where some of it is missing; its audio must come back."""
    if when == "opened":
        call.begin()
    elif when == "connected":
        call.send(text(call.start()))
    assert call.echoed(SPOKEN) == SPOKEN
