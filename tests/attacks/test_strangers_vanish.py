"""Peers that vanish: without a word from a connection that stays up, or at once behind `start`."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mediaserver.carrier import CallPlan, place_call
from mediaserver.server.calls import connection
from tests.attacks.strangers import TOKEN, UPGRADE, Bystanders, Crowd, exact, get, only_full, say
from tests.server.conftest import Serving, serving
from tests.server.following import Followed, followed
from tests.server.rawclient import CONNECTED, PING, PONG, RawCall, frame, text
from tests.server.rawclient import serving as serving_process
from tests.server.watching import soon

__all__ = ["exact", "followed", "serving"]

_numbers = itertools.count()
QUICK = {"ping_every_s": 0.2, "ping_timeout_s": 0.4}


def begun(call_id: str | None = None) -> bytes:
    """An upgrade, `connected` and `start` of a call."""
    call_id = call_id or f"vanishing-{next(_numbers)}"
    start = {"event": "start", "stream_id": "s", "start": {"call_control_id": call_id}}
    return UPGRADE + b"\r\n" + CONNECTED + text(start)


def media(chunk: int) -> bytes:
    """A media message of 20 ms."""
    payload = {"track": "inbound", "chunk": str(chunk), "payload": "/" * 212 + "/w=="}
    return text({"event": "media", "stream_id": "s", "media": payload})


def answer_pings(peer: RawCall, n: int) -> None:
    """Answer so many."""
    while n:
        opcode, body = peer.frame()
        if opcode == PING:
            peer.send(frame(PONG, body))
            n -= 1


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_peer_that_vanishes_is_found_by_its_pings(
    serving: Serving, followed: Followed, workers: int
) -> None:
    """While it rings, as soon as the call has begun, and later; behind its grace the call ends."""
    settings = {"auth_token": TOKEN, "workers": workers, "reconnect_grace_s": 0.2, **QUICK}
    async with serving("echo", **settings) as server:
        port, path = server.service.port, f"/media/{TOKEN}"
        peers = [await asyncio.to_thread(RawCall, port, path=path) for _ in range(3)]
        ringing, new, old = peers
        for peer in peers:
            peer.send(CONNECTED)
        await asyncio.to_thread(answer_pings, ringing, 1)
        await asyncio.to_thread(answer_pings, new, 1)
        # It has answered before its call came to the process that now has it.
        new.send(text(new.start()) + new.spoken(bytes(160)))
        old.send(text(old.start()) + old.spoken(bytes(160)))
        await asyncio.to_thread(answer_pings, old, 2)
        await soon(lambda: server.service.n_connections == 0)
        await soon(lambda: server.service.n_calls == 0)
        assert server.service.counters["closed.1006"] == 2
        assert server.service.counters["unanswered"] == 1
        for call in (new, old):
            assert followed.summary(call.call_control_id).reason == "lost"
        for peer in peers:
            peer.socket.close()


async def test_a_peer_without_pongs_is_never_cut_for_it(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It rings, and it speaks, for as long as it likes; what it does not answer is said once."""
    monkeypatch.setattr(connection, "SILENT_S", 0.5)
    settings = {"ping_every_s": 0.05, "ping_timeout_s": 0.05, "start_without_token_s": 1.5}
    async with serving("echo", reconnect_grace_s=0, **settings) as server:
        with Crowd(server.service.port) as peers:
            head = begun()
            await asyncio.to_thread(peers.come, 2, head.partition(b"start")[0][:-40])
            # It rings, and then begins without media: as with a stream set up before dialling.
            await asyncio.to_thread(peers.come, 1, begun("early"))
            await asyncio.to_thread(peers.come, 1, begun("speaking"))
            for chunk in range(1, 11):
                peers.sockets[3].send(media(chunk))
                await asyncio.sleep(0.1)
            assert server.service.n_calls == 2
            await soon(lambda: server.service.n_calls == 0)
        assert server.service.counters["no_pong"] >= 2
    assert sum("does not answer pings" in r.getMessage() for r in caplog.records) == 1


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_call_that_never_had_media_has_no_grace(
    serving: Serving, followed: Followed, workers: int
) -> None:
    """Start and vanish, 30 times at 5 calls at most: all are over at once, and one comes in."""
    async with serving("echo", max_calls=5, reconnect_grace_s=60, workers=workers) as server:
        port = server.service.port
        for _ in range(6):
            with Crowd(port) as vanishing:
                await asyncio.to_thread(vanishing.come, 5, begun())
                await soon(lambda: server.service.n_calls > 0)
            await soon(lambda: server.service.n_calls == server.service.n_connections == 0)
        assert (await place_call(server.url, CallPlan(seconds=0.1))).problem is None
        # One that had media on an earlier socket is waited for, whatever the last one brought.
        with Crowd(port) as one:
            await asyncio.to_thread(one.come, 1, begun("x") + media(1))
            await soon(lambda: bool(followed.requests["x"]))
        await soon(lambda: bool(followed.lost["x"]))
        with Crowd(port) as one:
            await asyncio.to_thread(one.come, 1, begun("x"))
            await soon(lambda: server.service.counters["takeovers"] == 1)
        await soon(lambda: server.service.n_connections == 0)
        assert server.service.n_calls == 1
        with Crowd(port) as one:
            stop = text({"event": "stop", "stream_id": "s"})
            await asyncio.to_thread(one.come, 1, begun("x") + stop)
            await soon(lambda: server.service.n_calls == 0)


# Full: attack 11, and the floods of issue 14.


@only_full
@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_stopped_peer_is_found_in_25_s(tmp_path: Path, workers: str) -> None:
    """SIGSTOP of a process with three calls, with the settings as they are."""
    with serving_process(tmp_path / "log", "--processor", "echo", "--workers", workers) as server:
        beside = Bystanders(server, 55)
        url = f"ws://127.0.0.1:{server.port}/media"
        command = [sys.executable, "-m", "mediaserver", "simulate", "--figures-only"]
        command += ["--url", url, "--calls", "3", "--seconds", "300"]
        peer = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            time.sleep(13)  # behind its first pong
            assert json.loads(get(server.port, "/healthz")[1])["calls"] == 33
            os.kill(peer.pid, signal.SIGSTOP)
            stopped = time.monotonic()
            found_s = over_s = 0.0
            while not over_s and time.monotonic() - stopped < 60:
                time.sleep(0.1)
                n_calls = json.loads(get(server.port, "/healthz")[1])["calls"]
                n_sockets = established(server.port)
                if not found_s and n_sockets <= 30:
                    found_s = time.monotonic() - stopped
                if n_calls <= 30:
                    over_s = time.monotonic() - stopped
        finally:
            os.kill(peer.pid, signal.SIGCONT)
            peer.kill()
            peer.wait()
        summary = beside.summary()
        say(
            f"stopped peer, {workers} worker(s)",
            found_s=round(found_s, 1),
            over_s=round(over_s, 1),
            missed=summary["missed"],
            lost=summary["lost"],
        )
        assert summary["failed"] == 0
        assert 0 < found_s <= 25
        assert 0 < over_s <= 36
        assert summary["missed"] == 0


def established(port: int) -> int:
    """Connections that a server on loopback has and has not closed."""
    wanted = f"0100007F:{port:04X}"
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(line.split()[1] == wanted and line.split()[3] == "01" for line in lines)


@only_full
@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_3000_start_and_vanish(tmp_path: Path, workers: str) -> None:
    """In 5 s, at 1,000 calls at most: places are free at once, and others lose nothing."""
    with serving_process(tmp_path / "log", "--processor", "echo", "--workers", workers) as server:
        beside = Bystanders(server, 12)
        begin, most = time.monotonic(), 0
        for n in range(3000):
            one = socket.create_connection(("127.0.0.1", server.port), 10)
            one.sendall(begun(f"flood-{n}"))
            one.recv(1)  # the upgrade was answered: nothing is lost by a reset
            one.close()
            if n % 100 == 0:
                most = max(most, json.loads(get(server.port, "/healthz")[1])["calls"])
            ahead_s = n / 600 - (time.monotonic() - begin)
            if ahead_s > 0:
                time.sleep(ahead_s)
        took_s = time.monotonic() - begin
        with RawCall(server.port) as call:
            call.begin()
            assert call.echoed(b"\x42" * 160) == b"\x42" * 160
        time.sleep(0.5)
        left = json.loads(get(server.port, "/healthz")[1])["calls"]
        summary = beside.summary()
        say(
            f"3,000 start and vanish, {workers} worker(s)",
            took_s=round(took_s, 1),
            calls_at_once=most,
            left=left,
            missed=summary["missed"],
            lost=summary["lost"],
            failed=summary["failed"],
            round_trip_ms=summary["round_trip_ms"],
        )
        assert left <= 31
        assert most < 200
        assert summary["missed"] == 0
