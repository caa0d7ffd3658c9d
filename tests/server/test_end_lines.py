"""The line at the end of a call names its trouble in words."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from typing import Any

import numpy as np
import pytest

from mediaserver.carrier import CallPlan, FakeCall, place_call
from mediaserver.carrier.plan import Faults
from mediaserver.observer import TROUBLES, CallSummary
from mediaserver.processors.api import Call, processor
from mediaserver.settings import ProcessorSetting
from tests.server.conftest import Serving
from tests.server.rawclient import RawCall, text
from tests.server.workers.crews import soon

in_both = pytest.mark.parametrize("workers", [1, 2])


@processor
async def dawdles(call: Call) -> None:
    """Takes one frame, and never the next."""
    async for _ in call.frames():
        await asyncio.Event().wait()


@processor
async def talks(call: Call) -> None:
    """A minute at once: more than buffers hold."""
    await call.play(np.zeros(48000 * 60, np.int16), rate=48000)
    async for _ in call.events():
        pass


def bot(name: str) -> ProcessorSetting:
    return ProcessorSetting(f"{__name__}:{name}")


def trouble(caplog: pytest.LogCaptureFixture, call_id: str) -> str:
    """What the end line of a call says behind "trouble"; nothing if it has none."""
    (line,) = [
        r.getMessage()
        for r in caplog.records
        if r.getMessage().startswith(f"call {call_id} ended: ")
    ]
    return line.partition("; trouble: ")[2]


async def burst(call: FakeCall, n_frames: int) -> None:
    """So many frames at once."""
    for _ in range(n_frames):
        await call.send_payload(bytes([40]) * 160)


async def place(server: Any, plan: CallPlan, caplog: pytest.LogCaptureFixture) -> str:
    await place_call(server.url, plan)
    await soon(lambda: server.service.n_calls == 0)
    return trouble(caplog, plan.call_control_id)


@pytest.mark.long
async def test_four_troubles_four_lines(serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    """30 % lost, cut abruptly, a stall of 2 s, a reader that is too slow: each says which."""
    caplog.set_level(logging.INFO)
    async with serving("echo") as server:
        lossy = await place(server, CallPlan(seconds=4, faults=Faults(drop=0.3), seed=3), caplog)
        cut = await place(server, CallPlan(seconds=2, faults=Faults(abrupt_close_at_s=1)), caplog)
        stall = CallPlan(seconds=4, faults=Faults(stall=(0.6, 2.0)))
        stalled = await place(server, stall, caplog)
    async with serving(bot("dawdles"), handler_grace_s=0) as server:
        async with FakeCall.connect(server.url, CallPlan()) as call:
            await burst(call, 520)
            await call.hang_up()
        await soon(lambda: server.service.n_calls == 0)
        slow = trouble(caplog, call.plan.call_control_id)
    # Where the machine stands still meanwhile, that is said beside.
    (percent,) = re.findall(r"(\d+) % of the audio lost", lossy)
    assert 20 <= int(percent) <= 40
    assert "its socket was cut without `stop`" in cut
    (stalled_s,) = re.findall(r"audio held back for (\d+\.\d) s", stalled)
    assert float(stalled_s) >= 1.5
    # 500 wait at most, also of those that came before the handler began; it takes one.
    (n_dropped,) = re.findall(r"a handler was too slow for (\d+) frames", slow)
    assert int(n_dropped) in (19, 20)
    assert len({lossy, cut, stalled, slow}) == 4
    for line, others in ((lossy, "cut|slow"), (cut, "lost|slow"), (stalled, "lost|cut|slow")):
        assert not re.search(others, line)


async def test_a_peer_that_reads_too_slowly(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    """The far end that does not take what is sent is named, with the time."""
    caplog.set_level(logging.INFO)
    async with serving(
        bot("talks"), send_codec="L16", send_rate=48000, lead_ms=None, handler_grace_s=0
    ) as server:
        port = server.service.port
        call = await asyncio.to_thread(RawCall, port)
        call.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await asyncio.to_thread(call.begin)
        await soon(lambda: server.service.n_calls == 1)
        (session,) = server.service.sessions.values()  # type: ignore[attr-defined]  # one process
        await soon(lambda: session.outbound.blocked_s > 0.6)
        stop = {"event": "stop", "sequence_number": "2", "stop": {}, "stream_id": call.stream_id}
        await asyncio.to_thread(call.send, text(stop))
        await soon(lambda: session.ended)
        call.socket.close()
        await soon(lambda: server.service.n_calls == 0)
        said = trouble(caplog, call.call_control_id)
    assert re.search(r"the far end read too slowly for \d+\.\d s", said)


async def test_a_good_call_names_no_trouble(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    """Reordered and doubled chunks are none, nor is a hold."""
    caplog.set_level(logging.INFO)
    faults = Faults(reorder_window=2, duplicate=0.2)
    async with serving("echo", reorder_wait_ms=2000) as server:
        mixed_up = await place(server, CallPlan(seconds=1, faults=faults), caplog)
        held = CallPlan(seconds=2.5, holds=[("inbound", 0.3, 0.8)])
        with_hold = await place(server, held, caplog)
    for said in (mixed_up, with_hold):
        # A machine that stands still meanwhile is a stall.
        assert re.fullmatch(r"(audio held back for \d+\.\d s)?", said)


@in_both
async def test_drops_are_said_while_the_call_lives(
    serving: Serving, workers: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """A handler 10 s behind, with the call's id, here or in a worker: once, not for each frame."""
    logging.getLogger("mediaserver").setLevel(logging.INFO)
    handler = logging.StreamHandler()
    logging.getLogger("mediaserver").addHandler(handler)
    try:
        async with serving(bot("dawdles"), handler_grace_s=0, workers=workers) as server:
            async with FakeCall.connect(server.url, CallPlan()) as call:
                said = ""
                async with asyncio.timeout(20):
                    while "behind its frames()" not in said:
                        await burst(call, 300)
                        await asyncio.sleep(0.2)
                        said += capfd.readouterr().err
                await asyncio.sleep(1.2)  # the next look has come
                said += capfd.readouterr().err
                await call.hang_up()
            await soon(lambda: server.service.n_calls == 0)
    finally:
        logging.getLogger("mediaserver").removeHandler(handler)
        logging.getLogger("mediaserver").setLevel(logging.NOTSET)
    lines = [line for line in said.splitlines() if "behind its frames()" in line]
    assert len(lines) == 1
    assert call.plan.call_control_id in lines[0]
    assert "dawdles" in lines[0]


async def test_late_live_audio_is_said(serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    """What waited for longer than ``backlog_ms`` is dropped, and a line says so."""
    async with serving("echo", backlog_ms=40) as server:
        async with FakeCall.connect(server.url, CallPlan()) as call:
            async with asyncio.timeout(20):
                while not any("backlog_ms" in r.getMessage() for r in caplog.records):
                    await burst(call, 50)
                    await asyncio.sleep(0.1)
            await call.hang_up()
        await soon(lambda: server.service.n_calls == 0)
    (line,) = [r.getMessage() for r in caplog.records if "backlog_ms" in r.getMessage()]
    assert line.startswith(f"call {call.plan.call_control_id}: live audio is dropped: ")


def summary(**figures: Any) -> CallSummary:
    return CallSummary(**{"call_id": "c", "reason": "stop", "codec": "PCMU", **figures})


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({"frames_in": 500}, ()),
        ({"frames_in": 500, "lost": 4}, ()),
        ({"frames_in": 70, "lost": 30}, ("30 % of the audio lost",)),
        ({"frames_in": 100, "late": 7}, ("7 % of the audio came too late",)),
        ({"frames_in": 100, "refused": 9}, ("9 messages refused",)),
        ({"duration_s": 5.0}, ("no audio came",)),
        ({"reason": "worker", "codec": ""}, ("lost with its worker",)),
        ({"frames_in": 9, "dropped_s": 1.25}, ("1.2 s of live audio dropped",)),
        ({"frames_in": 9, "plays": {"failed": 2}}, ("2 plays failed",)),
        ({"frames_in": 9, "processor_errors": 1}, ("a processor failed",)),
        (
            {"frames_in": 500, "duration_s": 10.0, "peak_dbfs": -72.3},
            ("all that came was digital silence",),
        ),
        ({"frames_in": 500, "duration_s": 10.0, "peak_dbfs": -60.0}, ()),
        ({"frames_in": 9, "hints": {"no_marks": "…"}}, ("audio was sent and no mark came back",)),
        ({"frames_in": 9, "errors": {"100004": 2}}, ("Telnyx refused 2 messages",)),
        (
            {"frames_in": 9, "echo_delay_s": 0.35},
            ("the bot hears itself, 0.35 s later",),
        ),
        (
            {"frames_in": 9, "held_up_s": 1.0, "held_up_by": "processor x of call y at z"},
            ("held up for 1.0 s by processor x of call y at z",),
        ),
        ({"frames_in": 9, "holds_up_s": 1.0}, ("held up other calls for 1.0 s",)),
        (
            {"frames_in": 9, "can_play": True, "spoken_s": 4.0},
            ("the caller spoke for 4 s and the bot said nothing",),
        ),
        ({"frames_in": 9, "can_play": True, "spoken_s": 2.0}, ()),
        ({"frames_in": 9, "can_play": True, "spoken_s": 4.0, "has_played": True}, ()),
        ({"frames_in": 9, "can_play": True, "spoken_s": 4.0, "commands": {"speak": 1}}, ()),
        ({"frames_in": 9, "spoken_s": 4.0}, ()),
        (
            {"frames_in": 9, "reason": "lost", "blocked_s": 3.0},
            ("its socket was cut without `stop`", "the far end read too slowly for 3.0 s"),
        ),
    ],
)
def test_troubles_in_words(figures: dict[str, Any], said: tuple[str, ...]) -> None:
    """Each by its own figure; what does not matter is not named."""
    assert tuple(summary(**figures).troubles.values()) == said
    assert summary(**figures).line().endswith(said[-1] if said else "")


def test_every_trouble_is_defined() -> None:
    """The table of the pages has all names that there are, and no others."""
    judged = summary()
    names = [*judged._judged_ends(), *judged._judged_audio(), *judged._judged_processors()]
    assert {name for name, _, _ in names} == set(TROUBLES)
