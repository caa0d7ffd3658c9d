"""The client's commands beside streaming, through the real server and the fake Telnyx."""

from __future__ import annotations

import asyncio

import pytest

from mediaserver.carrier.rest.habits import Habits
from mediaserver.carrier.rest.webhooks import WebhookFaults
from mediaserver.control import BoundActions
from mediaserver.control.errors import NotFoundError, UnprocessableError
from mediaserver.control.events import (
    CallBridged,
    CallHangup,
    CallInitiated,
    DtmfReceived,
    PlaybackEnded,
    RecordingSaved,
    SpeakEnded,
)
from tests.carrier.rest.world import world
from tests.control.test_end_to_end import World as Whole
from tests.control.test_end_to_end import world as whole_world
from tests.server.watching import soon

QUICK = Habits(answer_after_s=0.0, s_per_character=0.01, file_s=0.1, transcript_every_s=0.01)


async def test_speech_and_files_are_heard() -> None:
    """``speak`` and ``start_playback`` reach the caller's ear, and are reported as typed events."""
    async with world(habits=QUICK) as w:
        call = await w.dialled()
        await w.actions.speak(call, payload="Hello there", voice="female")
        spoken = await w.until_event("call.speak.ended")
        assert isinstance(spoken, SpeakEnded)
        assert spoken.status == "completed"
        await w.actions.start_playback(call, audio_url="https://media.example.com/a.mp3")
        played = await w.until_event("call.playback.ended")
        assert isinstance(played, PlaybackEnded)
        assert (played.media_url, played.status) == ("https://media.example.com/a.mp3", "completed")
        ear = w.fake.calls[call].voice.ear
        assert ear.n_fed == round((0.11 + 0.1) * ear.rate_hz)
        assert max(abs(run.samples).max() for run in ear.runs) > 1000
        await w.actions.start_playback(call, media_name="music", loop="infinity")
        await w.until_event("call.playback.started", 2)
        await w.actions.stop_playback(call)
        await w.until_event("call.playback.ended", 2)


async def test_a_recording_is_saved_for_its_call() -> None:
    """Start, pause, resume, stop; the webhook finds its call though it does not name it."""
    async with world(habits=QUICK) as w:
        call = await w.dialled()
        await w.actions.start_recording(call, channels="dual", format="mp3")
        await w.actions.pause_recording(call)
        await w.actions.resume_recording(call)
        await w.actions.stop_recording(call)
        saved = await w.until_event("call.recording.saved")
        assert isinstance(saved, RecordingSaved)
        assert saved.call_control_id == call
        assert "call_control_id" not in saved.payload
        assert (saved.channels, list(saved.recording_urls)) == ("dual", ["mp3"])


async def test_digits_are_sent_and_received() -> None:
    """Ours are heard by the caller; the caller's are a typed event."""
    async with world(habits=QUICK) as w:
        call = await w.dialled()
        await w.actions.send_dtmf(call, digits="12#", duration_millis=100)
        assert w.fake.calls[call].voice.digits == "12#"
        assert w.fake.calls[call].voice.ear.n_fed == 3 * 800
        w.fake.calls[call].press("7")
        received = await w.until_event("call.dtmf.received")
        assert isinstance(received, DtmfReceived)
        assert (received.digit, received.from_) == ("7", "+1")


async def test_a_transfer_is_bridged() -> None:
    """Both legs report it, and bound actions can hang both up."""
    async with world(habits=QUICK) as w:
        bound = BoundActions(w.actions, await w.dialled())
        await bound.transfer(to="+13125550100", from_="+3", target_leg_client_state="leg 2")
        bridged = [await w.until_event("call.bridged", n) for n in (1, 2)]
        assert all(isinstance(each, CallBridged) for each in bridged)
        second = await w.until_event("call.initiated", 2)
        assert isinstance(second, CallInitiated)
        assert (second.client_state, second.to) == (b"leg 2", "+13125550100")
        await bound.hangup()
        ends = [await w.until_event("call.hangup", n) for n in (1, 2)]
        assert {end.call_control_id for end in ends} == {
            bound.call_control_id,
            second.call_control_id,
        }
        assert (await bound.hangup()).was_already_so


async def test_bridge_gather_suppress_and_the_rest() -> None:
    """The other commands are taken; an unknown call is not found, though it is 422."""
    async with world(habits=QUICK) as w:
        first = await w.dialled()
        second = await w.client.calls.dial(connection_id="c", from_="+1", to=["+2", "+3"])
        await w.until_event("call.answered", 2)
        await w.actions.bridge(first, second.call_control_id, play_ringtone=False)
        await w.until_event("call.bridged", 2)
        await w.actions.gather_using_speak(first, payload="Pin?", voice="a", maximum_digits=4)
        await w.until_event("call.speak.ended")
        await w.actions.start_noise_suppression(first, direction="both")
        await w.actions.stop_noise_suppression(first)
        await w.actions.command(first, "siprec_start", connector_name="x")
        with pytest.raises(NotFoundError) as caught:
            await w.actions.bridge(first, "v3:nobody")
        assert (caught.value.status, caught.value.code) == (422, "90015")


async def test_transcription_of_each_engine_is_taken_by_the_fake() -> None:
    """What the client sends is what the fake, by its own table, takes."""
    async with world(habits=QUICK) as w:
        call = await w.dialled()
        configs: list[tuple[str, dict[str, object]]] = [
            ("Google", {"model": "phone_call", "hints": ["a"]}),
            ("A", {"language": "en"}),
            ("Telnyx", {"transcription_model": "openai/whisper-large-v3-turbo"}),
            ("B", {}),
            ("Deepgram", {"transcription_model": "deepgram/nova-3", "keyterms": ["a"]}),
            ("Azure", {"region": "westeurope", "api_key_ref": "k"}),
            *[
                (engine, {"language": "en"})
                for engine in (
                    *("xAI", "AssemblyAI", "Speechmatics", "Soniox"),
                    *("Parakeet", "Humain", "Reson8", "Cohere"),
                )
            ],
        ]
        for engine, config in configs:
            started = await w.actions.start_transcription(
                call, transcription_engine=engine, transcription_engine_config=config
            )
            assert not started.was_already_so
            await w.actions.stop_transcription(call)
        assert (await w.actions.start_transcription(call)).was_already_so is False
        assert (await w.actions.start_transcription(call)).was_already_so
        with pytest.raises(UnprocessableError) as caught:
            await w.actions.start_recording(call, channels="single", format="wav", timeout_secs=3)
        assert caught.value.code == "90053"


async def test_an_unanswered_call_is_told_with_its_cause() -> None:
    """The hang-up is typed, with quality as numbers; no stream ever started."""
    async with world(habits=Habits(answer="never", ring_s=0.1)) as w:
        await w.client.calls.dial(
            connection_id="c", from_="+1", to="+2", stream_url=w.media_url, timeout_secs=40
        )
        ended = await w.until_event("call.hangup")
        assert isinstance(ended, CallHangup)
        assert (ended.hangup_cause, ended.hangup_source) == ("timeout", "unknown")
        assert ended.call_quality_stats is not None
        assert ended.call_quality_stats.inbound["mos"] == 4.5
        assert w.wire() == ["connected"]
        assert w.types() == ["call.initiated", "call.hangup"]


async def answered_incoming(w: Whole) -> str:
    call = w.fake.ring().call_control_id
    await w.until_event("streaming.started")
    await w.until_heard(call)
    return call


async def test_an_incoming_call_is_answered_and_then_streamed() -> None:
    """``serve --answer`` with a token: two commands, and no token in any URL."""
    async with whole_world() as w:
        w.fake._habits = Habits(up_after_s=0.3)
        call = await answered_incoming(w)
        done = [c for c in w.fake.commanded if c.call_control_id == call]
        assert done[0].command == "answer"
        assert {c.command for c in done[1:]} == {"streaming_start"}
        assert "stream_url" not in done[0].body
        assert done[-1].status == 200
        assert done[-1].body["stream_url"].endswith("/media")
        assert "stream_auth_token" in done[-1].body
        await w.actions.speak(call, payload="Hello", voice="female")
        await w.until_event("call.speak.ended")


async def test_a_dialled_call_that_rings_is_streamed_when_it_is_answered() -> None:
    """Its socket rings along at the real server, and echoes once ``start`` has come."""
    async with whole_world() as w:
        w.fake._habits = Habits(answer_after_s=1.0)
        call = await w.client.calls.dial(connection_id="c", from_="+1", to="+2", stream=True)
        assert w.server.service.n_calls == 0
        await w.until_event("streaming.started")
        await w.until_heard(call.call_control_id)
        assert w.server.service.counters["unanswered"] == 0


async def test_an_unanswered_call_is_not_started_again() -> None:
    """With ``auto_restart`` on: it is counted, and no command follows it."""
    async with whole_world() as w:
        restarter = w.server._relations._restarter
        assert restarter is not None
        restarter._limits = type(restarter._limits)(grace_s=0.0, base_s=0.01)
        w.fake._habits = Habits(answer="never", ring_s=0.3)
        await w.client.calls.dial(connection_id="c", from_="+1", to="+2", stream=True)
        ended = await w.until_event("call.hangup")
        assert isinstance(ended, CallHangup)
        assert ended.hangup_cause == "timeout"
        await soon(lambda: w.server.service.counters["unanswered"] == 1)
        await asyncio.sleep(0.2)  # more than a restart would wait
        assert [c.command for c in w.fake.commanded] == ["dial"]
        assert w.server.service.n_calls == 0


async def test_webhooks_of_the_quickstart_are_read() -> None:
    """Without an envelope, but signed by Ed25519: handled like any other."""
    async with world(habits=QUICK, webhook_faults=WebhookFaults(shape="quickstart")) as w:
        call = await w.dialled()
        answered = await w.until_event("call.answered")
        assert answered.call_control_id == call
        assert answered.occurred_at is not None


async def test_webhooks_of_version_1_are_refused() -> None:
    """An application made over the API: every delivery is answered 401, none is handled."""
    async with world(habits=QUICK, webhook_faults=WebhookFaults(shape="v1")) as w:
        w.fake.webhooks.retry_s = 0.0
        await w.client.calls.dial(connection_id="c", from_="+1", to="+2")
        await w.fake.webhooks.flush()
        statuses = {delivery.status for delivery in w.fake.webhooks.deliveries}
        assert statuses == {401}
        assert w.events == []
