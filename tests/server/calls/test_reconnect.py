"""A call whose socket was lost, and sockets that want a call that is live."""

from __future__ import annotations

import asyncio
import wave
from pathlib import Path

import numpy as np
import pytest

from mediaserver.carrier import CallPlan, FakeCall, Faults, place_call
from mediaserver.media.frames import Frame
from mediaserver.processors.api import (
    Reconnected,
    Stop,
)
from tests.server.conftest import Serving, bot
from tests.server.watching import seen, soon


async def test_a_second_socket_takes_the_call_over(serving: Serving) -> None:
    """After a lost socket the call goes on with its state on the next one."""
    plan = CallPlan(seconds=1.5, reconnect_at_s=0.6)
    async with serving(bot("events"), bot("listen"), "echo", reconnect_grace_s=5) as server:
        report = await place_call(server.url, plan)
        await soon(lambda: server.service.n_calls == 0)
        assert server.service.counters["calls"] == 1
        assert server.service.counters["takeovers"] == 1
    assert report.reconnects == 1
    noted = seen(plan)
    assert sum(isinstance(e, Reconnected) for e in noted) == 1
    assert [e for e in noted if isinstance(e, Stop)] == [Stop("stop")]
    indices = [f.index for f in noted if isinstance(f, Frame)]
    assert indices == list(range(len(indices))), "the handler reads on, numbering unbroken"


async def test_another_codec_may_come_with_the_second_socket(serving: Serving) -> None:
    """The call says what it is now, and frames go on at the new rate."""
    first = CallPlan(seconds=0.3, faults=Faults(abrupt_close_at_s=0.3))
    second = CallPlan(
        codec="L16", rate_hz=16000, seconds=0.3, call_control_id=first.call_control_id
    )
    async with serving(bot("facts"), bot("listen"), reconnect_grace_s=5) as server:
        await place_call(server.url, first)
        report = await place_call(server.url, second)
        assert report.problem is None
    call, *frames = seen(first)
    assert (call.codec, call.rate, call.send_codec) == ("L16", 16000, "L16")
    assert {f.rate for f in frames if isinstance(f, Frame)} == {8000, 16000}


async def test_a_lost_call_ends_after_its_grace(serving: Serving) -> None:
    """No second socket within the grace: the call is over."""
    plan = CallPlan(seconds=5.0, faults=Faults(abrupt_close_at_s=0.2))
    async with serving(bot("events"), reconnect_grace_s=0.3) as server:
        await place_call(server.url, plan)
        assert server.service.n_calls == 1
        await soon(lambda: server.service.n_calls == 0)
    assert seen(plan)[-1] == Stop("lost")


async def test_a_live_call_is_not_taken_over_by_a_stranger(serving: Serving) -> None:
    """While media flows, a second socket that knows only the shared token is refused."""
    plan = CallPlan(seconds=1.0)
    async with serving("echo", auth_token="s3cret", reconnect_grace_s=5) as server:
        url = f"{server.url}/s3cret"
        async with FakeCall.connect(url, plan) as call:
            await call.send_payload(b"\xff" * 160)
            await soon(lambda: server.service.n_calls == 1)
            stranger = await place_call(
                url, CallPlan(seconds=1.0, call_control_id=plan.call_control_id)
            )
            assert stranger.close_code == 1008
            assert not call.closed.is_set()
        assert server.service.counters["refused_takeover"] == 1


async def test_the_call_token_takes_over_at_once(serving: Serving) -> None:
    """A socket with the call's own token is the newest and wins, even while media flows."""
    import time

    from mediaserver.tokens import issue

    token = issue("s3cret", time.time())
    plan = CallPlan(seconds=1.0, token=token)
    async with serving("echo", auth_token="s3cret", reconnect_grace_s=5) as server:
        async with FakeCall.connect(server.url, plan) as first:
            await first.send_payload(b"\xff" * 160)
            await soon(lambda: server.service.n_calls == 1)
            report = await place_call(server.url, plan)
            assert report.echo_problem is None
            await asyncio.wait_for(first.closed.wait(), 5)
            assert first.record.close_code == 1000
        other = await place_call(server.url, CallPlan(seconds=0.1, token=token))
        assert other.close_code == 1008, "the token belongs to another call"


@pytest.mark.parametrize("how", ["array", "file"])
async def test_a_play_is_resumed_on_the_next_socket(
    serving: Serving, tmp_path: Path, how: str
) -> None:
    """It goes on from what was heard; all of it is heard once, and it ends as played."""
    samples = np.repeat(np.arange(1, 101, dtype=np.int16) * 100, 160)  # 2 s, a step every 20 ms
    path = tmp_path / "steps.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", "none"))
        file.writeframes(samples.tobytes())
    name = "resumed_file" if how == "file" else "resumed"
    plan = CallPlan(codec="L16", rate_hz=8000, seconds=60.0)
    async with serving(
        bot(name, path=str(path)), reconnect_grace_s=5, send_codec="L16", send_rate=8000
    ) as server:
        async with FakeCall(server.url, plan) as call:
            await call.send_payload(bytes(320))  # a call without media is not waited for
            await call.wait_until(lambda: call.intake.ear.n_fed > 6000)
            await call.reconnect()
            await soon(lambda: len(seen(plan)) == 1, 10)
            heard = call.intake.arrivals.audio()
        ((state, reason, heard_s),) = seen(plan)
    assert (state, reason) == ("played", "finished")
    assert heard_s == pytest.approx(2.0, abs=0.05)
    assert set(samples.tolist()) <= set(heard.tolist()), "every step was sent"
