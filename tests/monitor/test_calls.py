"""The admin pages about calls: live ones, ended ones, and hanging one up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from mediaserver.app import MediaServer
from mediaserver.carrier import CallPlan, FakeCall, place_call
from mediaserver.settings import ProcessorSetting, Settings
from tests.control.test_end_to_end import world
from tests.server.watching import soon

TOKEN = "admin-canary-8"


@asynccontextmanager
async def asked(server: MediaServer) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the admin pages."""
    assert server.admin_url is not None
    fields = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(
        base_url=server.admin_url, headers=fields, trust_env=False
    ) as client:
        yield client


async def calls(client: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    """What ``/calls`` tells."""
    answer = await client.get("/calls", params=query)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def until(
    client: httpx.AsyncClient, path: str, holds: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """What a page tells, once that holds: the file is written soon, and no event says when."""
    async with asyncio.timeout(20):
        while True:
            told: dict[str, Any] = (await client.get(path)).json()
            if holds(told):
                return told
            await asyncio.sleep(0.05)


def ids(told: dict[str, Any]) -> list[str]:
    return [each["summary"]["call_id"] for each in told["calls"]]


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_call_live_hung_up_and_ended(workers: int, tmp_path: Path) -> None:
    """Live with its figures; then, behind the hang-up, with what Telnyx said of its end."""
    async with (
        world(workers=workers, history=str(tmp_path / "c.db"), admin_token=TOKEN) as w,
        asked(w.server) as client,
    ):
        call_id = w.fake.ring().call_control_id
        await w.until_event("streaming.started")
        await w.until_heard(call_id)
        path = f"/calls/{quote(call_id, safe='')}"
        live = (await client.get(path)).json()
        assert live["state"] == "live"
        summary = live["summary"]
        assert summary["started_at"] > 0
        assert summary["frames_in"] > 0
        assert (summary["codec"], summary["send_codec"]) == ("PCMU", "PCMU")
        assert summary["processors"] == ["echo"]
        assert summary.get("worker") == (None if workers == 1 else summary["worker"])
        assert ids(await calls(client, live="yes")) == [call_id]
        assert ids(await calls(client, live="no")) == []

        answer = await client.post(f"{path}/hangup")
        assert (answer.status_code, answer.json()["hung_up"]) == (200, True)
        await w.until_event("call.hangup")
        await soon(lambda: w.server.service.n_calls == 0, 20)
        ended = await until(client, path, lambda told: "hang_up" in told)
        assert ended["state"] == "ended"
        assert ended["hang_up"]["cause"] == "normal_clearing"
        assert ended["hang_up"]["quality"]["inbound"]["packet_count"] == 100
        types = [each["type"] for each in ended["webhooks"]]
        assert {"call.initiated", "call.answered", "streaming.started", "call.hangup"} <= {*types}
        assert (await client.post(f"{path}/hangup")).status_code == 409


@asynccontextmanager
async def served(history: Path | None, **more: Any) -> AsyncIterator[MediaServer]:
    settings = Settings(
        port=0,
        processors=(ProcessorSetting("echo"),),
        admin_token=TOKEN,
        reconnect_grace_s=0,
        history=None if history is None else str(history),
        **more,
    )
    async with MediaServer(settings) as server:
        yield server


async def test_pages_and_what_is_bad(tmp_path: Path) -> None:
    """The newest first, page by page; only bad ones; a call with a slash in its id."""
    async with served(tmp_path / "c.jsonl") as server, asked(server) as client:
        plans = [CallPlan(seconds=0.2, call_control_id=f"v3:a/{n}") for n in range(3)]
        for each in plans:
            await place_call(server.url, each)
            await soon(lambda: server.service.n_calls == 0)
        async with FakeCall.connect(server.url, CallPlan(call_control_id="v3:cut")) as call:
            await call.send_payload(bytes(160))
            await call.wait_until(lambda: len(call.received) > 0)
            call.cut()
        await soon(lambda: server.service.n_calls == 0)
        await until(client, "/calls", lambda told: len(told["calls"]) == 4)
        first = await calls(client, limit=3)
        assert ids(first) == ["v3:cut", "v3:a/2", "v3:a/1"]
        rest = await calls(client, limit=3, before=first["next"])
        assert ids(rest) == ["v3:a/0"]
        assert "next" not in rest
        assert ids(await calls(client, bad="cut", last="1h")) == ["v3:cut"]
        assert ids(await calls(client, bad="mute_bot")) == []
        assert (await client.get("/calls/v3:a%2F1")).json()["state"] == "ended"


async def test_numbers_are_masked() -> None:
    """Of live calls as of ended ones."""
    async with served(None) as server, asked(server) as client:
        async with FakeCall.connect(server.url, CallPlan()):
            await soon(lambda: server.service.n_calls == 1)
            answer = await client.get("/calls")
    (live,) = answer.json()["calls"]
    assert live["summary"]["caller"].startswith("…")
    assert "+1312" not in answer.text


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/calls?last=yesterday", 400, "last is a length of time: 90s, 15m, 1h, 7d"),
        ("/calls?bad=perhaps", 400, "bad is true, or one of worker, cut"),
        ("/calls?limit=0", 400, "limit is a number from 1 to 1000"),
        ("/calls?limit=many", 400, "limit is a number from 1 to 1000"),
        ("/calls?live=maybe", 400, "live is true or false"),
        ("/calls?before=here", 400, "before is the `next` of an earlier page"),
        ("/calls?since=1", 400, "what may be asked for is live, bad, last"),
        ("/calls/v3:none", 404, "there is no such call"),
        ("POST /calls/v3:none/hangup", 501, "set api_key"),
    ],
)
async def test_what_is_wrong_is_said(path: str, status: int, said: str) -> None:
    """In one line, with what would be right."""
    method, _, path = path.rpartition(" ")
    async with served(None) as server, asked(server) as client:
        answer = await client.request(method or "GET", path)
    assert answer.status_code == status
    assert said in answer.json()["error"]


async def test_without_the_token_there_is_nothing_to_see() -> None:
    """401, and no call is hung up."""
    async with served(None) as server, httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{server.admin_url}/calls")).status_code == 401
        assert (await client.post(f"{server.admin_url}/calls/a/hangup")).status_code == 401
