"""Sound heads are taken, whatever their form; the bad ones are in tests/attacks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediaserver.server.sockets.heads import (
    asks_only,
    fields_of,
    problem_at_once,
    problem_of,
    wants_websocket,
)

HOST = b"Host: media.example.com:8080\r\n"
SOUND = {
    "plain": b"GET / HTTP/1.1\r\n" + HOST,
    "query": b"GET /media/t1.ab_-~c?token=%7B&x=[1] HTTP/1.1\r\n" + HOST,
    "no host in 1.0": b"GET /healthz HTTP/1.0\r\n",
    "IPv6 host": b"GET / HTTP/1.1\r\nHost: [::1]:8080\r\n",
    "empty host": b"GET / HTTP/1.1\r\nHost:\r\n",
    "tabs, empty and Latin-1 values": b"GET / HTTP/1.1\r\n"
    + HOST
    + b"X:\ta\tb \r\nY:\r\nZ: \xe4\r\n",
    "body": b"POST /w HTTP/1.1\r\n" + HOST + b"Content-Length: 12\r\n",
    "chunked": b"POST /w HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: Chunked\r\n",
    "upgrade of length 0": b"GET / HTTP/1.1\r\n"
    + HOST
    + b"Upgrade: WebSocket\r\nContent-Length: 0\r\n",
}


@pytest.mark.parametrize("head", SOUND.values(), ids=SOUND)
def test_sound_heads_are_taken(head: bytes) -> None:
    """What proxies and probes send."""
    assert problem_of(head + b"\r\n") is None
    assert all(problem_at_once(head[:n]) is None for n in range(1, len(head)))


def test_what_a_head_asks_for() -> None:
    """WebSocket in any case of letters; a question is a GET and nothing more."""
    upgrade = SOUND["upgrade of length 0"] + b"\r\n"
    assert wants_websocket(upgrade)
    assert not wants_websocket(b"GET /Upgrade:websocket HTTP/1.1\r\nX: Upgrade: websocket\r\n\r\n")
    assert asks_only(SOUND["plain"])
    assert not any(asks_only(SOUND[each]) for each in ("body", "chunked", "upgrade of length 0"))
    assert fields_of(b"GET / HTTP/1.1\r\nx-a: 1\r\nX-A:  2, 3 \r\n\r\n", b"x-a") == ["1", "2, 3"]


@given(st.binary(max_size=300))
def test_any_octets_are_judged(octets: bytes) -> None:
    """Without an error of the judge's own."""
    problem_at_once(octets)
    problem_of(b"GET / HTTP/1.1\r\n" + octets + b"\r\n\r\n")
    problem_of(octets + b"\r\n\r\n")
