"""A receiver of webhooks: whom it trusts, what it hands on, and when it answers."""

from __future__ import annotations

import asyncio
import base64
import hmac
import logging
from typing import Any

import httpx
import pytest
from nacl.signing import SigningKey
from starlette.applications import Starlette

from mediaserver.carrier.rest.server import serving
from mediaserver.control.events import Event, RecordingSaved, StreamingFailed
from mediaserver.control.webhooks.receiver import WebhookReceiver, webhook_route
from mediaserver.control.webhooks.signature import SignatureError
from mediaserver.errors import ConfigurationError
from mediaserver.logs import LimitedLog, LineLimit
from tests.control.webhooks.deliveries import (
    BODY,
    KEY,
    NOW,
    OTHER_KEY,
    delivered,
    envelope,
    headers,
    public,
    receiver,
)


@pytest.mark.parametrize("at", [NOW - 300, NOW, NOW + 300])
async def test_a_good_delivery_is_accepted(at: int) -> None:
    """A genuine delivery within the tolerance is answered 200 and handled."""
    to = receiver()
    seen: list[Event] = []
    to.on("streaming.started")(seen.append)
    assert await delivered(to, headers(at=at), BODY) == 200
    await to.aclose()
    assert [event.id for event in seen] == ["e1"]


@pytest.mark.parametrize("key", [KEY, OTHER_KEY])
async def test_while_keys_rotate_both_are_good(key: SigningKey) -> None:
    """With several keys a delivery signed by any of them is accepted."""
    to = receiver([public(KEY), public(OTHER_KEY)])
    assert await delivered(to, headers(key=key), BODY) == 200
    await to.aclose()


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "DELETE", "OPTIONS"])
async def test_only_post_is_taken(method: str) -> None:
    """Other methods are answered 405."""
    to = receiver()
    assert await delivered(to, headers(), BODY, method) == 405
    assert to.counts == {"wrong_method": 1}


async def test_a_get_is_told_what_to_set(caplog: pytest.LogCaptureFixture) -> None:
    """405 comes with ``Allow`` and a word about the setting; the log has it once."""
    transport = httpx.ASGITransport(Starlette(routes=[webhook_route(receiver())]))
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as http:
        answers = [await http.get("/webhooks/telnyx") for _ in range(3)]
    assert {answer.status_code for answer in answers} == {405}
    assert answers[0].headers["allow"] == "POST"
    assert answers[0].text == "webhooks come by POST: set webhook_url_method to POST"
    assert [r.message for r in caplog.records if r.name.startswith("mediaserver")] == [
        "webhook refused: webhooks come by POST: set webhook_url_method to POST"
    ]


V1_BODY = (
    b'{"record_type":"event","id":"e1","event_type":"call_answered",'
    b'"created_at":"2026-11-28T10:00:00Z","payload":{"call_control_id":"v3:a"}}'
)


async def test_a_webhook_of_version_1_is_refused_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Signed by HMAC alone it is refused; the log says, once, which setting is wrong."""
    to = receiver()
    mac = hmac.new(b"secret", V1_BODY, "sha256").hexdigest()
    for _ in range(3):
        assert await delivered(to, [("X-Telnyx-Signature", mac)], V1_BODY) == 401
    assert to.counts == {"version_1": 3}
    assert [r.message for r in caplog.records if r.name.startswith("mediaserver")] == [
        "webhook refused: a webhook of version 1: "
        "set webhook_api_version to 2 in the Telnyx application"
    ]


async def test_the_shape_of_version_1_is_read_where_the_signature_is_good() -> None:
    """What counts is the Ed25519 signature; with it any shape is handled."""
    to = receiver()
    seen: list[Event] = []
    to.on("call.answered")(seen.append)
    named = [*headers(V1_BODY), ("X-Telnyx-Signature", "beside it")]
    assert await delivered(to, named, V1_BODY) == 200
    await to.aclose()
    assert [(event.id, event.call_control_id) for event in seen] == [("e1", "v3:a")]


async def test_a_recording_finds_its_call_by_the_leg() -> None:
    """``call.recording.saved`` names no call: it is joined by the leg that others named."""
    to = receiver()
    seen: list[Event] = []
    to.attach("v3:a", seen.append)
    ids = {"call_leg_id": "leg-1", "call_control_id": "v3:a"}
    bodies = [
        envelope("call.recording.saved", "e0", call_leg_id="leg-1"),  # too early to be known
        envelope("call.answered", "e1", **ids),
        envelope("call.recording.saved", "e2", call_leg_id="leg-1", channels="dual"),
        envelope("call.recording.saved", "e3", call_leg_id="leg-2"),
    ]
    for body in bodies:
        assert await delivered(to, headers(body), body) == 200
    await to.aclose()
    assert [(event.id, event.call_control_id) for event in seen] == [("e1", "v3:a"), ("e2", "v3:a")]
    assert isinstance(seen[1], RecordingSaved)
    assert seen[1].channels == "dual"


@pytest.mark.parametrize("keys", [[], [""], ["zz"], ["é"], [base64.b64encode(b"k" * 31).decode()]])
def test_a_key_that_is_none_is_a_wrong_setting(keys: list[str]) -> None:
    """Without a usable public key there is no receiver."""
    with pytest.raises(ConfigurationError, match="public key"):
        receiver(keys)


def test_a_memory_too_short_for_replays_is_refused() -> None:
    """An id must be remembered for as long as its timestamp can be good."""
    with pytest.raises(ValueError, match="twice"):
        receiver(dedup_s=599)


def test_a_saved_delivery_is_verified_from_a_mapping() -> None:
    """Headers may come as a plain mapping in any case."""
    named = {name.title(): value for name, value in headers()}
    receiver().verify(named, BODY, NOW)
    with pytest.raises(SignatureError, match="missing"):
        receiver().verify({}, BODY, NOW)


async def test_a_replay_is_answered_and_not_handled() -> None:
    """A repeated event gets its 200, is counted, and is handled once."""
    to = receiver()
    seen: list[Event] = []
    to.on("*")(seen.append)
    assert [await delivered(to, headers(), BODY) for _ in range(3)] == [200] * 3
    await to.aclose()
    assert len(seen) == 1
    assert to.counts == {"accepted": 1, "duplicate": 2}


async def test_a_thousand_copies_at_once_are_handled_once() -> None:
    """However many copies of one event arrive together, it is handled once."""
    to = receiver()
    seen: list[Event] = []

    @to.on("*")
    async def handle(event: Event) -> None:
        await asyncio.sleep(0)
        seen.append(event)

    named = headers()
    statuses = await asyncio.gather(*(delivered(to, named, BODY) for _ in range(1000)))
    await to.aclose()
    assert set(statuses) == {200}
    assert len(seen) == 1


async def test_handlers_run_after_the_answer() -> None:
    """The 200 does not wait for handlers, however long they take."""
    to = receiver()
    release, done = asyncio.Event(), asyncio.Event()

    @to.on("streaming_started")
    async def handle(event: Event) -> None:
        await release.wait()
        done.set()

    assert await delivered(to, headers(), BODY) == 200
    assert not done.is_set()
    release.set()
    await to.aclose()
    assert done.is_set()


async def test_closing_cancels_a_handler_that_does_not_end() -> None:
    """A handler that outlives the grace is cancelled."""
    to = receiver()
    outcome: list[str] = []

    @to.on("*")
    async def handle(event: Event) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            outcome.append("cancelled")
            raise

    await delivered(to, headers(), BODY)
    await asyncio.sleep(0)
    await to.aclose(grace_s=0)
    assert outcome == ["cancelled"]


async def test_a_handler_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """An exception in a handler or a callback is logged and counted; the others still run."""
    to = receiver()
    seen: list[Event] = []

    def fail(event: Event) -> None:
        raise RuntimeError("a user's mistake")

    async def fail_later(event: Event) -> None:
        raise RuntimeError("another")

    to.attach("v3:a", fail)
    to.attach("v3:a", seen.append)
    to.on("*")(fail)
    to.on("*")(fail_later)
    to.on("*")(seen.append)
    assert await delivered(to, headers(), BODY) == 200
    await to.aclose()
    assert len(seen) == 2
    assert to.counts["handler_failed"] == 3
    assert "v3:a" in caplog.text


async def test_too_many_handlers_at_work_ask_telnyx_to_come_again() -> None:
    """Beyond the limit a delivery is refused with 503 and taken when it comes again."""
    to = receiver(max_running=1)
    release = asyncio.Event()

    @to.on("*")
    async def handle(event: Event) -> None:
        await release.wait()

    second = envelope(id="e2")
    assert await delivered(to, headers(), BODY) == 200
    assert await delivered(to, headers(second), second) == 503
    release.set()
    await to.aclose()
    assert await delivered(to, headers(second), second) == 200
    await to.aclose()
    assert to.counts == {"accepted": 2, "busy": 1}


async def test_events_and_calls_meet_whichever_comes_first() -> None:
    """Events from before the call attached are handed over first, in order of arrival."""
    to = receiver()
    seen: list[str] = []

    def callback(event: Event) -> None:
        seen.append(event.id)

    for n in range(3):
        body = envelope(id=f"early{n}", call_control_id="v3:a")
        await delivered(to, headers(body), body)
    to.attach("v3:a", callback)
    body = envelope(id="late", call_control_id="v3:a")
    await delivered(to, headers(body), body)
    body = envelope(id="other", call_control_id="v3:b")
    await delivered(to, headers(body), body)
    to.detach("v3:a", callback)
    to.detach("v3:a", callback)
    body = envelope(id="after", call_control_id="v3:a")
    await delivered(to, headers(body), body)
    assert seen == ["early0", "early1", "early2", "late"]


async def test_a_slow_body_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender that does not finish its body gets 408."""
    monkeypatch.setattr("mediaserver.control.webhooks.receiver.BODY_DEADLINE_S", 0.02)
    to = receiver()
    async with serving(Starlette(routes=[webhook_route(to)])) as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /webhooks/telnyx HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf")
        assert b" 408 " in await reader.readline()
        writer.close()
    assert to.counts == {"unread": 1}


async def test_refusals_are_logged_at_a_limited_rate(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood of rubbish makes few lines."""
    few = LimitedLog(logging.getLogger("mediaserver.tests"), LineLimit(2))
    monkeypatch.setattr("mediaserver.control.webhooks.receiver.limited", few)
    to = receiver(clock=lambda: 1000.0)
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            await delivered(to, [], BODY)
    assert len([r for r in caplog.records if r.name.startswith("mediaserver")]) == 2


def test_an_event_s_repr_shows_no_payload() -> None:
    """The repr of an event holds neither stream URL nor client state."""
    event = StreamingFailed(
        id="e1", event_type="streaming.failed", stream_url="wss://a/media/TOKEN", client_state=b"S"
    )
    assert repr(event) == "StreamingFailed(streaming.failed e1 call=None)"


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
async def test_a_clock_that_is_set_changes_no_verdict(jump_s: float) -> None:
    """Fresh is what was signed now by the clock as it is or as it was; replays stay replays."""
    wall, elapsed = [float(NOW)], [0.0]

    def made() -> WebhookReceiver:
        clocks: dict[str, Any] = {"wall_clock": lambda: wall[0] + elapsed[0]}
        return WebhookReceiver([public(KEY)], clock=lambda: elapsed[0], **clocks)

    async def counted_as(id: str, at: float, to: WebhookReceiver) -> str:
        before = to.counts.copy()
        body = envelope(id=id)
        await delivered(to, headers(body, int(at)), body)
        (name,) = (to.counts - before).keys()
        return name

    it_was_right, it_was_wrong = made(), made()
    assert await counted_as("a", NOW, it_was_right) == "accepted"
    wall[0] += jump_s
    assert await counted_as("b", NOW + jump_s, it_was_wrong) == "accepted"
    assert await counted_as("b", NOW, it_was_right) == "accepted"
    assert await counted_as("a", NOW, it_was_right) == "duplicate"
    assert await counted_as("c", NOW + jump_s / 2, it_was_right) == "unsigned"
    elapsed[0] = 700.0  # the first ids are forgotten
    assert await counted_as("d", NOW + 700, it_was_right) == "accepted"
    wall[0] = NOW - 700.0  # and their time comes again
    assert await counted_as("a", NOW, it_was_right) == "duplicate"
