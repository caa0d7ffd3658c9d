from __future__ import annotations

import asyncio
import base64
import json
import logging
import random
from collections.abc import Iterable
from typing import Any

import httpx
import pytest
from nacl.signing import SigningKey
from starlette.applications import Starlette

from mediaserver.carrier.rest.server import serving
from mediaserver.control.events import Event, StreamingFailed
from mediaserver.control.webhooks.delivery import CallEvents, SeenIds
from mediaserver.control.webhooks.receiver import MAX_BODY_BYTES, WebhookReceiver, webhook_route
from mediaserver.control.webhooks.signature import SignatureError, Verifier
from mediaserver.errors import ConfigurationError

NOW = 1_790_000_000
KEY = SigningKey(b"k" * 32)
OTHER_KEY = SigningKey(b"o" * 32)
SIGNATURE, TIMESTAMP = "telnyx-signature-ed25519", "telnyx-timestamp"
ORDER = 2**252 + 27742317777372353535851937790883648493


def public(key: SigningKey) -> str:
    return base64.b64encode(bytes(key.verify_key)).decode()


def envelope(event_type: str = "streaming.started", id: str = "e1", **payload: Any) -> bytes:
    data = {"record_type": "event", "event_type": event_type, "id": id, "payload": payload}
    return json.dumps({"data": data, "meta": {"attempt": 1}}).encode()


BODY = envelope(call_control_id="v3:a")


def signature(body: bytes = BODY, at: int | str = NOW, key: SigningKey = KEY) -> bytes:
    return key.sign(f"{at}|".encode() + body).signature


def headers(
    body: bytes = BODY, at: int | str = NOW, key: SigningKey = KEY
) -> list[tuple[str, str]]:
    sig = base64.b64encode(signature(body, at, key)).decode()
    return [(SIGNATURE, sig), (TIMESTAMP, str(at))]


def swapped(name: str, value: str) -> list[tuple[str, str]]:
    return [(n, value if n == name else v) for n, v in headers()]


def malleable() -> str:
    """The same signature with the group order added to its scalar, as some libraries accept."""
    raw = signature()
    scalar = int.from_bytes(raw[32:], "little") + ORDER
    return base64.b64encode(raw[:32] + scalar.to_bytes(32, "little")).decode()


def flipped(at: int) -> str:
    raw = bytearray(signature())
    raw[at] ^= 1
    return base64.b64encode(bytes(raw)).decode()


def receiver(keys: Iterable[str] = (public(KEY),), **settings: Any) -> WebhookReceiver:
    return WebhookReceiver(keys, wall_clock=lambda: NOW, **settings)


SIG = base64.b64encode(signature()).decode()
LOOSE_SIG = SIG[:85] + chr(ord(SIG[85]) + 1) + SIG[86:]
"""The last character's unused bits set: the same octets to a lax decoder."""
NOT_JSON = b"{"
NO_ID = json.dumps({"data": {"event_type": "a.b"}}).encode()

HOSTILE: dict[str, tuple[list[tuple[str, str]], bytes, int]] = {
    "body with one letter changed": (headers(), BODY.replace(b"v3:a", b"v3:b"), 401),
    "body with a blank more": (headers(), BODY + b" ", 401),
    "body cut by one": (headers(), BODY[:-1], 401),
    "body empty": (headers(), b"", 401),
    "body serialised again": (headers(), json.dumps(json.loads(BODY), indent=1).encode(), 401),
    "body with keys sorted": (
        headers(),
        json.dumps(json.loads(BODY), sort_keys=True).encode(),
        401,
    ),
    "body with another line end": (headers(), BODY + b"\r\n", 401),
    "body of another encoding": (headers(), BODY.decode().encode("utf-16"), 401),
    "body with a mark in front": (headers(), b"\xef\xbb\xbf" + BODY, 401),
    "body of 1 MiB": (headers(b" " * (1 << 20)), b" " * (1 << 20), 413),
    "body just over the cap": (headers(), b" " * (MAX_BODY_BYTES + 1), 413),
    "timestamp changed": (swapped(TIMESTAMP, str(NOW + 1)), BODY, 401),
    "timestamp stale": (headers(at=NOW - 301), BODY, 401),
    "timestamp future": (headers(at=NOW + 301), BODY, 401),
    "timestamp in milliseconds": (headers(at=NOW * 1000), BODY, 401),
    "timestamp negative": (headers(at=-NOW), BODY, 401),
    "timestamp signed": (headers(at=f"+{NOW}"), BODY, 401),
    "timestamp with a point": (headers(at=f"{NOW}.0"), BODY, 401),
    "timestamp with an underscore": (headers(at="1_790_000_000"), BODY, 401),
    "timestamp in words": (headers(at="now"), BODY, 401),
    "timestamp not a number": (headers(at="nan"), BODY, 401),
    "timestamp empty": (swapped(TIMESTAMP, ""), BODY, 401),
    "timestamp missing": (headers()[:1], BODY, 401),
    "timestamp twice": ([*headers(), (TIMESTAMP, str(NOW))], BODY, 401),
    "timestamp in other digits": (swapped(TIMESTAMP, "\u0661\u0667\u0669"), BODY, 401),
    "timestamp of a thousand digits": (swapped(TIMESTAMP, "1" * 1000), BODY, 401),
    "key of somebody else": (headers(key=OTHER_KEY), BODY, 401),
    "signature of another body": (swapped(SIGNATURE, headers(b"x")[0][1]), BODY, 401),
    "signature without the timestamp": (
        swapped(SIGNATURE, base64.b64encode(KEY.sign(BODY).signature).decode()),
        BODY,
        401,
    ),
    "signature missing": (headers()[1:], BODY, 401),
    "signature empty": (swapped(SIGNATURE, ""), BODY, 401),
    "signature twice": ([*headers(), headers()[0]], BODY, 401),
    "signature in hex": (swapped(SIGNATURE, signature().hex()), BODY, 401),
    "signature URL-safe": (
        swapped(SIGNATURE, base64.urlsafe_b64encode(b"\xff" * 64).decode()),
        BODY,
        401,
    ),
    "signature without padding": (swapped(SIGNATURE, SIG.rstrip("=")), BODY, 401),
    "signature with loose bits": (swapped(SIGNATURE, LOOSE_SIG), BODY, 401),
    "signature with a blank inside": (swapped(SIGNATURE, SIG[:40] + " " + SIG[40:]), BODY, 401),
    "signature truncated": (
        swapped(SIGNATURE, base64.b64encode(signature()[:63]).decode()),
        BODY,
        401,
    ),
    "signature over-long": (
        swapped(SIGNATURE, base64.b64encode(signature() + b"\0").decode()),
        BODY,
        401,
    ),
    "signature malleable": (swapped(SIGNATURE, malleable()), BODY, 401),
    "signature with its first bit flipped": (swapped(SIGNATURE, flipped(0)), BODY, 401),
    "signature with its last bit flipped": (swapped(SIGNATURE, flipped(63)), BODY, 401),
    "signature of zeros": (swapped(SIGNATURE, base64.b64encode(bytes(64)).decode()), BODY, 401),
    "signature not ASCII": (swapped(SIGNATURE, "é" * 88), BODY, 401),
    "signed, not JSON": (headers(NOT_JSON), NOT_JSON, 400),
    "signed, empty": (headers(b""), b"", 400),
    "signed, a list": (headers(b"[]"), b"[]", 400),
    "signed, without an id": (headers(NO_ID), NO_ID, 400),
    "signed, with a number for an id": (
        headers(BODY.replace(b'"e1"', b"1")),
        BODY.replace(b'"e1"', b"1"),
        400,
    ),
    "signed, not UTF-8": (headers(b'{"a":"\xff"}'), b'{"a":"\xff"}', 400),
    "signed, nested a hundred thousand deep": (headers(b"[" * 100_000), b"[" * 100_000, 400),
}


async def delivered(
    to: WebhookReceiver, named: list[tuple[str, str]], body: bytes, method: str = "POST"
) -> int:
    """The status of one delivery to the receiver's route, in process."""
    transport = httpx.ASGITransport(Starlette(routes=[webhook_route(to)]))
    raw = [(name.encode(), value.encode()) for name, value in named]
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as http:
        response = await http.request(method, "/webhooks/telnyx", headers=raw, content=body)
    return response.status_code


def test_there_are_forty_hostile_vectors() -> None:
    """The table below is as long as was asked for."""
    assert len(HOSTILE) >= 40


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_delivery_is_refused(name: str) -> None:
    """Each hostile delivery has its status, and nothing of it is handled."""
    named, body, status = HOSTILE[name]
    to = receiver()
    seen: list[Event] = []
    to.on("*")(seen.append)
    assert await delivered(to, named, body) == status
    await to.aclose()
    assert seen == []
    assert to.counts["accepted"] == 0
    assert sum(to.counts.values()) == 1


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
    assert await delivered(receiver(), headers(), BODY, method) == 405


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


def mutated(octets: bytes, rng: random.Random) -> bytes:
    """The octets with one changed, added or taken away."""
    whole, at = bytearray(octets), rng.randrange(len(octets))
    how = rng.choice(["change", "insert", "delete"])
    whole[at : at + (how != "insert")] = b"" if how == "delete" else rng.randbytes(1)
    return bytes(whole)


def test_no_mutation_is_accepted() -> None:
    """Ten thousand random mutations of a genuine delivery are all refused."""
    verifier, rng = Verifier([public(KEY)]), random.Random(5)
    genuine = {"body": BODY, **{name: value.encode() for name, value in headers()}}
    n_refused = 0
    while n_refused < 10_000:
        part = rng.choice(list(genuine))
        parts = genuine | {part: mutated(genuine[part], rng)}
        if parts == genuine:
            continue
        pairs = [(SIGNATURE.encode(), parts[SIGNATURE]), (TIMESTAMP.encode(), parts[TIMESTAMP])]
        with pytest.raises(SignatureError):
            verifier.verify(pairs, parts["body"], NOW)
        n_refused += 1


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


def make(id: str, call: str | None = "v3:a") -> Event:
    return Event(id=id, event_type="x.y", call_control_id=call)


def test_an_event_waits_for_its_call_for_a_while_only() -> None:
    """What came too long before the call is not handed over."""
    calls = CallEvents(keep_s=60)
    assert calls.callbacks(make("old"), now=0) == []
    assert calls.callbacks(make("new"), now=30) == []
    assert [event.id for event in calls.attach("v3:a", print, now=61)] == ["new"]
    assert calls.callbacks(make("no call", None), now=61) == []


def test_waiting_events_are_bounded() -> None:
    """Neither many calls nor many events of one call fill the memory."""
    calls = CallEvents(keep_s=60, max_calls=10, max_events=3)
    for n in range(100):
        calls.callbacks(make(f"e{n}"), now=0)
        calls.callbacks(make("x", f"v3:{n}"), now=0)
    assert len(calls._waiting) <= 10
    assert len(calls.attach("v3:a", print, now=1)) <= 3
    assert len(calls.attach("v3:99", print, now=1)) == 1


def test_waiting_events_of_calls_that_never_came_go_away() -> None:
    """A later event drops what has waited too long."""
    calls = CallEvents(keep_s=60)
    calls.callbacks(make("old", "v3:gone"), now=0)
    calls.callbacks(make("new"), now=61)
    assert list(calls._waiting) == ["v3:a"]


def test_seen_ids_are_forgotten_by_age_and_by_number() -> None:
    """An id is remembered for its time, and the memory has a limit."""
    seen = SeenIds(keep_s=600, max_ids=3)
    assert [seen.is_new("a", now) for now in (0, 599, 600)] == [True, False, True]
    for n in range(10):
        assert seen.is_new(str(n), 600)
    assert len(seen) == 3


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


async def test_refusals_are_logged_at_a_limited_rate(caplog: pytest.LogCaptureFixture) -> None:
    """A flood of rubbish makes one line a second."""
    to = receiver(clock=lambda: 1000.0)
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            await delivered(to, [], BODY)
    assert len([r for r in caplog.records if r.name.startswith("mediaserver")]) == 1


def test_an_event_s_repr_shows_no_payload() -> None:
    """The repr of an event holds neither stream URL nor client state."""
    event = StreamingFailed(
        id="e1", event_type="streaming.failed", stream_url="wss://a/media/TOKEN", client_state=b"S"
    )
    assert repr(event) == "StreamingFailed(streaming.failed e1 call=None)"
