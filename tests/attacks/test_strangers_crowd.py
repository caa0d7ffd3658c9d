"""Crowds of strangers who say nothing, or prove nothing: calls come in, and health answers."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from mediaserver.carrier import CallPlan, FakeCall, place_call
from mediaserver.server import listener
from mediaserver.server.sockets import http
from tests.attacks.strangers import (
    TOKEN,
    UPGRADE,
    Bystanders,
    Crowd,
    exact,
    family,
    get,
    only_full,
    say,
)
from tests.server.conftest import Serving, serving
from tests.server.rawclient import CONNECTED, RawCall, Server, frame
from tests.server.rawclient import serving as serving_process
from tests.server.watching import soon

__all__ = ["exact", "serving"]

SILENT = UPGRADE + b"\r\n"


async def test_the_oldest_unproven_gives_way(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no token is asked for: beyond their cap, for whoever comes and says `connected`."""
    monkeypatch.setattr(listener, "MAX_UNPROVEN", 10)
    async with serving("echo", max_calls=5) as server:
        with Crowd(server.service.port) as strangers:
            await asyncio.to_thread(strangers.come, 20, SILENT)
            await soon(lambda: server.service.counters["gave_way"] == 10)
            assert [strangers.n_open(), server.service.n_connections] == [10, 10]
            assert (await place_call(server.url, CallPlan(seconds=0.1))).problem is None
            # Those that have said `connected` are calls that ring: they stay.
            await asyncio.to_thread(strangers.come, 5, SILENT + CONNECTED)
            await asyncio.to_thread(strangers.come, 15, SILENT)
            assert "503" in str((await place_call(server.url, CallPlan(seconds=0.1))).error)


async def test_the_unproven_have_a_cap_for_each_address(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which a proxy tells, if it is trusted: one address pushes out nobody of another."""
    monkeypatch.setattr(listener, "MAX_UNPROVEN_OF_ADDRESS", 3)
    field = b"X-Forwarded-For: 10.0.0.1, %b\r\n\r\n"
    async with serving("echo") as server:
        with Crowd(server.service.port) as quiet, Crowd(server.service.port) as loud:
            await asyncio.to_thread(quiet.come, 3, UPGRADE + field % b"192.0.2.1")
            await asyncio.to_thread(loud.come, 10, UPGRADE + field % b"192.0.2.2")
            await soon(lambda: server.service.counters["gave_way"] == 7)
            assert (quiet.n_open(), loud.n_open()) == (3, 3)
    async with serving("echo", trusted_proxies=()) as server:
        with Crowd(server.service.port) as peers:
            await asyncio.to_thread(peers.come, 2, UPGRADE + field % b"192.0.2.1")
            await asyncio.to_thread(peers.come, 2, UPGRADE + field % b"192.0.2.2")
            await soon(lambda: server.service.counters["gave_way"] == 1)


@pytest.mark.parametrize("workers", [1, 2])
async def test_the_unproven_have_little_memory_and_time(serving: Serving, workers: int) -> None:
    """As many silent ones as there may be calls keep no right token out, and end in time."""
    settings = {"auth_token": TOKEN, "workers": workers, "connected_within_s": 2.0}
    async with serving("echo", max_calls=5, **settings) as server:
        with Crowd(server.service.port) as strangers:
            # Of a message above 16 KiB nothing is kept.
            await asyncio.to_thread(strangers.come, 1, SILENT + frame(1, bytes(20_000))[:200])
            told = await asyncio.to_thread(strangers.next, 0, 4)
            assert told[2:] == (1009).to_bytes(2, "big")
            await asyncio.to_thread(strangers.come, 10, SILENT + CONNECTED)
            await soon(lambda: server.service.n_connections >= 10)
            # A token that comes as late as in `start` is in time, and a proven call has room.
            plan = CallPlan(seconds=0.1, custom_parameters={"token": TOKEN, "long": "x" * 10_000})
            assert (await place_call(server.url, plan)).problem is None
            plan = CallPlan(seconds=0.1, token=TOKEN, custom_parameters={"long": "x" * 40_000})
            assert (await place_call(server.url, plan)).problem is None
            assert server.service.counters["refused_full"] == 0
            told = await asyncio.to_thread(strangers.next, 5, 4)
            assert told[2:] == (1002).to_bytes(2, "big"), "not behind the 30 s of an open server"


async def test_an_outgoing_call_that_rings_without_a_token_is_explained(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    """Two are cut: the hint to set a token comes once."""
    async with serving("echo", start_without_token_s=0.1) as server:
        for _ in range(2):
            async with FakeCall.connect(server.url, CallPlan(ring_s=60)) as call:
                await asyncio.wait_for(call.closed.wait(), 10)
        assert server.service.counters["cut_ringing"] == 2
    assert sum("auth_token" in r.getMessage() for r in caplog.records) == 1


async def test_the_oldest_mute_ones_give_way(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond their cap: calls and health come in among them."""
    monkeypatch.setattr(listener, "MAX_MUTE", 20)
    async with serving("echo") as server:
        with Crowd(server.service.port) as mute:
            await asyncio.to_thread(mute.come, 50)
            await soon(lambda: server.service.counters["gave_way"] == 30)
            assert (await asyncio.to_thread(get, server.service.port, "/healthz"))[0] == 200
            assert (await place_call(server.url, CallPlan(seconds=0.1))).problem is None
            assert mute.n_open() == 19, "one went for the first that came, and left its place"


async def test_health_answers_beside_idle_requests(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections with nothing under way give way first, then those with half a body."""
    monkeypatch.setattr(http, "MAX_CONNECTIONS", 10)
    request = b"POST /healthz HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n"
    async with serving("echo") as server:
        with Crowd(server.service.port) as idle:
            await asyncio.to_thread(idle.come, 30, b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
            await asyncio.to_thread(idle.come, 30, request)
            for path in ("/healthz", "/readyz"):
                assert (await asyncio.to_thread(get, server.service.port, path))[0] == 200
            assert (await place_call(server.url, CallPlan(seconds=0.1))).problem is None


# Full: see attacks 9 and 20.


def memory_kib(pid: int) -> int:
    """Resident memory."""
    return Server(0, pid, Path()).memory_kib("VmRSS")


CROWDS = [
    ("silent upgrades", 100, SILENT),
    ("upgrades with half a long message", 100, SILENT + frame(1, bytes(1 << 19))[:300_000]),
    ("upgrades with 16 KiB", 100, SILENT + frame(1, bytes(16_000))[:15_900]),
    ("mute sockets", 2100, b""),
    ("heads of 16 KiB", 1000, UPGRADE + b"X: a\r\n" * 2600),
    ("idle HTTP", 600, b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("HTTP with half a body", 600, b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n"),
]


@only_full
@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(
    ("who", "n", "octets"),
    CROWDS,
    ids=[who for who, _, _ in CROWDS],
)
def test_crowds(tmp_path: Path, workers: str, who: str, n: int, octets: bytes) -> None:
    """A proven call gets in, health answers, others lose nothing, each holds at most 64 KiB."""
    arguments = ("--processor", "echo", "--max-calls", "100", "--auth-token", TOKEN)
    with serving_process(tmp_path / "log", *arguments, "--workers", workers) as server:
        beside = Bystanders(server, 12, "--token", TOKEN)
        time.sleep(1)
        before = memory_kib(server.pid)
        with Crowd(server.port) as strangers:
            begun = time.monotonic()
            strangers.come(n, octets)
            came_s = time.monotonic() - begun
            time.sleep(0.5)
            grown = memory_kib(server.pid) - before
            n_open = strangers.n_open()
            begun = time.monotonic()
            with RawCall(server.port, path=f"/media/{TOKEN}") as call:
                call.begin()
                assert call.echoed(b"\x42" * 160) == b"\x42" * 160
            called_s = time.monotonic() - begun
            begun = time.monotonic()
            assert get(server.port, "/healthz")[0] == 200
            assert get(server.port, "/readyz")[0] == 200
            health_s = time.monotonic() - begun
        summary = beside.summary()
        say(
            f"{n} {who}, {workers} worker(s)",
            came_s=round(came_s, 2),
            left=n_open,
            kib_each=round(grown / n, 1),
            call_ms=round(called_s * 1000, 1),
            health_ms=round(health_s * 500, 1),
            missed=summary["missed"],
            lost=summary["lost"],
            failed=summary["failed"],
            round_trip_ms=summary["round_trip_ms"],
        )
        assert summary["missed"] == 0
        assert summary["failed"] == 0
        assert grown / n <= 64
        assert len(family(server.pid)) >= int(workers)
