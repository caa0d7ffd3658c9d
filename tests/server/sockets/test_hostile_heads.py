"""Connections that never become a request: cut by the head's cap or its deadline.

On a server process of its own, whose memory is read from the kernel. ``VmHWM`` is the
highest the resident memory ever was, so no peak between two looks is missed.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from collections.abc import Iterator

import pytest

from tests.server.rawclient import RawCall, Server, serving

MIB = 1 << 20
GROWTH_KIB = 5 * 1024
# Three times the head's deadline: the machine may be busy, the server may not be endless.
CUT_WITHIN_S = 15.0
SPOKEN = b"\x42" * 160

UPGRADE = b"GET /media HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
PLAIN = b"GET /healthz HTTP/1.1\r\nHost: h\r\n"


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("heads") / "server.log") as running:
        # What a first call and a first request load once is not the heads' doing.
        _still_echoes(running)
        running.get("/healthz")
        yield running


def _still_echoes(server: Server) -> None:
    with RawCall(server.port) as call:
        call.begin()
        assert call.echoed(SPOKEN) == SPOKEN


def _connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), CUT_WITHIN_S)


def _is_cut(peer: socket.socket) -> bool:
    """Read to the end; False if the server leaves the connection open."""
    try:
        while peer.recv(65536):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize("request_line", [UPGRADE, PLAIN], ids=["upgrade", "plain"])
@pytest.mark.parametrize(
    "filler",
    [b"X-Filler: " + b"a" * 1000 + b"\r\n", b"a" * 1012],
    ids=["many fields", "one field"],
)
def test_head_of_12_mb(server: Server, request_line: bytes, filler: bytes) -> None:
    """A head of 12 MB is cut, costs the server less than 5 MB, and calls go on."""
    before_kib = server.memory_kib("VmHWM")
    with _connect(server) as peer:
        with contextlib.suppress(ConnectionError):
            peer.sendall(request_line + filler * (12 * MIB // len(filler)) + b"\r\n\r\n")
        assert _is_cut(peer)
    _still_echoes(server)
    assert server.memory_kib("VmHWM") - before_kib < GROWTH_KIB


def test_head_above_the_cap_is_told_so(server: Server) -> None:
    """A head just above 16 KiB is answered 431 before the connection ends."""
    with _connect(server) as peer:
        peer.sendall(UPGRADE + b"X: " + b"a" * 16 * 1024)
        assert peer.recv(65536).startswith(b"HTTP/1.1 431 ")
        assert _is_cut(peer)


def test_head_below_the_cap_is_taken(server: Server) -> None:
    """A head just below 16 KiB still makes a call."""
    with _connect(server) as peer:
        key = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        fields = b"".join(b"X-%d: " % n + b"a" * 3900 + b"\r\n" for n in range(4))
        peer.sendall(UPGRADE + key + fields + b"\r\n")
        assert peer.recv(65536).startswith(b"HTTP/1.1 101 ")


def test_deadline_cuts_the_silent_and_the_slow(server: Server) -> None:
    """Who says nothing, stops half-way or never ends is cut; costs under 5 MB; calls go on."""
    before_kib = server.memory_kib("VmHWM")
    with contextlib.ExitStack() as opened, RawCall(server.port) as bystander:
        bystander.begin()
        silent = [opened.enter_context(_connect(server)) for _ in range(50)]
        halted = [opened.enter_context(_connect(server)) for _ in range(50)]
        for peer in halted:
            peer.sendall(UPGRADE)
        dribbling = [opened.enter_context(_connect(server)) for _ in range(4)]
        for peer in dribbling:
            peer.sendall(PLAIN + b"X: ")
        uncut = set(silent + halted + dribbling)
        deadline = time.monotonic() + CUT_WITHIN_S
        turns = 0
        while uncut and time.monotonic() < deadline:
            turns += 1
            assert bystander.echoed(SPOKEN) == SPOKEN
            _dribble(uncut.intersection(dribbling))
            uncut -= _ended(uncut, within_s=0.1)
        assert not uncut, f"{len(uncut)} connections were never cut"
        assert turns > 1, "all were cut at once: the deadline was not what cut them"
    assert server.memory_kib("VmHWM") - before_kib < GROWTH_KIB


def _dribble(peers: set[socket.socket]) -> None:
    """One more octet of a head that never ends, on each."""
    for peer in peers:
        with contextlib.suppress(ConnectionError):
            peer.sendall(b"a")


def _ended(peers: set[socket.socket], within_s: float) -> set[socket.socket]:
    """Those of ``peers`` whose connection the server has ended."""
    with selectors.DefaultSelector() as selector:
        for peer in peers:
            selector.register(peer, selectors.EVENT_READ)
        readable = [key.fileobj for key, _ in selector.select(within_s)]
    return {peer for peer in readable if isinstance(peer, socket.socket) and _is_cut(peer)}
