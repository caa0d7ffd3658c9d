"""Commands to the fake Telnyx, their streams and their events."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from mediaserver.carrier.rest.api import FakeTelnyx
from mediaserver.carrier.rest.habits import Habits
from mediaserver.control.errors import ApiError
from mediaserver.control.events import StreamingFailed, Transcription
from tests.carrier.rest.world import world


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
        await w.actions.start_transcription(call, transcription_tracks="both")
        heard = await w.until_event("call.transcription", 3)
        assert isinstance(heard, Transcription)
        assert (heard.transcription_track, heard.is_final) == ("both", True)
        assert (await w.actions.start_transcription(call)).was_already_so
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
        assert (await w.actions.hangup(call)).was_already_so
        with pytest.raises(ApiError) as caught:
            await w.actions.start_transcription(call)
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


@pytest.mark.parametrize(("host", "shown"), [("::", "[::1]"), ("0.0.0.0", "127.0.0.1")])
async def test_the_base_url_names_an_address_that_works(host: str, shown: str) -> None:
    """Of the family that it listens on, where it listens everywhere."""
    async with FakeTelnyx(api_key="KEY", host=host) as fake:
        assert fake.base_url.startswith(f"http://{shown}:")
        async with httpx.AsyncClient() as client:
            assert (await client.post(f"{fake.base_url}/calls")).status_code == 401
