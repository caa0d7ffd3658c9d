"""A call's summary says what was sent and what became of it, in one process and in workers."""

from __future__ import annotations

import asyncio
import base64
import time
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from mediaserver.app import MediaServer
from mediaserver.carrier import CallPlan, FakeCall, messages, place_call
from mediaserver.carrier.messages import MediaIn
from mediaserver.observer import CallSummary
from tests.server.conftest import BOTS, Serving, bot
from tests.server.following import Followed
from tests.server.playbots import HELD, call_of, level
from tests.server.workers.crews import IMPATIENT, EchoCall, call_to, crew, echoes, soon, worker_of

in_both = pytest.mark.parametrize("workers", [1, 2])

HALF_SCALE = np.full(160, 16384, np.int16).astype("<i2").tobytes()


async def chunk(call: FakeCall, number: int, payload: bytes = HALF_SCALE) -> None:
    """One media message with this chunk number."""
    text = base64.b64encode(payload).decode()
    sequence = call.next_sequence()
    await call.send(messages.media(sequence, "inbound", number, 0, text, call.stream_id))


def n_media(call: FakeCall) -> int:
    """Media messages that came back."""
    return sum(isinstance(r.command, MediaIn) for r in call.received)


async def first_socket(server: MediaServer, plan: CallPlan) -> int:
    """One chunk lost, one late, one twice, one unreadable, no JSON; a play is cut off.

    Returns:
        how many media messages came back.
    """
    async with FakeCall.connect(server.url, plan) as call:
        # 3 is given up at once: the server waits for none. In real time: what is ahead of it
        # needs no concealment.
        for number in (1, 2, 4, 3, 2):
            await asyncio.sleep(0.03)
            await chunk(call, number)
        await asyncio.sleep(0.03)
        await chunk(call, 5, b"\x00\x40\x00")  # half a sample
        await call.send("no JSON")
        await call.press("5")
        await call.wait_until(lambda: n_media(call) > 1)
        call.cut()
    return n_media(call)


async def second_socket(server: MediaServer, plan: CallPlan, keys: str) -> int:
    """600 good chunks, which nobody reads, then keys; the last one hangs up.

    Returns:
        how many media messages came back.
    """
    async with FakeCall.connect(server.url, plan) as call:
        for number in range(1, 601):
            await chunk(call, number)
        for key in keys:
            await call.press(key)
        await asyncio.wait_for(call.closed.wait(), 10)
    return n_media(call)


async def eventful_call(server: MediaServer, plan: CallPlan, followed: Followed) -> int:
    """Both sockets of a call; how many media messages came back at the least."""
    before = await first_socket(server, plan)
    await soon(lambda: followed.lost[plan.call_control_id] == 1)
    wide = replace(plan, stream_id="second", send_rate_hz=16000)
    n = before + await second_socket(server, wide, "123465" + "0")
    await soon(lambda: server.service.n_calls == 0)
    return n


@in_both
async def test_the_figures_are_those_of_what_was_sent(
    serving: Serving, followed: Followed, workers: int
) -> None:
    """Losses, plays, marks and errors over two sockets, the same wherever the call was."""
    plan = CallPlan(codec="L16", rate_hz=8000, seconds=60.0)
    began = time.time()
    async with serving(
        bot("Faulty"), bot("by_key"), reorder_wait_ms=0, reconnect_grace_s=10, workers=workers
    ) as server:
        n_out = await eventful_call(server, plan, followed)
    summary = followed.summary(plan.call_control_id)
    assert began <= summary.started_at <= time.time()
    # Not by ``started_at``: the two clocks are read one after the other.
    assert 0 < summary.duration_s < time.time() - began
    # What was on its way when the first socket was cut did not come back.
    assert n_out <= summary.frames_out <= n_out + 20
    assert summary.worker in ({None} if workers == 1 else {0, 1})
    assert (round(summary.peak_dbfs or 0, 2), round(summary.level_dbfs or 0, 2)) == (-6.02, -6.02)
    own = {"worker": None, "started_at": 0.0, "duration_s": 0.0, "frames_out": 0}
    own |= {"peak_dbfs": None, "level_dbfs": None, "stalled_s": 0.0, "spoken_s": 0.0, "hints": {}}
    assert msgspec.structs.replace(summary, **own) == expected(plan)


def expected(plan: CallPlan) -> CallSummary:
    """The summary of ``eventful_call``, without what differs from run to run."""
    return CallSummary(
        call_id=plan.call_control_id,
        reason="hangup",
        stream_id="second",
        caller="+13122010094",
        callee="+13122123456",
        codec="L16",
        rate_hz=8000,
        send_codec="L16",
        send_rate_hz=16000,
        send_mode="rtp",
        processors=(f"{BOTS}:Faulty", f"{BOTS}:by_key"),
        frames_in=604,
        lost=1,
        late=1,
        duplicate=1,
        concealed=2,
        refused=2,
        dropped_frames=105,
        can_play=True,
        has_played=True,
        plays={"played": 1, "cleared": 3, "failed": 2},
        marks={"played": 1, "cleared": 1},
        takeovers=1,
        processor_errors=1,
    )


async def test_the_log_line_names_the_trouble(
    serving: Serving, followed: Followed, caplog: pytest.LogCaptureFixture
) -> None:
    """One line a call holds every figure that is not 0, and no whole phone number."""
    caplog.set_level("INFO")
    plan = CallPlan(codec="L16", rate_hz=8000, seconds=60.0)
    async with serving(
        bot("Faulty"), bot("by_key"), reorder_wait_ms=0, reconnect_grace_s=10
    ) as server:
        await eventful_call(server, plan, followed)
    (line,) = [r.getMessage() for r in caplog.records if " ended: " in r.getMessage()]
    assert (
        line
        == f"call {plan.call_control_id} ended: {followed.summary(plan.call_control_id).line()}"
    )
    for said in (
        "reason hangup",
        "frames_in 604",
        "lost 1, late 1, duplicate 1, concealed 2, refused 2",
        "dropped_frames 105",
        "plays 3 cleared 2 failed 1 played",
        "marks 1 cleared 1 played",
        "takeovers 1",
        "processor_errors 1",
    ):
        assert f"{said}, " in f"{line}, "
    assert "3122" not in line


@in_both
async def test_a_good_call_has_no_trouble(
    serving: Serving, followed: Followed, workers: int
) -> None:
    """Echoed live, every frame is counted each way, and the line names no fault."""
    plan = CallPlan(seconds=0.5)
    async with serving("echo", workers=workers) as server:
        assert (await place_call(server.url, plan)).returned == 25
        await soon(lambda: server.service.n_calls == 0)
    summary = followed.summary(plan.call_control_id)
    assert (summary.frames_in, summary.frames_out, summary.reason) == (25, 25, "stop")
    assert (summary.codec, summary.send_codec, summary.send_rate_hz) == ("PCMU", "PCMU", 8000)
    for fault in (
        "lost",
        "late",
        "duplicate",
        "concealed",
        "refused",
        "dropped",
        "errors",
        "plays",
    ):
        assert fault not in summary.line()


async def test_live_audio_that_came_too_late_is_counted(
    serving: Serving, followed: Followed
) -> None:
    """Of two seconds at once, all but the backlog are dropped, in seconds."""
    plan = CallPlan(send_codec="L16", send_rate_hz=8000)
    async with serving(HELD, backlog_ms=200) as server:
        async with FakeCall.connect(server.url, plan):
            call = await call_of(plan)
            play = await call.play(level(1, 8000, 2.0), live=True)
            await play.finished()
        await soon(lambda: server.service.n_calls == 0)
    assert followed.summary(plan.call_control_id).dropped_s == pytest.approx(1.8, abs=0.05)


@pytest.mark.parametrize(
    ("how", "reason"), [("stop", "stop"), ("cut", "lost"), ("key", "hangup"), ("close", "shutdown")]
)
@in_both
async def test_the_summary_says_why_the_call_ended(
    serving: Serving, followed: Followed, how: str, reason: str, workers: int
) -> None:
    """By Telnyx' stop, a lost socket, the bot, or the server's own end: once each."""
    plan = CallPlan(seconds=60.0)
    async with serving(bot("by_key"), "echo", workers=workers) as server:
        async with EchoCall(server.url, plan) as call:
            assert await echoes(call, 0x33)
            if how == "cut":
                call.cut()
            elif how == "key":
                await call.press("0")
                await asyncio.wait_for(call.closed.wait(), 5)
            elif how == "close":
                await server.service.close()
        await soon(lambda: server.service.n_calls == 0)
    assert followed.summary(plan.call_control_id).reason == reason


async def test_a_call_lost_with_its_worker_is_known_by_three_facts(
    serving: Serving, followed: Followed
) -> None:
    """Its id, the number of the worker and the reason; the other worker's call is whole."""
    async with serving("echo", workers=2, limits=IMPATIENT) as server:
        async with call_to(server) as lost, call_to(server) as other:
            assert await echoes(lost, 0x41)
            assert await echoes(other, 0x42)
            worker = worker_of(server, lost)
            worker.kill()
            await soon(lambda: bool(followed.summaries[lost.plan.call_control_id]))
            assert await echoes(other, 0x43)
        await soon(lambda: crew(server).n_calls == 0)
    gone = CallSummary(call_id=lost.plan.call_control_id, reason="worker", worker=worker.index)
    assert followed.summary(lost.plan.call_control_id) == gone
    whole = followed.summary(other.plan.call_control_id)
    assert (whole.reason, whole.frames_in, whole.worker) == ("stop", 2, 1 - worker.index)
