"""Whole calls over real sockets: the fake Telnyx against the real server."""

from __future__ import annotations

import asyncio
import base64
import math
import wave
from pathlib import Path

import numpy as np
import pytest
from nacl.signing import SigningKey

from mediaserver.app.relations import Relations
from mediaserver.carrier import Audio, CallPlan, FakeCall, place_call, place_calls, speech
from mediaserver.carrier.messages import MediaIn
from mediaserver.control import WebhookReceiver
from mediaserver.control.events import Event
from mediaserver.observer import CallSummary, ReportedEvent, StreamRequest
from mediaserver.processors.api import Dtmf, Hint, Stop, StreamError
from mediaserver.server.service import SingleProcessService
from mediaserver.server.sockets import poller
from mediaserver.settings import Settings
from tests.server.conftest import Serving, bot
from tests.server.watching import seen, soon

SECONDS = 1.0


@pytest.mark.parametrize(("codec", "rate"), [("PCMU", 8000), ("PCMA", 8000), ("L16", 16000)])
@pytest.mark.parametrize("processor", ["echo", bot("echo_handler")])
async def test_echo_is_bit_exact(
    serving: Serving, codec: str, rate: int, processor: object
) -> None:
    """Every sample that was sent comes back as it was, once and in order."""
    plan = CallPlan(codec=codec, rate_hz=rate, seconds=SECONDS)
    async with serving(processor) as server:
        report = await place_call(server.url, plan)
    assert report.problem is None
    assert (report.bit_exact, report.lost, report.snr_db) == (True, 0, math.inf)
    assert report.sent == report.returned == round(SECONDS / 0.02)


@pytest.mark.parametrize("poll_ms", [0, 10])
async def test_polled_or_not_echo_is_bit_exact(
    serving: Serving, poll_ms: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve calls read one by one, and read together every 10 ms, come back as they were."""
    monkeypatch.setattr(poller, "BUSY", 200)
    monkeypatch.setattr(poller, "QUIET", 100)
    plans = [CallPlan(codec="PCMA", seconds=SECONDS) for _ in range(12)]
    async with serving("echo", poll_ms=poll_ms) as server:
        service = server.service
        assert isinstance(service, SingleProcessService)
        calls = asyncio.create_task(place_calls(server.url, plans))
        if poll_ms:
            await soon(lambda: service.is_polling)
        reports = await calls
        assert poll_ms or not service.is_polling
    assert [(r.problem, r.bit_exact, r.lost) for r in reports] == [(None, True, 0)] * 12


async def test_a_session_that_ends_late_does_not_end_its_successor() -> None:
    """A call begun anew while its old handlers have their grace is one call to who observes."""
    noted: list[tuple[str, str]] = []

    class Observer:
        def opened(self, call_id: str, request: StreamRequest, webhook: object) -> None:
            noted.append(("opened", call_id))

        def lost(self, call_id: str) -> None:
            noted.append(("lost", call_id))

        def closed(self, summary: CallSummary) -> None:
            noted.append((summary.reason, summary.call_id))

    settings = Settings(
        port=0, processors=(bot("stubborn"),), handler_grace_s=0.5, reconnect_grace_s=0
    )
    service = SingleProcessService(settings, observer=Observer())
    await service.start()
    url = f"ws://127.0.0.1:{service.port}/media"
    first = CallPlan(seconds=0.1)
    await place_call(url, first)
    call_id = first.call_control_id
    await place_call(url, CallPlan(seconds=1.0, call_control_id=call_id))
    assert noted == [("opened", call_id), ("opened", call_id)]
    await soon(lambda: service.n_calls == 0)
    assert noted[2:] == [("stop", call_id)]
    await service.close()


async def test_webhooks_go_to_the_newest_session() -> None:
    """What opens a call again hears its events from then on, and the one before no more."""
    key = base64.b64encode(bytes(SigningKey.generate().verify_key)).decode()
    webhooks = WebhookReceiver([key])
    relations = Relations(None, webhooks, None)
    old: list[ReportedEvent] = []
    new: list[ReportedEvent] = []
    request = StreamRequest("PCMU", 8000, "rtp")
    for heard in (old, new, new):
        relations.opened("c-1", request, heard.append)
    event = Event(id="1", event_type="call.hangup", call_control_id="c-1")
    webhooks.dispatch(event)
    assert (old, new) == ([], [event]), "and once, although its socket was renewed"
    relations.closed(CallSummary(call_id="c-1", reason="stop"))
    webhooks.dispatch(event)
    assert new == [event]


async def test_every_pcmu_code_but_one_comes_back(serving: Serving) -> None:
    """All 256 octets are echoed; 0x7F, the other zero, comes back as 0xFF."""
    codes = bytes(range(256)) + bytes(range(64))
    plan = CallPlan(payloads=[codes[:160], codes[160:]], seconds=0.04)
    async with serving("echo") as server, FakeCall.connect(server.url, plan) as call:
        await call.speak()
        media = [r.command.media.payload for r in call.received if isinstance(r.command, MediaIn)]
    back = b"".join(map(base64.b64decode, media))
    assert back == codes.replace(b"\x7f", b"\xff")


async def test_first_frames_reach_a_handler(serving: Serving) -> None:
    """Frames that come in the same read as ``start`` wait for the handler's first line."""
    plan = CallPlan(payloads=[b"\xff" * 160], seconds=0.2)
    async with serving(bot("listen")) as server:
        await place_call(server.url, plan)
        frames = seen(plan)
    assert [f.index for f in frames] == list(range(10))


async def test_a_call_knows_itself(serving: Serving) -> None:
    """Numbers, formats, state and parameters stand on the call."""
    plan = CallPlan(
        codec="PCMA",
        send_codec="L16",
        send_rate_hz=16000,
        seconds=0.1,
        custom_parameters={"customer_id": "c-1"},
    )
    async with serving(bot("facts")) as server:
        await place_call(server.url, plan)
    call = seen(plan)[0]
    assert call.id == plan.call_control_id
    assert (call.codec, call.rate, call.send_codec, call.send_rate) == (
        "PCMA",
        8000,
        "L16",
        16000,
    )
    assert call.parameters["customer_id"] == "c-1"
    assert call.stream_id == plan.stream_id


async def test_a_handler_gets_its_rate(serving: Serving) -> None:
    """Frames are resampled to what the handler declares, 20 ms each."""
    plan = CallPlan(seconds=0.4)
    async with serving(bot("wide")) as server:
        await place_call(server.url, plan)
    frames = seen(plan)
    assert {(len(f.samples), f.rate) for f in frames} == {(320, 16000)}
    assert len(frames) == 20


async def test_filters_and_handlers_form_a_chain(serving: Serving) -> None:
    """Each hears what stands before it in the chain."""
    plan = CallPlan(
        codec="L16", rate_hz=16000, seconds=0.2, audio=Audio(np.full(320, 1000, np.int16), 16000)
    )
    async with serving(bot("listen"), bot("Half"), "echo") as server:
        async with FakeCall.connect(server.url, plan) as call:
            await call.speak()
            heard = call.intake.ear
    assert {int(f.samples[0]) for f in seen(plan)} == {1000}
    assert set(np.unique(heard.between(0, heard.end_s))) <= {0, 500}


async def test_events_come_typed_and_in_order(serving: Serving) -> None:
    """Digits by time of pressing, errors with their meaning, the end last."""
    plan = CallPlan(seconds=0.6)
    async with serving(bot("events")) as server:
        async with FakeCall.connect(server.url, plan) as call:
            for second, digit in ((2, "2"), (1, "1")):
                await call.send(
                    {
                        "event": "dtmf",
                        "stream_id": plan.stream_id,
                        "dtmf": {"digit": digit},
                        "occurred_at": f"2026-01-01T00:00:0{second}Z",
                        "sequence_number": "9",
                    }
                )
            await call.send(
                {
                    "event": "error",
                    "stream_id": plan.stream_id,
                    "error": {"code": "100005", "title": "rate_limit_reached"},
                }
            )
            await call.speak()
        await soon(lambda: server.service.n_calls == 0)
    events = seen(plan)
    assert [e.digit for e in events if isinstance(e, Dtmf)] == ["1", "2"]
    errors = [e for e in events if isinstance(e, StreamError)]
    assert errors[0].code == 100005
    assert "one mp3 message a second" in errors[0].meaning
    assert events[-1] == Stop("stop")


@pytest.mark.long
async def test_hints(serving: Serving) -> None:
    """Digital silence for ten seconds, and an outbound track under a bot that plays."""
    silent = CallPlan(payloads=[b"\xff" * 160], seconds=12.5)
    both = CallPlan(tracks="both", seconds=2.5)
    async with serving(bot("events"), "echo") as server:
        await place_calls(server.url, [silent, both])
    assert [e.name for e in seen(silent) if isinstance(e, Hint)] == ["silent"]
    assert [e.name for e in seen(both) if isinstance(e, Hint)] == ["hears_itself"]


async def test_a_bot_that_plays_nothing_does_not_hear_itself(serving: Serving) -> None:
    """No hint where only silence of ours was sent: a recorder may well want both tracks."""
    both = CallPlan(tracks="both", seconds=2.5)
    async with serving(bot("events"), keepalive=True) as server:
        report = await place_call(server.url, both)
    assert report.returned > 0
    assert [e for e in seen(both) if isinstance(e, Hint)] == []


# How a call may end, and that it ends once.


@pytest.mark.parametrize("how", ["stop", "close", "cut", "stop and cut"])
async def test_a_call_ends_once_whatever_ends_it(serving: Serving, how: str) -> None:
    """Stop, close and a cut connection each end the session exactly once."""
    plan = CallPlan(seconds=5.0)
    async with serving(bot("events"), "echo") as server:
        async with FakeCall.connect(server.url, plan) as call:
            await call.send_payload(b"\xff" * 160)
            await soon(lambda: server.service.n_calls == 1)
            if "stop" in how:
                await call.send({"event": "stop", "stop": {}, "stream_id": plan.stream_id})
            if "cut" in how:
                call.cut()
            if how == "close":
                await call._ws.close()
            await soon(lambda: server.service.n_calls == 0)
    ends = [e for e in seen(plan) if isinstance(e, Stop)]
    assert ends == [Stop("stop" if "stop" in how else "lost")]


async def test_a_stopped_call_is_closed_normally(serving: Serving) -> None:
    """After ``stop`` the server closes with 1000."""
    async with serving("echo") as server, FakeCall.connect(server.url, CallPlan()) as call:
        await call.send({"event": "stop", "stop": {}, "stream_id": call.plan.stream_id})
        await asyncio.wait_for(call.closed.wait(), 5)
        assert call.record.close_code == 1000


async def test_a_stubborn_handler_is_cancelled_after_its_grace(serving: Serving) -> None:
    """A handler that outlives its call gets its grace, then it is cancelled."""
    plan = CallPlan(seconds=0.1)
    async with serving(bot("stubborn"), handler_grace_s=0.1) as server:
        await place_call(server.url, plan)
        await soon(lambda: server.service.n_calls == 0)
    assert seen(plan) == ["cancelled"]


async def test_playing_after_the_end_is_refused(serving: Serving) -> None:
    """Once the grace is at work, ``play`` may still be called; it never crashes anything."""
    plan = CallPlan(seconds=0.1)
    async with serving(bot("after")) as server:
        await place_call(server.url, plan)
        await soon(lambda: server.service.n_calls == 0)
    assert seen(plan) in (["CallEndedError"], ["played"])


async def test_a_handler_can_hang_up(serving: Serving) -> None:
    """Without a control client, hanging up ends the stream."""
    plan = CallPlan(seconds=5.0)
    async with serving(bot("hangs_up")) as server:
        report = await place_call(server.url, plan)
    assert not report.hung_up
    assert report.close_code == 1000


async def test_on_return_hangup(serving: Serving) -> None:
    """Where set so, a call ends when its handlers have returned."""
    async with serving(bot("returns"), on_return="hangup") as server:
        report = await place_call(server.url, CallPlan(seconds=5.0))
    assert report.close_code == 1000
    assert report.sent < 100


# Processors that fail.


@pytest.mark.parametrize("name", ["raises", "Faulty"])
async def test_a_failing_processor_is_bypassed(serving: Serving, name: str) -> None:
    """It is counted, and the call and its other processors go on."""
    async with serving(bot(name), "echo", on_error="bypass") as server:
        report = await place_call(server.url, CallPlan(seconds=0.4))
        assert server.service.counters["processor_errors"] == 1
    assert report.echo_problem is None
    assert report.bit_exact


@pytest.mark.parametrize("name", ["raises", "Faulty"])
async def test_a_failing_processor_can_end_its_call(serving: Serving, name: str) -> None:
    """With ``on_error = end`` the call ends, and no other one does."""
    async with serving(bot(name), "echo", on_error="end") as server:
        report = await place_call(server.url, CallPlan(seconds=5.0))
    assert report.close_code == 1000
    assert not report.hung_up


# Recording.


async def test_recordings_hold_what_was_said(serving: Serving, tmp_path: Path) -> None:
    """Each track becomes a WAV file with exactly the decoded samples; a second one a number."""
    from mediaserver.settings import ProcessorSetting

    folder = str(tmp_path / "deep" / "er")
    record = ProcessorSetting("record", {"directory": folder, "layout": "tracks"})
    plan = CallPlan(
        codec="L16", rate_hz=16000, seconds=1.2, tracks="both", call_control_id="v3:../x y"
    )
    async with serving(record) as server:
        for _ in range(2):
            await place_call(server.url, plan)
    names = sorted(p.name for p in (tmp_path / "deep" / "er").iterdir())
    assert names == [
        "v3_x_y-2-inbound.wav",
        "v3_x_y-2-outbound.wav",
        "v3_x_y-2.json",
        "v3_x_y-inbound.wav",
        "v3_x_y-outbound.wav",
        "v3_x_y.json",
    ]
    with wave.open(str(tmp_path / "deep" / "er" / "v3_x_y-inbound.wav")) as file:
        samples = np.frombuffer(file.readframes(10**6), "<i2")
    said = speech().samples[: len(samples)]
    lead = int(np.argmax(samples != 0)) - int(np.argmax(said != 0))
    assert 0 <= lead < 16000 // 5
    assert np.array_equal(samples[lead:], said[: len(samples) - lead])
