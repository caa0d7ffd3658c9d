"""A value of a wrong type costs that value alone: only what a message is for may refuse it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from mediaserver.carrier import CallPlan, FakeCall
from mediaserver.carrier.messages import MediaIn
from mediaserver.server.service import SingleProcessService
from tests.server.conftest import Serving, bot
from tests.server.watching import seen, soon

ODD_START = {
    "from": 13122010094,
    "to": True,
    "tags": "VIP",
    "client_state": {"a": 1},
    "user_id": 7,
    "call_session_id": [],
}


async def begun(call: FakeCall, **start: Any) -> None:
    """Greet with a ``start`` that has these values, at any depth."""
    await call.send({"event": "connected", "version": "1.0.0"})
    body = {"call_control_id": call.plan.call_control_id, "media_format": {"encoding": "PCMU"}}
    message = {"event": "start", "stream_id": "s-1", "start": {**body, **start}}
    await call.send(json.dumps(message))


async def echoed(call: FakeCall, message: dict[str, Any]) -> bytes:
    """What comes back for a media message."""
    payload = base64.b64encode(b"\x55" * 160).decode()
    message = {"event": "media", "stream_id": "s-1", "media": {"payload": payload}, **message}
    message["media"] = {"payload": payload, **message["media"]}
    before = len(call.received)
    await call.send(json.dumps(message))
    await call.wait_until(lambda: any(heard(call, before)))
    return heard(call, before)[0]


def heard(call: FakeCall, since: int) -> list[bytes]:
    commands = [r.command for r in call.received[since:]]
    return [base64.b64decode(c.media.payload) for c in commands if isinstance(c, MediaIn)]


@pytest.mark.parametrize("workers", [1, 2])
async def test_the_odd_values_of_a_start_are_counted_once(serving: Serving, workers: int) -> None:
    """Also where two processes read it."""
    async with (
        serving("echo", workers=workers) as server,
        FakeCall(server.url, CallPlan(), greet=False) as call,
    ):
        await begun(call, **ODD_START)
        assert await echoed(call, {}) == b"\x55" * 160
        await call.press("1")
        assert await echoed(call, {}) == b"\x55" * 160
    assert server.service.counters["odd_field"] == 6


async def test_a_start_full_of_odd_values(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    """The call runs; a number is text, the rest is None; each is counted, and named once."""
    async with (
        serving(bot("facts"), "echo") as server,
        FakeCall(server.url, CallPlan(), greet=False) as call,
    ):
        await begun(call, **ODD_START)
        assert await echoed(call, {}) == b"\x55" * 160
        assert server.service.counters["odd_field"] == 6
        assert server.service.counters["calls"] == 1
        (facts,) = seen(call.plan)
        assert (facts.caller, facts.callee, facts.client_state) == ("13122010094", "true", None)
        for name in ("from", "to", "tags", "client_state", "user_id", "call_session_id"):
            assert f"stream s-1: the field start.{name} is of a wrong type" in caplog.text


@pytest.mark.parametrize(
    "odd",
    [
        {"media": {"chunk": "two"}},
        {"media": {"chunk": -1}},
        {"media": {"chunk": 1.5}},
        {"media": {"chunk": "9" * 400}},
        {"stream_id": ["s-1"]},
    ],
    ids=["word as chunk", "negative chunk", "fraction as chunk", "endless chunk", "list as id"],
)
async def test_odd_media_is_heard(serving: Serving, odd: dict[str, Any]) -> None:
    """Its audio is what it is for: it is played in the order in which it came."""
    async with (
        serving("echo") as server,
        FakeCall(server.url, CallPlan(), greet=False) as call,
    ):
        await begun(call)
        for _ in range(3):
            assert await echoed(call, odd) == b"\x55" * 160
        assert server.service.counters["odd_field"] == 3


@pytest.mark.parametrize(
    "media_format",
    [{"encoding": "PCMU", "sample_rate": "fast"}, {"encoding": "PCMU", "channels": 0}],
)
async def test_an_odd_rate_is_the_codecs_own(
    serving: Serving, media_format: dict[str, Any]
) -> None:
    """PCMU is 8 kHz mono whatever else is announced."""
    async with (
        serving("echo") as server,
        FakeCall(server.url, CallPlan(), greet=False) as call,
    ):
        await begun(call, media_format=media_format)
        assert await echoed(call, {}) == b"\x55" * 160
        assert isinstance(server.service, SingleProcessService)
        (session,) = server.service.sessions.values()
        assert session.facts.formats.rate == 8000


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ({"event": "dtmf", "dtmf": {"digit": "1"}, "sequence_number": {}}, "digit='1'"),
        ({"event": "dtmf", "dtmf": {"digit": "2"}, "occurred_at": 1}, "digit='2'"),
        ({"event": "error", "error": {"code": [], "title": 7}}, "title='7'"),
    ],
    ids=["object as number", "number as time", "list as code"],
)
async def test_other_odd_messages_reach_the_bot(
    serving: Serving, message: dict[str, Any], shown: str
) -> None:
    """A key and an error are told although something beside them is odd."""
    async with (
        serving(bot("events"), "echo") as server,
        FakeCall(server.url, CallPlan(), greet=False) as call,
    ):
        await begun(call)
        await call.send(json.dumps(message))
        await soon(lambda: any(shown in str(event) for event in seen(call.plan)))
        assert server.service.counters["odd_field"] >= 1
