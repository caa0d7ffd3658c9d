"""What whoever looks at live calls is told, and what they may do."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from mediaserver.app import MediaServer
from mediaserver.carrier import CallPlan, FakeCall
from mediaserver.carrier.messages import MediaIn
from mediaserver.monitor.live.feed import JSON, Feed
from mediaserver.monitor.live.pages import HIDDEN
from mediaserver.processors.api import OperatorMessage
from mediaserver.server.live import desk
from mediaserver.server.sockets import http
from mediaserver.settings import ProcessorSetting, Settings
from tests.monitor.live.feeds import (
    ADMIN,
    LISTENER,
    Part,
    heard,
    levels,
    of_call,
    parts,
    table,
    until,
    viewer,
)
from tests.server.conftest import bot
from tests.server.watching import seen, soon

# µ-law has two zeros, and this one would come back as the other.
TONE = bytes(octet for octet in range(161) if octet != 0x7F)
PLAN = CallPlan(call_control_id="v3:a/1", send_codec="PCMU")


@asynccontextmanager
async def served(*processors: ProcessorSetting, **more: Any) -> AsyncIterator[MediaServer]:
    settings: dict[str, Any] = {"admin_token": ADMIN, "listen_token": LISTENER}
    chain = processors or (ProcessorSetting("echo"),)
    given = Settings(port=0, processors=chain, reconnect_grace_s=0, **settings | more)
    async with MediaServer(given) as server:
        yield server


@asynccontextmanager
async def talking(server: MediaServer, plan: CallPlan = PLAN) -> AsyncIterator[FakeCall]:
    """A call whose caller says the same 20 ms again and again."""
    async with FakeCall.connect(server.url, plan) as call:

        async def talk() -> None:
            while True:
                await call.send_payload(TONE)
                await asyncio.sleep(0.02)

        task = asyncio.create_task(talk())
        try:
            await call.wait_until(lambda: len(call.received) > 0)
            yield call
        finally:
            task.cancel()


@pytest.mark.parametrize("workers", [1, 2])
async def test_the_table_and_the_levels_of_all_calls(workers: int) -> None:
    """Numbers as the settings have them; both sides are loud, as the caller and the echo are."""
    async with served(workers=workers) as server, viewer(server) as client, talking(server):
        # A call that has just begun is told as listening.
        part = await until(
            client, "/live/feed", lambda p: [row[8] for _, row in table(p)] == ["speaking"]
        )
        [[worker, row]] = table(part)
        assert (worker, row[1], row[5:9]) == (
            -1 if workers == 1 else worker,
            "v3:a/1",
            ["PCMU", "PCMU", "echo", "speaking"],
        )
        assert row[2] == "…94"
        await until(client, "/live/feed", both_are_loud)
        part = await until(client, "/live/feed", lambda p: p.kind == JSON)
        told = part.told
        assert (told["type"], told["calls"], told["status"]) == ("overview", 1, "ready")
        part = await until(
            client,
            "/live/feed",
            lambda p: p.kind == JSON and (p.told.get("frames_in_s") or 0) > 10,
        )
        assert part.told["lag_ms"] is not None


def last(call: FakeCall) -> bytes:
    """The last audio that came back."""
    sent = [each.command for each in call.received if isinstance(each.command, MediaIn)]
    return b64decode(sent[-1].media.payload)


def both_are_loud(part: Part) -> bool:
    return any(min(both) > 100 for both in levels(part).values())


async def press_soon(call: FakeCall) -> None:
    """Behind the first look: what was before is not told."""
    await asyncio.sleep(0.5)
    await call.press("7")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("token", "shown"), [(ADMIN, HIDDEN), (LISTENER, "7")])
async def test_one_call_is_seen(workers: int, token: str, shown: str) -> None:
    """Both sides as pictures, events, figures; the keys that were pressed only by listeners."""
    sides: set[int] = set()
    keys: list[str] = []

    def look(part: Part) -> bool:
        told = part.told["look"]
        sides.update(chunk[0] for chunk in told["chunks"] if chunk[3])
        keys.extend(text for _, kind, text in told["events"] if kind == "dtmf")
        return len(sides) == 2 and bool(keys) and bool(told.get("summary"))

    async with served(workers=workers) as server, viewer(server, token) as client:
        async with talking(server) as call:
            press = asyncio.create_task(press_soon(call))
            await until(client, of_call("v3:a/1", "feed"), look)
            await press
    assert keys == [shown]


async def test_a_call_that_ends_ends_its_feeds() -> None:
    """The last part says so; of a call that is not there it is 404."""
    async with served() as server, viewer(server, LISTENER) as client:
        async with talking(server):
            ends = [
                asyncio.create_task(
                    until(
                        client,
                        of_call("v3:a/1", what),
                        lambda p: p.kind == JSON and p.told["type"] == "gone",
                    )
                )
                for what in ("feed", "listen")
            ]
            await soon(lambda: server.service.counters["listens"] == 1)
        await asyncio.gather(*ends)
        for what in ("feed", "listen"):
            assert (await client.get(of_call("v3:none", what))).status_code == 404


@pytest.mark.parametrize(("codec", "law"), [("PCMU", "PCMU"), ("PCMA", "PCMA")])
async def test_listening_brings_the_octets_that_came(
    codec: str, law: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Of both sides, at their times, as they are on the wire; it is logged and counted."""
    plan = CallPlan(call_control_id="v3:a/1", codec=codec, send_codec=codec)
    caplog.set_level("INFO")
    async with served(send_codec=codec) as server, viewer(server, LISTENER) as client:
        async with talking(server, plan):
            sides: dict[int, list[tuple[float, bytes]]] = {0: [], 1: []}

            def listen(part: Part) -> bool:
                told = heard(part)
                assert told.law == law
                for side, at, rate_hz, octets in told.chunks:
                    assert rate_hz == 8000
                    assert told.now - 1 < at < told.now + 0.5
                    sides[side].append((at, octets))
                return all(len(each) > 20 for each in sides.values())

            await until(client, of_call("v3:a/1", "listen"), listen)
        for chunks in sides.values():
            assert {octets for _, octets in chunks} == {TONE}
        assert server.service.counters["listens"] == 1
        assert "call v3:a/1 is listened to from 127.0.0.1" in caplog.text
        await soon(lambda: "call v3:a/1 is listened to no more" in caplog.text)


async def test_who_may_listen() -> None:
    """Only who has the listener's token, and nobody where none is set; both see the pages."""
    path = of_call("v3:a/1", "listen")
    async with served() as server, talking(server):
        async with viewer(server) as client:
            assert (await client.get(path)).status_code == 401
            assert (await client.post(of_call("v3:a/1", "mute"))).status_code == 401
            rights = (await client.get("/live/rights")).json()
            assert rights == {"listen": False, "listen_token_is_set": True, "phone": None}
        async with viewer(server, LISTENER) as client:
            assert (await client.get("/live/rights")).json()["listen"] is True
            assert (await client.get("/calls")).status_code == 200
        async with viewer(server, "wrong") as client:
            assert (await client.get("/live/feed")).status_code == 401
            assert (await client.get("/live/")).status_code == 200
    async with served(listen_token=None) as server, talking(server), viewer(server) as client:
        assert (await client.get(path)).status_code == 403
    async with served(admin_token=None, admin_port=0) as server, talking(server):
        async with httpx.AsyncClient(base_url=server.admin_url or "", trust_env=False) as client:
            assert (await client.get("/live/rights")).json()["listen"] is False
            assert (await client.get(path)).status_code == 401


@pytest.mark.parametrize("workers", [1, 2])
async def test_an_operator_takes_part(workers: int) -> None:
    """The bot is told a text; muted, it is sent as silence, until it is not muted any more."""
    async with served(workers=workers) as server, viewer(server, LISTENER) as client:
        async with talking(server) as call:
            assert (await client.post(of_call("v3:a/1", "mute"))).json()["done"] == "mute"
            await call.wait_until(lambda: last(call) == b"\xff" * 160)
            assert (await client.post(of_call("v3:a/1", "unmute"))).status_code == 200
            await call.wait_until(lambda: last(call) == TONE)
            said = await client.post(of_call("v3:a/1", "say"), json={"text": "be brief"})
            assert said.json() == {"call_id": "v3:a/1", "done": "say"}
            for body in (
                {"text": ""},
                {"text": "x" * 2001},
                {"text": 7},
                [],
                {"text": "y" * 20_000},
            ):
                answer = await client.post(of_call("v3:a/1", "say"), json=body)
                assert answer.status_code == 400
        counters = server.service.counters
        assert (counters["operator_messages"], counters["operator_mutes"]) == (1, 2)
        await soon(lambda: server.service.n_calls == 0)
        assert (await client.post(of_call("v3:a/1", "mute"))).status_code == 404


async def test_a_processor_hears_the_operator() -> None:
    """As an event."""
    async with served(bot("events")) as server, viewer(server, LISTENER) as client:
        async with FakeCall.connect(server.url, PLAN) as call:
            await call.send_payload(TONE)
            await soon(lambda: server.service.n_calls == 1)
            await client.post(of_call("v3:a/1", "say"), json={"text": "be brief"})
            await soon(lambda: OperatorMessage("be brief") in seen(PLAN))


async def test_nobody_looks_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A while after the last look, the call goes through no more hands than before."""
    monkeypatch.setattr(desk, "LEASE_S", 0.2)
    monkeypatch.setattr(desk, "SWEEP_S", 0.1)
    async with served() as server, viewer(server, LISTENER) as client, talking(server):
        [session] = server.service.sessions.values()  # type: ignore[attr-defined]  # of one process
        inbound, playout = session.inbound, session.outbound.playout
        before = inbound._run, playout._encoder, session.runner.events._followers
        await until(client, of_call("v3:a/1", "listen"), lambda part: bool(heard(part).chunks))
        assert (inbound._run, playout._encoder) != before[:2]
        await soon(
            lambda: (inbound._run, playout._encoder, session.runner.events._followers) == before
        )


async def test_a_feed_outlives_other_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection has no time of its own, and it ends with the server."""
    monkeypatch.setattr(http, "CONNECTION_S", 0.2)
    monkeypatch.setattr(http, "LAST_RESPONSE_S", 0.2)
    async with served() as server, viewer(server) as client:
        async with asyncio.timeout(20), client.stream("GET", "/live/feed") as answer:
            n = 0
            async for part in parts(answer):
                n += part.kind == JSON and part.told["type"] == "overview"
                if n == 2:
                    server._live.close()
            assert n >= 2


async def test_a_browser_that_reads_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is made for it meanwhile."""
    monkeypatch.setattr("mediaserver.monitor.live.feed.STUCK_S", 0.05)
    made, cut = [], asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            made.append(1)
            yield b"part"

    class Stuck:
        def keep_open(self) -> None:
            pass

        def abort(self) -> None:
            cut.set()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def receive() -> Any:
        await asyncio.Event().wait()

    feed = Feed(endless(), lambda: False)
    async with asyncio.timeout(10):
        await feed({"type": "http", "state": {"connection": Stuck()}}, receive, send)
    assert cut.is_set()
    assert len(made) == 1
