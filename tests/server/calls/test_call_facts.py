"""What a bot learns of its call: state, query, path, parameters; the token is none of them."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from mediaserver.app import MediaServer
from mediaserver.carrier import CallPlan, FakeCall, place_call
from mediaserver.settings import Settings
from mediaserver.tokens import issue
from tests.server.conftest import Serving, bot
from tests.server.watching import seen, soon


async def facts_of(url: str, plan: CallPlan) -> Any:
    await place_call(url, plan)
    (facts,) = seen(plan)
    return facts


@pytest.mark.parametrize(
    ("raw", "given"),
    [("b3JkZXIgMTc=", "order 17"), ("not base64!", "not base64!"), ("/w==", "/w=="), (None, None)],
)
async def test_client_state_is_what_was_given(
    serving: Serving, raw: str | None, given: str | None
) -> None:
    """Decoded where it is text in base64; the raw form stands beside it."""
    async with serving(bot("facts")) as server:
        async with FakeCall(server.url, CallPlan(), greet=False) as call:
            await call.send({"event": "connected"})
            body = {"call_control_id": call.plan.call_control_id, "client_state": raw}
            await call.send({"event": "start", "stream_id": "s", "start": body})
            await soon(lambda: bool(seen(call.plan)))
            (facts,) = seen(call.plan)
            assert (facts.client_state, facts.client_state_raw) == (given, raw)


@pytest.mark.parametrize("how", ["query", "path", "parameter"])
async def test_the_token_is_taken_out(serving: Serving, how: str) -> None:
    """Wherever it came, the bot does not see it, and sees all else."""
    token = issue("s3cret", time.time())
    async with serving(bot("facts"), auth_token="s3cret") as server:
        url, parameters = f"{server.url}?lang=de", {"customer": "7"}
        if how == "query":
            url += f"&token={token}"
        elif how == "path":
            url = f"{server.url}/{token}?lang=de"
        else:
            parameters["token"] = token
        facts = await facts_of(url, CallPlan(seconds=0.2, custom_parameters=parameters))
        assert dict(facts.query) == {"lang": "de"}
        assert facts.path == "/media"
        assert facts.parameters["customer"] == "7"
        assert "token" not in facts.parameters


@pytest.mark.parametrize("token", ["wrong", None])
async def test_a_wrong_or_missing_token_parameter_is_refused(
    serving: Serving, token: str | None
) -> None:
    """With 1008, at its ``start``."""
    parameters = {} if token is None else {"token": token}
    async with serving("echo", auth_token="s3cret") as server:
        plan = CallPlan(seconds=0.2, custom_parameters=parameters)
        assert (await place_call(server.url, plan)).close_code == 1008
        assert server.service.counters["refused_token"] == 1
        assert server.service.counters["calls"] == 0


async def test_without_a_secret_a_parameter_called_token_is_the_users(serving: Serving) -> None:
    """Nothing is taken out where no token is asked for."""
    async with serving(bot("facts")) as server:
        plan = CallPlan(seconds=0.2, custom_parameters={"token": "mine"})
        facts = await facts_of(f"{server.url}?token=too", plan)
        assert (facts.parameters["token"], facts.query["token"]) == ("mine", "too")


async def test_a_path_prefix_is_accepted(serving: Serving) -> None:
    """A proxy may pass on the path of ``public_url``, or take it away; nothing else comes in."""
    async with serving("echo", public_url="https://example.com/voice/") as server:
        base = server.url.removesuffix("/media")
        for path in ("/media", "/voice/media"):
            assert (await place_call(base + path, CallPlan(seconds=0.1))).problem is None
        other = await place_call(f"{base}/other/media", CallPlan(seconds=0.1))
        assert "404" in str(other.error)
        async with httpx.AsyncClient(base_url=base.replace("ws", "http")) as client:
            for path in ("/healthz", "/voice/healthz", "/voice/readyz"):
                assert (await client.get(path)).status_code == 200
            assert (await client.get("/other/healthz")).status_code == 404


async def test_opus_in_two_channels_is_heard_in_mono(serving: Serving) -> None:
    """An Opus decoder gives mono of whatever comes; other codecs in two channels are refused."""
    async with serving("echo") as server:
        for encoding, code in (("OPUS", 1000), ("L16", 1003)):
            async with FakeCall(server.url, CallPlan(), greet=False) as call:
                await call.send({"event": "connected"})
                media_format = {"encoding": encoding, "sample_rate": 48000, "channels": 2}
                body = {"call_control_id": encoding, "media_format": media_format}
                await call.send({"event": "start", "stream_id": "s", "start": body})
                await call.send({"event": "stop", "stream_id": "s", "stop": {}})
                await soon(call.closed.is_set)
                assert call.report().close_code == code


@pytest.mark.parametrize(("host", "shown"), [("::", "[::1]"), ("0.0.0.0", "127.0.0.1")])
async def test_the_banner_names_an_address_that_works(host: str, shown: str) -> None:
    """Of the family that the server listens on."""
    async with MediaServer(Settings(host=host, port=0)) as server:
        assert server.url == f"ws://{shown}:{server.service.port}/media"
        assert (await place_call(server.url, CallPlan(seconds=0.1))).problem is None


async def test_a_message_of_ones_own(serving: Serving) -> None:
    """It goes out as JSON, at most one in 20 ms; what is none is refused."""
    async with serving(bot("sends")) as server:
        async with FakeCall(server.url, CallPlan(), greet=True) as call:
            own = [{"event": "mine", "n": n} for n in range(10)]
            await soon(lambda: server.service.counters["own_messages"] == len(own))
            await soon(lambda: len(seen(call.plan)) == 2)
            took_s, errors = seen(call.plan)
            assert took_s >= 0.02 * (len(own) - 1)
            assert errors == ["ValueError", "ValueError", "ValueError"]


async def test_the_figures_so_far(serving: Serving) -> None:
    """``call.stats`` is the summary of a call that lives: no reason, what came and went."""
    async with serving(bot("facts"), "echo") as server:
        async with FakeCall(server.url, CallPlan(seconds=60.0)) as call:
            for _ in range(3):
                await call.send_payload(b"\x55" * 160)
            await soon(lambda: bool(seen(call.plan)) and seen(call.plan)[0].stats.frames_out == 3)
            (facts,) = seen(call.plan)
            stats = facts.stats
            assert (stats.reason, stats.frames_in, stats.frames_out) == ("", 3, 3)
            assert stats.reorder_wait_s == 0.06
