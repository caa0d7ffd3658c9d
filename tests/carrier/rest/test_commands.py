"""The commands beside streaming: what is heard, recorded, joined, and what is reported of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mediaserver.carrier.plan import CallPlan
from mediaserver.carrier.rest.habits import Habits
from mediaserver.carrier.rest.streams import MediaRequest, default_plan
from mediaserver.carrier.rest.voice import Voice
from tests.carrier.rest.raw import Raw, raw

QUICK = Habits(answer_after_s=0.0, s_per_character=0.01, file_s=0.1)


def pitches_hz(voice: Voice, from_s: float, to_s: float, n: int = 1) -> list[int]:
    """The ``n`` loudest pitches that were audible in a stretch, to the nearest 10 Hz."""
    heard = voice.ear.between(from_s, to_s).astype(float)
    strength = np.abs(np.fft.rfft(heard * np.hanning(len(heard)), 8000))
    found: list[int] = []
    for _ in range(n):
        loudest = int(np.argmax(strength))
        found.append(10 * round(loudest / 10))
        strength[max(0, loudest - 40) : loudest + 40] = 0
    return sorted(found)


async def test_speech_is_heard_as_a_tone() -> None:
    """``speak`` is audible for as long as its text, between its two webhooks."""
    async with raw(habits=QUICK) as r:
        call = await r.dialled()
        await r.act(
            call, "speak", payload="Hello, who is there?", voice="female", client_state="aGk="
        )
        started = await r.until_event("call.speak.started")
        ended = await r.until_event("call.speak.ended")
        assert started["call_control_id"] == ended["call_control_id"] == call
        assert (ended["status"], ended["client_state"]) == ("completed", "aGk=")
        voice = r.call(call).voice
        assert voice.ear.heard_s(voice.now()) == pytest.approx(0.2)
        [run] = voice.ear.runs
        assert pitches_hz(voice, run.start_s, run.end_s) == [300]


async def test_speech_and_files_wait_for_one_another() -> None:
    """What comes while something is heard is heard after it; a file is another tone."""
    async with raw(habits=QUICK) as r:
        call = await r.dialled()
        await r.act(call, "speak", payload="0123456789", voice="a", loop=2)
        file = {"audio_url": "https://media.example.com/a.mp3", "overlay": False}
        await r.act(call, "playback_start", **file)
        ended = await r.until_event("call.playback.ended")
        names = ("media_url", "overlay", "status", "status_detail")
        assert [ended[name] for name in names] == [file["audio_url"], False, "completed", "none"]
        await r.until_event("call.speak.ended")
        # Deliveries may overtake one another, on a busy machine.
        events = sorted((b["data"] for b in r.bodies()), key=lambda event: event["occurred_at"])
        assert [event["event_type"] for event in events[-4:]] == [
            *("call.speak.started", "call.speak.ended"),
            *("call.playback.started", "call.playback.ended"),
        ]
        voice = r.call(call).voice
        [run] = voice.ear.runs
        assert run.end_s - run.start_s == pytest.approx(0.3)
        assert pitches_hz(voice, run.start_s, run.start_s + 0.2) == [300]
        assert pitches_hz(voice, run.start_s + 0.2, run.end_s) == [600]


async def test_playback_is_stopped() -> None:
    """``playback_stop`` ends an endless file at once."""
    async with raw(habits=QUICK) as r:
        call = await r.dialled()
        await r.act(call, "playback_start", media_name="music", loop="infinity")
        assert (await r.until_event("call.playback.started"))["media_name"] == "music"
        await r.act(call, "playback_stop", stop="all")
        assert (await r.until_event("call.playback.ended"))["status"] == "cancelled"
        voice = r.call(call).voice
        assert voice.ear.queued_s(voice.now()) == 0


async def test_a_hang_up_cuts_speech_short() -> None:
    """The status of what was not heard to its end is ``call_hangup``."""
    async with raw(habits=QUICK) as r:
        call = await r.dialled()
        await r.act(call, "gather_using_speak", payload="a" * 1000, voice="b", minimum_digits=1)
        await r.until_event("call.speak.started")
        await r.act(call, "hangup")
        assert (await r.until_event("call.speak.ended"))["status"] == "call_hangup"
        await r.until_event("call.hangup")


async def test_digits_are_heard() -> None:
    """``send_dtmf`` is heard as digits, and as their two tones; w is a pause."""
    async with raw(habits=QUICK) as r:
        call = await r.dialled()
        await r.act(call, "send_dtmf", digits="1w#", duration_millis=200)
        voice = r.call(call).voice
        assert voice.digits == "1#"
        [run] = voice.ear.runs
        at_s = run.start_s
        assert pitches_hz(voice, at_s, at_s + 0.2, 2) == [700, 1210]
        assert not voice.ear.between(at_s + 0.2, at_s + 0.4).any()
        assert pitches_hz(voice, at_s + 0.4, at_s + 0.6, 2) == [940, 1480]


async def test_a_key_press_is_reported_twice() -> None:
    """By webhook, and by message where the call streams."""
    async with raw(habits=QUICK) as r:
        call = await r.dialled(stream_url=r.media_url)
        await r.until(lambda: "start" in r.wire)
        r.call(call).press("5")
        received = await r.until_event("call.dtmf.received")
        assert [received[n] for n in ("digit", "from", "to")] == [
            "5",
            "+13122010094",
            "+13122123456",
        ]
        await r.until(lambda: "dtmf" in r.wire)


async def recorded(r: Raw, call: str) -> None:
    await r.act(call, "record_start", channels="dual", format="mp3")
    [recording] = r.call(call).recordings.running
    await r.act(call, "record_pause", recording_id=recording.recording_id)
    assert recording.is_paused
    await r.act(call, "record_resume")
    assert not recording.is_paused


@pytest.mark.parametrize("how", ["record_stop", "hangup"])
async def test_a_recording_is_saved_by_its_leg(how: str) -> None:
    """Stopped or hung up: ``call.recording.saved`` names the leg, and not the call."""
    async with raw(habits=QUICK) as r:
        call = await r.dialled()
        await recorded(r, call)
        await r.act(call, how)
        saved = await r.until_event("call.recording.saved")
        assert "call_control_id" not in saved
        assert saved["call_leg_id"] == r.call(call).call_leg_id
        assert saved["channels"] == "dual"
        assert saved["recording_started_at"] < saved["recording_ended_at"]
        assert list(saved["recording_urls"]) == ["mp3"]
        assert saved["public_recording_urls"] == {}


async def test_another_recording_is_left_alone() -> None:
    """A recording is stopped by its own id, or by none."""
    async with raw(habits=QUICK) as r:
        call = await r.dialled()
        await r.act(call, "record_start", channels="dual", format="wav")
        await r.act(call, "record_stop", recording_id="another")
        assert len(r.call(call).recordings.running) == 1
        await r.act(call, "record_stop")
        assert r.call(call).recordings.running == []


async def test_a_transfer_dials_and_joins() -> None:
    """The new leg rings, is answered, and both are bridged; hanging up ends both."""
    async with raw(habits=QUICK) as r:
        call = await r.dialled()
        state = {"target_leg_client_state": "aGk=", "from": "+3"}
        await r.act(call, "transfer", to="+13125550100", **state)
        bridged = [await r.until_event("call.bridged", n) for n in (1, 2)]
        leg = r.call(call).joined
        assert leg is not None
        assert {each["call_control_id"] for each in bridged} == {call, leg.call_control_id}
        assert [bridged[1][n] for n in ("from", "to")] == ["+3", "+13125550100"]
        second = await r.until_event("call.initiated", 2)
        assert (second["client_state"], second["direction"]) == ("aGk=", "outgoing")
        assert leg.call_session_id == r.call(call).call_session_id
        await r.act(call, "hangup")
        await r.until_event("call.hangup", 2)


async def test_a_transfer_nobody_answers_leaves_the_call() -> None:
    """The new leg ends by its time limit; the call goes on, unbridged."""
    async with raw(habits=QUICK) as r:
        call = await r.dialled()
        r.call(call).habits = Habits(answer="never", ring_s=0.05)
        r.fake._habits = r.call(call).habits
        await r.act(call, "transfer", to="+2", timeout_secs=5)
        assert (await r.until_event("call.hangup"))["hangup_cause"] == "timeout"
        assert r.call(call).state == "answered"
        assert "call.bridged" not in r.types()


async def test_two_calls_are_bridged() -> None:
    """``bridge`` joins a call with another that is there."""
    async with raw(habits=QUICK) as r:
        first, second = await r.dialled(), await r.dial()
        await r.until_event("call.answered", 2)
        await r.act(first, "bridge", call_control_id=second, play_ringtone=True)
        ids = {(await r.until_event("call.bridged", n))["call_control_id"] for n in (1, 2)}
        assert ids == {first, second}


async def test_a_call_that_has_ended_is_not_joined() -> None:
    """Bridging with it is refused with 90018."""
    async with raw(habits=QUICK) as r:
        first, second = await r.dialled(), await r.dial()
        await r.until_event("call.answered", 2)
        r.call(second).hang_up()
        assert await r.refused(first, "bridge", call_control_id=second) == (422, "90018")


async def test_noise_suppression_is_remembered() -> None:
    """It runs until it is stopped."""
    async with raw(habits=QUICK) as r:
        call = await r.dialled()
        await r.act(call, "suppression_start", direction="both")
        assert r.call(call).suppression == {"direction": "both"}
        await r.act(call, "suppression_stop")
        assert r.call(call).suppression is None


@pytest.mark.parametrize(
    "action",
    [
        *("refer", "enqueue", "leave_queue", "client_state_update", "gather", "gather_stop"),
        *("gather_using_audio", "send_sip_info", "siprec_start", "siprec_stop"),
        *("switch_supervisor_role", "conversation_relay_start", "conversation_relay_stop"),
        *("ai_assistant_start", "ai_assistant_stop"),
    ],
)
async def test_all_other_actions_are_taken(action: str) -> None:
    """They are agreed to, and do nothing here."""
    async with raw(habits=QUICK) as r:
        call = await r.dialled()
        await r.act(call, action, any_field={"at": "all"})
        assert r.call(call).state == "answered"


async def test_an_incoming_call_can_be_rejected() -> None:
    """``reject`` ends it before it is answered."""
    async with raw(habits=QUICK) as r:
        call = r.fake.ring().call_control_id
        await r.act(call, "reject", cause="CALL_REJECTED")
        assert (await r.until_event("call.hangup"))["hangup_cause"] == "call_rejected"
        other = await r.dialled()
        assert await r.refused(other, "reject") == (422, "10015")


async def test_an_answer_may_take_its_time() -> None:
    """Until the call is up, a stream is refused with 90034."""
    async with raw(habits=Habits(up_after_s=0.2)) as r:
        call = r.fake.ring().call_control_id
        await r.act(call, "answer")
        assert await r.refused(call, "streaming_start", stream_url=r.media_url) == (422, "90034")
        await r.until_event("call.answered")
        await r.act(call, "streaming_start", stream_url=r.media_url)
        await r.until(lambda: "start" in r.wire)


async def test_the_events_of_a_call_say_what_telnyx_says() -> None:
    """``call.initiated`` and ``call.hangup`` carry the fields of protocol.md 4."""
    async with raw(habits=QUICK) as r:
        call = await r.dialled()
        initiated = await r.until_event("call.initiated")
        assert set(initiated) >= {
            *("direction", "state", "caller_id_name", "offered_codecs", "custom_headers"),
            *("sip_headers", "start_time", "tags", "from", "to"),
        }
        r.call(call).hang_up("callee")
        ended = await r.until_event("call.hangup")
        assert (ended["hangup_cause"], ended["hangup_source"]) == ("normal_clearing", "callee")
        assert ended["sip_hangup_cause"] == "200"
        assert ended["start_time"] < ended["end_time"]
        stats = ended["call_quality_stats"]
        assert set(stats) == {"inbound", "outbound"}
        assert set(stats["inbound"]) >= {"mos", "packet_count", "skip_packet_count"}
        assert all(isinstance(v, str) for side in stats.values() for v in side.values())


RAW_FRAME = '{"event":"media","media":{"payload":"' + "/" * 214 + '=="}}'
"""160 octets of 0xFF: 20 ms of silence in PCMU, and no MP3 file."""


async def test_raw_audio_in_mp3_mode_is_not_heard() -> None:
    """Mode mp3 is the default: raw audio is dropped without a word, and the stream goes on."""
    async with raw() as r:
        r.sends = [RAW_FRAME] * 50
        call = await r.dialled(stream_url=r.media_url)
        await r.until(lambda: r.wire.count("media") >= 12)
        stream = r.call(call).stream
        assert stream is not None
        assert stream.line is not None
        assert stream.line.intake.silent == {"not an mp3 file": 50}
        assert stream.line.intake.ear.n_fed == 0
        assert stream.line.record.complaints == []
        assert r.closed == []


def stops(request: MediaRequest) -> CallPlan:
    return replace(default_plan(request), raw_in_mp3="stop")


async def test_raw_audio_in_mp3_mode_may_stop_the_stream() -> None:
    """By a plan's wish: after nine inbound frames, as one report has it."""
    async with raw(habits=Habits(plan_for=stops, answer_after_s=0.0)) as r:
        r.sends = [RAW_FRAME]
        await r.dialled(stream_url=r.media_url)
        await r.until_event("streaming.stopped")
        assert (r.wire.count("media"), r.wire[-1], r.closed) == (9, "stop", [1000])
