"""A stream handed to a worker is served as one that stays: no octet lost, none read twice."""

from __future__ import annotations

import itertools
import json
import os
import random
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.server.rawclient import (
    BINARY,
    CLOSE,
    CONNECTED,
    PING,
    PONG,
    TEXT,
    Closed,
    RawCall,
    Server,
    frame,
    serving,
    text,
)

SPOKEN = [bytes([code]) * 160 for code in (0x10, 0x20, 0x30)]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """One process alone, and one with two workers."""
    folder = tmp_path_factory.mktemp("hand-over")
    config = folder / "settings.toml"
    config.write_text("reconnect_grace_s = 0.1\nbacklog_ms = 30_000\ncatch_up = false\n")
    alone = ("--processor", "echo", "--config", str(config))
    with (
        serving(folder / "one.log", *alone) as one,
        serving(folder / "two.log", *alone, "--workers", "2") as two,
    ):
        yield one, two


def whole(call: RawCall) -> list[bytes]:
    """A call from beginning to end, with something to answer between its messages."""
    start = json.dumps(call.start()).encode()
    return [
        frame(PING, b"before"),
        CONNECTED,
        frame(BINARY, b"\x00"),
        text({"event": "media", "media": {"payload": "AAAA"}}),
        # A start in fragments, another frame between them.
        frame(TEXT, start[:50], fin=False),
        frame(PING, b"between"),
        frame(0, start[50:]),
        *map(call.spoken, SPOKEN),
        frame(PING, b"behind"),
        text({"event": "stop", "stop": {}, "stream_id": call.stream_id}),
        frame(CLOSE, (1000).to_bytes(2, "big")),
    ]


def told(call: RawCall) -> tuple[bytes, list[bytes], int]:
    """All that a server answers: audio, the pongs, the close code."""
    audio, pongs = b"", []
    try:
        while True:
            opcode, body = call.frame()
            if opcode == PONG:
                pongs.append(body)
            elif opcode == CLOSE:
                return audio, pongs, int.from_bytes(body[:2], "big")
            elif opcode == TEXT and (message := json.loads(body))["event"] == "media":
                audio += call.decoded(message)
    except Closed as closed:
        return audio, pongs, closed.code


EXPECTED = (b"".join(SPOKEN), [b"before", b"between", b"behind"], 1000)


def cuts(n: int) -> list[int]:
    """Where to cut a call: some 40 places of ``n``, by a seed."""
    return sorted(random.Random(17).sample(range(1, n), 40))


def test_the_whole_call_in_one_segment(servers: tuple[Server, Server]) -> None:
    """With the upgrade request or behind it: everything is answered, by both alike."""
    for server in servers:
        with RawCall(server.port, behind=lambda call: b"".join(whole(call))) as call:
            assert told(call) == EXPECTED
        with RawCall(server.port) as call:
            call.send(b"".join(whole(call)))
            assert told(call) == EXPECTED


def test_the_call_cut_anywhere(servers: tuple[Server, Server]) -> None:
    """Cut at and around the end of each frame, and at random: the same answers."""
    with RawCall(servers[0].port) as call:
        ends = list(itertools.accumulate(map(len, whole(call))))
    near = {end + off for end in ends for off in (-1, 0, 1, 3)} - {ends[-1] + 1, ends[-1] + 3}
    for server in servers:
        for cut in sorted(near | set(cuts(ends[-1]))):
            with RawCall(server.port) as call:
                octets = b"".join(whole(call))
                call.send(octets[:cut])
                time.sleep(0.003)  # so that the rest is read by itself
                call.send(octets[cut:])
                assert told(call) == EXPECTED, cut


def test_a_call_octet_by_octet(servers: tuple[Server, Server]) -> None:
    """Each octet in a segment of its own."""
    for server in servers:
        with RawCall(server.port) as call:
            for octet in b"".join(whole(call)):
                call.send(bytes([octet]))
            assert told(call) == EXPECTED


@pytest.mark.parametrize("behind", [False, True])
def test_the_end_of_stream_with_the_start(servers: tuple[Server, Server], behind: bool) -> None:
    """A peer that sends all and shuts down its side at once still gets every answer."""
    for server in servers:
        before: Callable[[RawCall], bytes] = lambda call: b"".join(whole(call)[:-1])  # noqa: E731  # two of them
        with RawCall(server.port, behind=before if behind else None) as call:
            if not behind:
                call.send(before(call))
            call.socket.shutdown(socket.SHUT_WR)
            audio, pongs, _ = told(call)
            assert (audio, pongs) == EXPECTED[:2]


def test_a_url_with_octets_beyond_ascii(servers: tuple[Server, Server]) -> None:
    """Text or not: the call is served; a message to a worker could not carry a surrogate."""
    for server, query in itertools.product(servers, ("param_x=%C2%B5", "%FF=%ED%B0%80")):
        with RawCall(server.port, path=f"/media?{query}") as call:
            call.begin()
            call.send(call.spoken(SPOKEN[0]))
            assert call.heard(160) == SPOKEN[0]


def test_a_reset_behind_the_start_harms_nobody(servers: tuple[Server, Server]) -> None:
    """Connections reset while they are handed over leave nothing behind."""
    for server in servers:
        for n in range(20):
            with RawCall(server.port) as call:
                call.send(b"".join(whole(call)[: 5 + n % 6]))
                linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
                call.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        with RawCall(server.port) as call:
            call.begin()
            assert call.echoed(SPOKEN[0]) == SPOKEN[0]


def test_a_big_message_behind_the_start(servers: tuple[Server, Server]) -> None:
    """More than a socket's buffer comes along: half a megabyte, and a frame still under way."""
    for server in servers:
        with RawCall(server.port) as call:
            big = text({"event": "mark", "mark": {"name": "x" * 500_000}})
            rest = call.spoken(SPOKEN[1])
            call.send(CONNECTED + text(call.start()) + big + rest[:50])
            time.sleep(0.05)
            call.send(rest[50:])
            assert call.heard(160) == SPOKEN[1]


def test_broken_frames_are_refused_alike(servers: tuple[Server, Server]) -> None:
    """Before ``start`` as behind it, in one segment with it or not."""
    broken = {
        "unmasked": (frame(TEXT, b"{}", masked=False), 1002),
        "reserved bits": (frame(TEXT, b"{}", rsv=4), 1002),
        "unknown opcode": (frame(3, b""), 1002),
        "not UTF-8": (frame(TEXT, b"\xff"), 1007),
        "too big": (bytes((0x81, 0xFF)) + (1 << 40).to_bytes(8, "big") + bytes(4), 1009),
        "stray continuation": (frame(0, b"x"), 1002),
    }
    for server, (name, (octets, code)) in itertools.product(servers, broken.items()):
        for before in (lambda _: CONNECTED, lambda call: CONNECTED + text(call.start())):
            with RawCall(server.port) as call:
                call.send(before(call) + octets)
                assert call.close_code() == code, name


def test_nothing_is_left_of_calls(servers: tuple[Server, Server]) -> None:
    """A hundred calls later no process holds a descriptor more, and no call is counted."""
    for server in servers:
        family = [server.pid, *children(server.pid)]
        some_calls(server, 10)  # an event loop opens a descriptor with its first connections
        until(lambda: '"calls":0' in server.get("/healthz"))  # noqa: B023  # at once
        before = descriptors(family)
        some_calls(server, 100)
        until(lambda: '"calls":0' in server.get("/healthz"))  # noqa: B023  # at once
        until(lambda: descriptors(family) <= before)  # noqa: B023  # at once


def some_calls(server: Server, n: int) -> None:
    """Calls that end in all kinds of places."""
    for number in range(n):
        with RawCall(server.port) as call:
            call.send(b"".join(whole(call)[: 7 + number % 7]))
            if number % 7 == 6:
                assert told(call) == EXPECTED


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def descriptors(pids: list[int]) -> int:
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)
