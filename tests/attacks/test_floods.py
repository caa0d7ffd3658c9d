"""Messages of a kind in their thousands: counted, then closed with 1008; others go on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest

from tests.attacks.attacking import SPOKEN, flood, good_calls, sized, wait_until
from tests.server.rawclient import PONG, TEXT, RawCall, Server, frame, text

pytestmark = pytest.mark.xdist_group("attacks")  # they share a server


def many(message: object) -> Callable[[int], bytes]:
    octets = text(message)
    return lambda n: octets * n


def raw(octets: bytes) -> Callable[[int], bytes]:
    return lambda n: octets * n


# The name in the log's count of refused messages, and what is sent.
FLOODS = {
    "too_many_dtmf": many({"event": "dtmf", "dtmf": {"digit": "1"}}),
    "too_many_marks": many({"event": "mark", "mark": {"name": "never sent"}}),
    "too_many_errors": many({"event": "error", "error": {"code": "100005"}}),
    "unknown_event": many({"event": "clear"}),
    "not_json": raw(frame(TEXT, b"")),
    "binary": raw(frame(2, b"\0")),
    "connected_repeated": many({"event": "connected"}),
    "wrong_stream_id": many({"event": "dtmf", "dtmf": {"digit": "1"}, "stream_id": "other"}),
    "bad_base64": many({"event": "media", "media": {"payload": "!"}}),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_is_counted_and_then_closed(server: Server, kind: str) -> None:
    """200,000 of a kind in one call: 1008, and no other call loses a frame."""
    with good_calls(server), RawCall(server.port, timeout_s=60) as attacker:
        attacker.begin()
        assert flood(attacker, FLOODS[kind], sized(5_000, 200_000)) == 1008
        stream = attacker.stream_id
    wait_until(lambda: f"stream {stream}: refused messages: " in server.log.read_text())
    assert f"'{kind}': " in server.log.read_text().partition(f"{stream}: refused messages: ")[2]
    assert server.log.read_text().count(stream) == 2


def test_the_rates_are_the_calls(server: Server) -> None:
    """Behind a flood, another socket of the call gets no rates of its own."""
    with good_calls(server):
        with RawCall(server.port, timeout_s=60) as attacker:
            attacker.begin()
            attacker.echoed(SPOKEN)  # a call without media has no second socket
            assert flood(attacker, FLOODS["too_many_dtmf"], sized(5_000, 200_000)) == 1008
        wait_until(lambda: f"{attacker.stream_id}: refused messages" in server.log.read_text())
        with RawCall(server.port, timeout_s=60) as again:
            again.call_control_id = attacker.call_control_id
            again.begin()
            assert flood(again, FLOODS["too_many_dtmf"], 1_500) == 1008


def test_pongs_that_nobody_asked_for(server: Server) -> None:
    """They cost as much as pings, and end in the same way."""
    with good_calls(server), RawCall(server.port) as attacker:
        attacker.begin()
        assert flood(attacker, raw(frame(PONG, b"")), sized(1_000, 200_000)) == 1008


def test_media_far_faster_than_a_call_has_it(server: Server) -> None:
    """10,000 media messages a second are seen within a second or two."""
    with good_calls(server), RawCall(server.port, timeout_s=60) as attacker:
        attacker.begin()
        octets = text({"event": "media", "media": {"payload": "AAAA"}})
        attacker.send(octets * sized(7_000, 300_000))
        assert attacker.close_code() in (1006, 1008)  # 1006: it was reset before it read ours
        stream = attacker.stream_id
    wait_until(lambda: f"{stream}: refused messages: " in server.log.read_text())
    assert "'too_many_media': 1" in server.log.read_text().partition(f"{stream}: refused")[2]


@pytest.mark.parametrize(
    "octets", [frame(TEXT, b""), text({"event": "connected"})], ids=["empty", "connected"]
)
def test_behind_the_close_of_an_ended_call(server: Server, octets: bytes) -> None:
    """Its peer sends on: no more of it is read, and no other call loses a frame."""
    with good_calls(server), RawCall(server.port, timeout_s=60) as attacker:
        attacker.begin()
        attacker.send(text({"event": "stop", "stop": {}}))
        assert attacker.close_code() == 1000
        with contextlib.suppress(OSError):  # nobody reads it
            attacker.send(octets * sized(20_000, 1_000_000))
        said = f"{attacker.stream_id}: too many messages behind its close"
        wait_until(lambda: said in server.log.read_text())
    wait_until(lambda: "'too_many_behind_close': 1" in server.log.read_text())


def test_what_a_call_may_bring_is_no_flood(server: Server) -> None:
    """A hundred keys, marks and errors at once, and half a minute of media behind a stall."""
    with RawCall(server.port, timeout_s=60) as call:
        call.begin()
        for kind in ("too_many_dtmf", "too_many_marks", "too_many_errors", "bad_base64"):
            call.send(FLOODS[kind](100))
        assert flood(call, raw(text({"event": "media", "media": {"payload": "AAAA"}})), 1_500) == 0
