from __future__ import annotations

import asyncio
import json
import re
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from mediaserver.control import TelnyxClient, answer_incoming
from mediaserver.control.errors import InvalidFieldError, UnprocessableError
from mediaserver.control.events import CallHangup, CallInitiated, Event
from mediaserver.tokens import Admission, TokenGate

SECRET = "the shared secret"
OURS: dict[str, Any] = {"public_url": "https://media.example.com", "auth_token": SECRET}


def sent(method: str, *args: Any, client: dict[str, Any], **options: Any) -> dict[str, Any]:
    """The body of the one request a command of such a client makes."""
    bodies: list[dict[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return httpx.Response(200, json={"data": {"call_control_id": "v3:new"}})

    async def run() -> None:
        transport = httpx.MockTransport(answer)
        async with TelnyxClient("KEY", transport=transport, **client) as telnyx:
            holder = telnyx.calls if method == "dial" else telnyx.calls.actions
            await getattr(holder, method)(*args, **options)

    asyncio.run(run())
    return bodies[0]


def dial(client: dict[str, Any], **options: Any) -> dict[str, Any]:
    return sent("dial", client=client, connection_id="1", from_="+1", to="+2", **options)


def parameters(body: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in body["custom_parameters"]}


@pytest.mark.parametrize(
    ("public_url", "stream_url", "webhook_url"),
    [
        ("https://a.example", "wss://a.example/media", "https://a.example/webhooks/telnyx"),
        ("https://a.example/", "wss://a.example/media", "https://a.example/webhooks/telnyx"),
        (
            "https://a.example:8443/voice",
            "wss://a.example:8443/voice/media",
            "https://a.example:8443/voice/webhooks/telnyx",
        ),
        ("http://127.0.0.1:80", "ws://127.0.0.1:80/media", "http://127.0.0.1:80/webhooks/telnyx"),
        ("http://[::1]:80", "ws://[::1]:80/media", "http://[::1]:80/webhooks/telnyx"),
        ("http://localhost", "ws://localhost/media", "http://localhost/webhooks/telnyx"),
    ],
)
def test_urls_are_built_from_the_public_url(
    public_url: str, stream_url: str, webhook_url: str
) -> None:
    """Stream and webhooks find our server behind whatever public URL it has."""
    client = {"public_url": public_url}
    assert sent("start_streaming", "v3:a", client=client)["stream_url"] == stream_url
    body = dial(client)
    assert body["webhook_url"] == webhook_url
    assert "stream_url" not in body


@pytest.mark.parametrize(
    "public_url",
    ["http://a.example", "ftp://a", "a.example", "https://", "https://a/?q", "https://a/#f", "", 7],
)
def test_a_public_url_that_cannot_be_used_is_refused(public_url: Any) -> None:
    """A public URL that is none, or that would carry calls in clear, is refused by name."""
    with pytest.raises(InvalidFieldError, match="public_url"):
        TelnyxClient("KEY", public_url=public_url)


def test_insecure_urls_can_be_allowed() -> None:
    """With allow_insecure plain ws leaves the machine."""
    client = {"public_url": "http://a.example", "allow_insecure": True}
    assert sent("start_streaming", "v3:a", client=client)["stream_url"] == "ws://a.example/media"


@pytest.mark.parametrize("base_url", ["http://api.example/v2", "api.example", "ws://a"])
def test_the_key_is_not_sent_in_clear(base_url: str) -> None:
    """A base URL without TLS is for loopback only."""
    with pytest.raises(InvalidFieldError, match="base_url"):
        TelnyxClient("KEY", base_url=base_url)


@pytest.mark.parametrize("key", ["", "a b", "KEY\n", "ké", None])
def test_an_unusable_key_is_refused_without_quoting_it(key: Any) -> None:
    """A key that cannot be a header value is refused, and the error does not show it."""
    with pytest.raises(InvalidFieldError) as caught:
        TelnyxClient(key)
    assert str(caught.value) == "api_key: must be printable characters without blanks"


def test_an_empty_secret_is_refused() -> None:
    """An empty auth token would look like protection and be none."""
    with pytest.raises(InvalidFieldError, match="auth_token"):
        TelnyxClient("KEY", auth_token="")


def test_start_streaming_carries_all_our_server_needs() -> None:
    """Codec, rate, processor, parameters and a token go along; the server admits the token."""
    body = sent(
        "start_streaming",
        "v3:a",
        client=OURS,
        stream_bidirectional_codec="L16",
        processor="bot",
        processor_parameters={"voice": "amy"},
        custom_parameters={"customer": 7},
    )
    assert parameters(body) == {
        "customer": "7",
        "send_codec": "L16",
        "send_rate": "16000",
        "processor": "bot",
        "param_voice": "amy",
    }
    gate = TokenGate(SECRET)
    assert gate.admit(body["stream_auth_token"], "v3:a", time.time()) is Admission.PER_CALL


def test_each_command_has_a_token_of_its_own() -> None:
    """Two streams never share a token."""
    tokens = {sent("start_streaming", "v3:a", client=OURS)["stream_auth_token"] for _ in range(3)}
    assert len(tokens) == 3


def test_dial_carries_it_in_the_url_and_the_token_in_its_field() -> None:
    """``dial`` has no custom parameters, so all but the token is in the query."""
    body = dial(OURS, stream=True, processor="bot", processor_parameters={"n": 1})
    assert body["stream_url"] == (
        "wss://media.example.com/media?send_codec=PCMU&send_rate=8000&processor=bot&param_n=1"
    )
    assert TokenGate(SECRET).looks_valid(body["stream_auth_token"], time.time())


def test_answer_carries_even_the_token_in_the_url() -> None:
    """``answer`` takes no token, so it is the last part of the path."""
    body = sent("answer", "v3:a", client=OURS, stream=True)
    url = urlsplit(body["stream_url"])
    assert re.fullmatch(r"/media/[\w.-]+", url.path)
    assert parse_qs(url.query) == {"send_codec": ["PCMU"], "send_rate": ["8000"]}
    assert TokenGate(SECRET).looks_valid(url.path.removeprefix("/media/"), time.time())


def test_a_token_of_the_user_s_own_is_kept() -> None:
    """A token given by hand is sent as it is."""
    body = sent("start_streaming", "v3:a", client=OURS, stream_auth_token="mine")
    assert body["stream_auth_token"] == "mine"


@pytest.mark.parametrize("host", ["other.example", "media.example.com:444", "a.media.example.com"])
def test_another_server_is_told_nothing(host: str) -> None:
    """A stream to another host carries no token and no parameters but the user's."""
    url = f"wss://{host}/x"
    body = sent(
        "start_streaming", "v3:a", client=OURS, stream_url=url, custom_parameters={"a": "b"}
    )
    assert (body["stream_url"], parameters(body)) == (url, {"a": "b"})
    assert "stream_auth_token" not in body
    assert dial(OURS, stream_url=url)["stream_url"] == url
    with pytest.raises(InvalidFieldError, match="public_url"):
        sent("start_streaming", "v3:a", client=OURS, stream_url=url, processor="bot")


@pytest.mark.parametrize(
    "url", ["wss://media.example.com/media", "wss://MEDIA.example.com:443/other"]
)
def test_our_server_is_known_by_its_host(url: str) -> None:
    """A stream URL given by hand that leads to our server is treated as ours."""
    body = sent("start_streaming", "v3:a", client=OURS, stream_url=url)
    assert "stream_auth_token" in body


INCOMING = CallInitiated(
    id="1", event_type="call.initiated", call_control_id="v3:b", direction="incoming"
)
NOT_UP = {"errors": [{"code": "90034", "title": "Call not answered yet"}]}


async def answered(
    client: dict[str, Any], event: Event = INCOMING, not_up: int = 0, **options: Any
) -> list[tuple[str, dict[str, Any]]]:
    """The requests that ``answer_incoming`` makes; so many starts come too early."""
    requests: list[tuple[str, dict[str, Any]]] = []
    waits: list[float] = []

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal not_up
        name = request.url.path.rpartition("/")[2]
        requests.append((name, json.loads(request.content)))
        if name == "streaming_start" and not_up:
            not_up -= 1
            return httpx.Response(422, json=NOT_UP)
        return httpx.Response(200, json={"data": {"result": "ok"}})

    async def sleep(delay_s: float) -> None:
        waits.append(delay_s)

    async with TelnyxClient("KEY", transport=httpx.MockTransport(answer), **client) as telnyx:
        result = await answer_incoming(telnyx, event, sleep, **options)
    assert (result is None) == (requests == [])
    assert sum(waits) <= 10
    return requests


PLAIN: dict[str, Any] = {"public_url": "https://media.example.com"}


@pytest.mark.parametrize("options", [{}, {"stream_bidirectional_codec": "PCMA"}])
async def test_a_plain_stream_is_answered_by_one_command(options: dict[str, Any]) -> None:
    """Where ``answer`` can say all there is to say, it opens the stream itself."""
    [(name, body)] = await answered(PLAIN, send_silence_when_idle=True, **options)
    assert name == "answer"
    assert body["stream_url"].startswith("wss://media.example.com/media?send_codec=PCM")
    assert body["send_silence_when_idle"] is True


async def test_a_call_may_be_answered_without_a_stream() -> None:
    """With ``stream=False`` nothing is streamed, whatever the server's token."""
    [(name, body)] = await answered(OURS, stream=False)
    assert (name, set(body)) == ("answer", {"command_id"})


@pytest.mark.parametrize(
    ("client", "options"),
    [
        (OURS, {}),
        (PLAIN, {"stream_bidirectional_codec": "L16"}),
        (PLAIN, {"stream_bidirectional_sampling_rate": 8000}),
        (PLAIN, {"stream_auth_token": "T"}),
        (PLAIN, {"custom_parameters": {"a": "b"}}),
        (PLAIN, {"processor": "bot"}),
        (PLAIN, {"processor_parameters": {"a": 1}}),
    ],
)
async def test_a_stream_that_answer_cannot_describe_is_started_by_its_own_command(
    client: dict[str, Any], options: dict[str, Any]
) -> None:
    """A rate, a token or parameters: first ``answer`` without a stream, then its start."""
    (first, answer), (second, start) = await answered(client, client_state="hi", **options)
    assert (first, second) == ("answer", "streaming_start")
    assert set(answer) == {"client_state", "command_id"}
    assert start["stream_url"] == "wss://media.example.com/media"
    assert start["client_state"] == "aGk="
    codec = options.get("stream_bidirectional_codec", "PCMU")
    rate_hz = 16000 if codec == "L16" else 8000
    assert start["stream_bidirectional_sampling_rate"] == rate_hz
    assert parameters(start)["send_rate"] == str(rate_hz)
    assert ("stream_auth_token" in start) == (client is OURS or "stream_auth_token" in options)


async def test_a_stream_waits_until_the_call_is_up() -> None:
    """Telnyx may refuse a stream for a moment after ``answer``: it is asked again, by a new id."""
    requests = await answered(OURS, not_up=3)
    assert [name for name, _ in requests] == ["answer"] + ["streaming_start"] * 4
    assert len({body["command_id"] for _, body in requests}) == 5


async def test_a_call_that_never_comes_up_is_given_up() -> None:
    """After ten seconds the refusal is an error."""
    with pytest.raises(UnprocessableError) as caught:
        await answered(OURS, not_up=1000)
    assert caught.value.code == "90034"


@pytest.mark.parametrize(
    "event",
    [
        CallInitiated(
            id="1", event_type="call.initiated", call_control_id="v3:a", direction="outgoing"
        ),
        CallInitiated(id="1", event_type="call.initiated", direction="incoming"),
        CallHangup(id="1", event_type="call.hangup", call_control_id="v3:a"),
    ],
)
async def test_other_events_answer_nothing(event: Event) -> None:
    """``answer_incoming`` leaves every event alone that is no incoming call."""
    assert await answered(OURS, event) == []


def test_the_webhook_url_is_known() -> None:
    """Where webhooks are to go follows from the public URL."""
    client = TelnyxClient("KEY", **OURS)
    assert client.webhook_url == "https://media.example.com/webhooks/telnyx"
    asyncio.run(client.aclose())
