from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from nacl.signing import SigningKey
from starlette.applications import Starlette
from websockets.asyncio.server import ServerConnection, serve

from mediaserver.carrier.rest.api import FakeTelnyx
from mediaserver.carrier.rest.calls import Habits
from mediaserver.carrier.rest.faults import RateLimit, RestFault
from mediaserver.carrier.rest.server import serving
from mediaserver.carrier.rest.webhooks import WebhookFaults
from mediaserver.control import RetryPolicy, TelnyxClient, WebhookReceiver, webhook_route
from mediaserver.control.errors import ApiError, CommandTimeoutError, NetworkError
from mediaserver.control.events import Event, StreamingFailed, Transcription


class World:
    """A fake Telnyx, a webhook receiver and a media server that listens, all on loopback."""

    def __init__(self, fake: FakeTelnyx, client: TelnyxClient, media_url: str) -> None:
        self.fake = fake
        self.client = client
        self.actions = client.calls.actions
        self.media_url = media_url
        self.events: list[Event] = []
        self.messages: list[dict[str, Any]] = []
        self.headers: list[Any] = []
        self.paths: list[str] = []
        self._changed = asyncio.Event()

    def saw(self, event: Event) -> None:
        self.events.append(event)
        self._changed.set()

    async def take_media(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        self.headers.append(socket.request.headers)
        self.paths.append(socket.request.path)
        if "refuse" in socket.request.path:
            await socket.close(1008)
        async for message in socket:
            self.messages.append(json.loads(message))
            self._changed.set()

    def types(self) -> list[str]:
        return [event.event_type for event in self.events]

    def wire(self) -> list[str]:
        return [message["event"] for message in self.messages]

    async def until(self, check: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not check():
                self._changed.clear()
                await self._changed.wait()

    async def until_event(self, event_type: str, n: int = 1) -> Event:
        await self.until(lambda: self.types().count(event_type) >= n)
        return [event for event in self.events if event.event_type == event_type][n - 1]

    async def dialled(self, **options: Any) -> str:
        call = await self.client.calls.dial(connection_id="c", from_="+1", to="+2", **options)
        await self.until_event("call.answered")
        return call.call_control_id


@asynccontextmanager
async def world(policy: RetryPolicy | None = None, **settings: Any) -> AsyncIterator[World]:
    """All parts running, joined by real sockets."""
    settings.setdefault("habits", Habits(answer_after_s=0.0, transcript_every_s=0.01))
    key = SigningKey.generate()
    fake = FakeTelnyx(signing_key=key, **settings)
    receiver = WebhookReceiver([fake.public_key])
    held: list[World] = []

    async def take_media(socket: ServerConnection) -> None:
        await held[0].take_media(socket)

    async with (
        serving(Starlette(routes=[webhook_route(receiver)])) as hooks_url,
        serve(take_media, "127.0.0.1", 0) as media,
        fake,
        TelnyxClient(fake.api_key, base_url=fake.base_url, policy=policy) as client,
    ):
        fake.webhook_url = hooks_url + "/webhooks/telnyx"
        port = next(iter(media.sockets)).getsockname()[1]
        held.append(World(fake, client, f"ws://127.0.0.1:{port}/media"))
        receiver.on("*")(held[0].saw)
        yield held[0]
    await receiver.aclose()


async def test_a_stream_from_start_to_stop() -> None:
    """start_streaming brings the socket, start and media; stop_streaming brings stop."""
    async with world() as w:
        call = await w.dialled(client_state="mine")
        await w.actions.start_streaming(
            call,
            stream_url=w.media_url + "?a=b",
            stream_auth_token="TOKEN",
            stream_bidirectional_codec="L16",
            custom_parameters={"customer": "7"},
        )
        await w.until(lambda: w.wire().count("media") >= 3)
        started = await w.until_event("streaming.started")
        await w.actions.stop_streaming(call)
        await w.until_event("streaming.stopped")
        assert w.wire()[:2] == ["connected", "start"]
        assert w.wire()[-1] == "stop"
        assert w.paths == ["/media?a=b"]
        assert w.headers[0]["x-telnyx-streaming-auth-token"] == "TOKEN"
        start = w.messages[1]["start"]
        assert start["call_control_id"] == call == started.call_control_id
        assert start["custom_parameters"] == {
            "customer": "7",
            "send_codec": "L16",
            "send_rate": "16000",
        }
        assert (start["from"], start["to"], start["client_state"]) == ("+1", "+2", "bWluZQ==")
        assert started.client_state == b"mine"
        again = await w.actions.stop_streaming(call)
        assert again.was_already_so
        assert (await w.actions.hangup(call)).result == "ok"
        await w.until_event("call.hangup")
        assert w.types() == [
            "call.initiated",
            "call.answered",
            "streaming.started",
            "streaming.stopped",
            "call.hangup",
        ]


async def test_a_fork_replaces_a_stream() -> None:
    """fork_start ends the stream; both fork events are reported; both stops are idempotent."""
    async with world() as w:
        call = await w.dialled(stream_url=w.media_url)
        await w.until(lambda: "media" in w.wire())
        with pytest.raises(ApiError) as caught:
            await w.actions.start_streaming(call, stream_url=w.media_url)
        assert caught.value.code == "90045"
        await w.actions.start_forking(call, rx="udp:127.0.0.1:9000", tx="udp:127.0.0.1:9001")
        await w.until_event("streaming.stopped")
        assert w.wire()[-1] == "stop"
        with pytest.raises(ApiError) as caught:
            await w.actions.start_streaming(call, stream_url=w.media_url)
        assert caught.value.code == "90045"
        with pytest.raises(ApiError) as caught:
            await w.actions.start_forking(call, target="udp:127.0.0.1:9000")
        assert caught.value.code == "90045"
        await w.actions.stop_forking(call)
        stopped = await w.until_event("call.fork.stopped")
        assert stopped.payload["stream_type"] == "decrypted"
        assert (await w.actions.stop_forking(call)).was_already_so


async def test_a_dialled_stream_has_no_parameters_but_the_query() -> None:
    """A stream asked for by dial carries what it needs in the URL alone."""
    async with world() as w:
        await w.dialled(stream_url=w.media_url, processor="bot")
        await w.until(lambda: "start" in w.wire())
        assert w.messages[1]["start"]["custom_parameters"] is None
        assert w.paths == ["/media?send_codec=PCMU&send_rate=8000&processor=bot"]


async def test_a_stream_may_be_there_before_the_answer() -> None:
    """With stream_establish_before_call_originate the socket does not wait for the answer."""
    async with world(habits=Habits(answer_after_s=60)) as w:
        await w.client.calls.dial(
            connection_id="c",
            from_="+1",
            to="+2",
            stream_url=w.media_url,
            stream_establish_before_call_originate=True,
        )
        await w.until_event("streaming.started")
        assert "call.answered" not in w.types()


async def test_an_incoming_call_is_answered_with_a_stream() -> None:
    """A call that rings can be answered, once, with a stream."""
    async with world() as w:
        async with httpx.AsyncClient() as http:
            url = w.fake.base_url.removesuffix("/v2") + "/fake/ring"
            await http.post(url, json={"from": "+5"})
        event = await w.until_event("call.initiated")
        call = event.call_control_id
        assert call is not None
        assert (event.payload["direction"], event.payload["from"]) == ("incoming", "+5")
        with pytest.raises(ApiError) as caught:
            await w.actions.start_streaming(call, stream_url=w.media_url)
        assert caught.value.code == "90034"
        await w.actions.answer(call, stream_url=w.media_url)
        await w.until_event("streaming.started")
        with pytest.raises(ApiError):
            await w.actions.answer(call)


async def test_transcription_reports_what_is_said() -> None:
    """Transcription runs from start to stop and conflicts with itself."""
    async with world() as w:
        call = await w.dialled()
        with pytest.raises(ApiError) as caught:
            await w.actions.stop_transcription(call)
        assert caught.value.code in ("90053", "90054", "90055")
        await w.actions.start_transcription(call, transcription_tracks="both")
        heard = await w.until_event("call.transcription", 3)
        assert isinstance(heard, Transcription)
        assert (heard.transcription_track, heard.is_final) == ("both", True)
        with pytest.raises(ApiError) as caught:
            await w.actions.start_transcription(call)
        assert caught.value.code in ("90053", "90054", "90055")
        await w.actions.stop_transcription(call)
        await w.actions.start_transcription(call)


async def test_an_ended_call_takes_no_command() -> None:
    """After the caller hung up, stop commands are content and others are refused."""
    async with world() as w:
        call = await w.dialled()
        w.fake.calls[call].hang_up()
        w.fake.calls[call].hang_up()
        await w.until_event("call.hangup")
        assert (await w.actions.stop_streaming(call)).was_already_so
        with pytest.raises(ApiError) as caught:
            await w.actions.hangup(call)
        assert caught.value.code == "90018"


@pytest.mark.parametrize("where", ["ws://127.0.0.1:1/media", None])
async def test_a_stream_that_fails_is_reported(where: str | None) -> None:
    """A server that is not there, or that closes with an error, gives streaming.failed."""
    async with world() as w:
        call = await w.dialled()
        await w.actions.start_streaming(call, stream_url=where or w.media_url + "/refuse")
        failed = await w.until_event("streaming.failed")
        assert isinstance(failed, StreamingFailed)
        assert failed.failure_reason
        assert (failed.stream_type, failed.stream_track) == ("websocket", "inbound_track")


async def test_a_codec_that_is_not_there_fails_the_stream() -> None:
    """A stream the carrier cannot encode is reported as failed."""

    def plan_for(request: Any) -> Any:
        from mediaserver.carrier.plan import PlanError

        raise PlanError("no such codec here")

    async with world(habits=Habits(plan_for=plan_for, answer_after_s=0)) as w:
        call = await w.dialled()
        await w.actions.start_streaming(call, stream_url=w.media_url)
        failed = await w.until_event("streaming.failed")
        assert failed.payload["failure_reason"] == "no such codec here"


async def test_stopping_another_stream_stops_nothing() -> None:
    """A stream is stopped by its own id, or by none."""
    async with world() as w:
        call = await w.dialled(stream_url=w.media_url)
        await w.until(lambda: "start" in w.wire())
        other = "32DE0DEA-53CB-4B21-89A4-9E1819C043BC"
        assert (await w.actions.stop_streaming(call, stream_id=other)).was_already_so
        mine = w.messages[1]["stream_id"]
        assert not (await w.actions.stop_streaming(call, stream_id=mine)).was_already_so
        await w.until_event("streaming.stopped")


@pytest.mark.parametrize(
    ("kind", "status"), [("status", 503), ("status", 429), ("cut", 0), ("cut_after", 0)]
)
async def test_a_command_in_trouble_is_carried_out_once(kind: Any, status: int) -> None:
    """Through errors and cut connections the client's retries do the command exactly once."""
    async with world(RetryPolicy(base_s=0.01)) as w:
        call = await w.dialled()
        soon = {"x-ratelimit-reset": "0"}
        fault = RestFault(kind, "streaming_start", times=2, status=status, headers=soon)
        w.fake.faults.add(fault)
        await w.actions.start_streaming(call, stream_url=w.media_url)
        await w.until_event("streaming.started")
        tries = [c for c in w.fake.commanded if c.command == "streaming_start"]
        assert len(tries) == 3
        assert len({c.body["command_id"] for c in tries}) == 1
        await w.actions.stop_streaming(call)
        await w.until_event("streaming.stopped")
        assert w.types().count("streaming.started") == 1


async def test_a_dial_that_was_cut_is_not_repeated() -> None:
    """A dial whose answer was lost is reported as such: the phone rings once."""
    async with world(RetryPolicy(base_s=0.01)) as w:
        w.fake.faults.add(RestFault("cut_after", "dial"))
        with pytest.raises(NetworkError) as caught:
            await w.client.calls.dial(connection_id="c", from_="+1", to="+2")
        assert caught.value.sent
        assert len(w.fake.calls) == 1


async def test_a_slow_answer_ends_at_the_deadline() -> None:
    """A command that gets no answer in time fails with a timeout."""
    async with world(RetryPolicy(deadline_s=0.1)) as w:
        w.fake.faults.add(RestFault("slow", "hangup", times=9, delay_s=0.5))
        with pytest.raises(CommandTimeoutError):
            await w.actions.hangup("v3:a")


async def test_the_rate_limit_is_told_and_kept() -> None:
    """Beyond the limit the answer is 429 with headers, and the client waits for the reset."""
    async with world(rate_limit=RateLimit(limit=1, window_s=0.5)) as w:
        slept: list[float] = []

        async def sleep(delay_s: float) -> None:
            slept.append(delay_s)
            await asyncio.sleep(0.5)

        async with TelnyxClient(w.fake.api_key, base_url=w.fake.base_url, sleep=sleep) as client:
            for _ in range(2):
                await client.calls.dial(connection_id="c", from_="+1", to="+2")
        assert [c.status for c in w.fake.commanded] == [200, 429, 200]
        assert slept[0] >= 1


async def test_webhooks_may_be_doubled_and_shuffled() -> None:
    """Copies and overtaking on the way change nothing in what is handled."""
    faults = WebhookFaults(copies=3, delay_s=0.01, scatter_s=0.05, seed=1)
    async with world(webhook_faults=faults) as w:
        call = await w.dialled(stream_url=w.media_url)
        await w.until_event("streaming.started")
        await w.actions.hangup(call)
        await w.until(lambda: {"call.hangup", "streaming.stopped"} <= set(w.types()))
        await w.fake.webhooks.flush()
        assert len(w.fake.webhooks.deliveries) == 15
        assert sorted(w.types()) == sorted(set(w.types()))
        assert len(w.types()) == 5


async def test_a_webhook_nobody_takes_is_tried_three_times() -> None:
    """A delivery that is not answered 2xx is repeated with a higher attempt."""
    async with world() as w:
        for path in ("/nowhere", None):
            w.fake.webhook_url = w.fake.base_url + path if path else "http://127.0.0.1:1/"
            w.fake.webhooks.retry_s = 0.01
            w.fake.ring()
        await w.fake.webhooks.flush()
        attempts = [(d.attempt, d.status) for d in w.fake.webhooks.deliveries]
        assert attempts == [(1, 404), (2, 404), (3, 404), (1, None), (2, None), (3, None)]
        w.fake.webhook_url = None
        w.fake.ring()
        await w.fake.webhooks.flush()
        assert len(w.fake.webhooks.deliveries) == 6


async def post(w: World, path: str, body: Any, key: str | None = None) -> tuple[int, Any]:
    headers = {"authorization": f"Bearer {w.fake.api_key if key is None else key}"}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with httpx.AsyncClient() as http:
        reply = await http.post(w.fake.base_url + path, content=content, headers=headers)
    return reply.status_code, reply.json()


async def test_the_error_bodies_are_telnyx_s() -> None:
    """Each refusal has the status, code and form of protocol.md 3."""
    async with world() as w:
        for key in ("none", "wrong", w.fake.api_key + "x"):
            status, body = await post(w, "/calls", {}, key)
            assert (status, body["errors"][0]["code"]) == (401, "10009")
        assert body == {
            "errors": [
                {
                    "code": "10009",
                    "title": "Authentication failed",
                    "detail": "Authentication failed.",
                    "meta": {},
                }
            ]
        }
        for path, code in (("/nothing", "10005"), ("/calls/v3:x/actions/dance", "10005")):
            status, body = await post(w, path, {})
            assert (status, body["errors"][0]["code"]) == (404, code)
        status, body = await post(w, "/calls/v3:x/actions/hangup", {})
        assert (status, body["errors"][0]["code"]) == (404, "90015")
        assert body["errors"][0]["source"] == {"pointer": "/call_control_id"}


@pytest.mark.parametrize(
    ("action", "body", "pointer"),
    [
        ("hangup", {"client_state": "not base64"}, "/client_state"),
        ("hangup", {"client_state": 7}, "/client_state"),
        ("hangup", {"unknown": 7}, "/unknown"),
        ("hangup", [], "/body"),
        ("hangup", b"{", "/body"),
        ("streaming_start", {}, "/stream_url"),
        ("streaming_start", {"stream_url": "http://a"}, "/stream_url"),
        ("streaming_start", {"stream_url": "wss://a", "stream_codec": "x"}, "/stream_codec"),
        (
            "streaming_start",
            {"stream_url": "wss://a", "custom_parameters": {"a": "b"}},
            "/custom_parameters",
        ),
        ("fork_start", {"rx": "nowhere"}, "/rx"),
        ("answer", {"stream_auth_token": "T"}, "/stream_auth_token"),
    ],
)
async def test_a_wrong_body_is_refused_naming_the_field(
    action: str, body: Any, pointer: str
) -> None:
    """The fake takes only what Telnyx documents, whoever sends it."""
    async with world() as w:
        status, answer = await post(w, f"/calls/v3:x/actions/{action}", body)
        assert status == 422
        assert answer["errors"][0]["source"] == {"pointer": pointer}
