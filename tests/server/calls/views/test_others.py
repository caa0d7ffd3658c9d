"""Other calls of the process: found, heard, played to, and gone."""

from __future__ import annotations

import asyncio
import gc
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from mediaserver import Call, CallEndedError, Filter, Frame, NoSuchCallError, processor
from mediaserver.carrier import Audio, CallPlan, FakeCall
from mediaserver.processors.api import Stop
from mediaserver.server.calls.view import FRAMES_LIMIT
from mediaserver.server.service import SingleProcessService
from mediaserver.settings import ProcessorSetting
from tests.server.conftest import Serving
from tests.server.playbots import HELD, call_of, level
from tests.server.watching import soon


def plan(value: int = 0, rate_hz: int = 8000) -> CallPlan:
    """A call whose caller says one value all the time."""
    audio = Audio(level(value, rate_hz, 1.0), rate_hz)
    return CallPlan(
        codec="L16", rate_hz=rate_hz, audio=audio, send_codec="L16", send_rate_hz=8000, seconds=0.5
    )


class Swallow(Filter):
    """Passes nothing on."""

    def process(self, frame: Frame) -> Frame | None:
        return None


async def test_others_are_found_by_their_ids(serving: Serving) -> None:
    """All but the call itself; one that there is not says where to look."""
    a, b = plan(), plan()
    async with serving(HELD) as server:
        async with FakeCall.connect(server.url, a), FakeCall.connect(server.url, b):
            one, two = await call_of(a), await call_of(b)
            assert list(one.calls) == [two.id]
            assert list(two.calls) == [one.id]
            other = one.calls[two.id]
            assert (other.id, other.codec, other.stream_id) == (two.id, "L16", b.stream_id)
            assert list(other.calls) == [one.id]
            assert one.calls.get("nobody") is None
            assert one.id not in one.calls
            with pytest.raises(NoSuchCallError, match="no other call 'nobody' in this process"):
                one.calls["nobody"]
        await soon(lambda: not one.calls, 10)


async def test_the_other_is_heard_as_it_came_in(serving: Serving) -> None:
    """Its own filters change nothing of it, and it hears nothing of its listener."""
    a, b = plan(1000), plan(2000)
    swallow = ProcessorSetting(Swallow)
    async with serving(swallow, HELD) as server:
        async with FakeCall.connect(server.url, a), FakeCall.connect(server.url, b) as fake:
            one, two = await call_of(a), await call_of(b)
            frames = one.calls[two.id].frames()
            task = asyncio.ensure_future(fake.speak())
            heard = [await asyncio.wait_for(anext(frames), 10) for _ in range(20)]
            await task
            assert fake.intake.ear.n_fed == 0
    assert {int(value) for frame in heard for value in frame.samples} == {2000}
    assert [frame.index for frame in heard] == list(range(20))
    assert {frame.rate for frame in heard} == {8000}


async def test_frames_come_at_the_listeners_rate(serving: Serving) -> None:
    """Whatever the other call has."""
    told: list[tuple[int, int]] = []

    @processor(rate=16000)
    async def listener(call: Call) -> None:
        while not call.calls:  # noqa: ASYNC110  # nothing tells of a call that begins
            await asyncio.sleep(0.01)
        (other,) = call.calls.values()
        if call.parameters.get("listens"):
            told.extend([(frame.rate, len(frame.samples)) async for frame in other.frames()])

    a, b = plan(), plan(500)
    a.custom_parameters["listens"] = "yes"
    async with serving(ProcessorSetting(listener)) as server:
        async with FakeCall.connect(server.url, a), FakeCall.connect(server.url, b) as fake:
            await fake.speak()
        await soon(lambda: len(told) > 10, 10)
    assert set(told) == {(16000, 320)}


async def test_what_is_played_there_that_caller_alone_hears(serving: Serving) -> None:
    """And its events, its keys and its end are that call's."""
    a, b = plan(), plan()
    async with serving(HELD) as server, FakeCall.connect(server.url, a) as mine:
        one = await call_of(a)
        async with FakeCall.connect(server.url, b) as theirs:
            other = one.calls[(await call_of(b)).id]
            events = other.events()
            play = await other.play(level(300, 8000, 0.2), 8000)
            assert await asyncio.wait_for(play.finished(), 10) == "played"
            await theirs.press("5")
            assert (await asyncio.wait_for(anext(events), 10)).digit == "5"  # type: ignore[union-attr]  # the only one
            assert list(other.pressed) == ["5"]
            assert np.count_nonzero(theirs.intake.arrivals.audio() == 300) == 1600
            stream = other.stream(8000)
        assert isinstance(await asyncio.wait_for(anext(events), 10), Stop)
        assert await asyncio.wait_for(stream.finished(), 10) == "cleared"
        with pytest.raises(CallEndedError):
            await other.play(level(300, 8000, 0.2))
        assert mine.intake.ear.n_fed == 0


async def test_it_ends_with_the_other_call(serving: Serving) -> None:
    """``frames()`` of it ends; also one that is asked for behind its end."""
    a, b = plan(), plan(100)
    async with serving(HELD) as server, FakeCall.connect(server.url, a):
        one = await call_of(a)
        async with FakeCall.connect(server.url, b) as theirs:
            other = one.calls[(await call_of(b)).id]
            frames = other.frames()
            await theirs.speak()
        n_frames = len([frame async for frame in frames])
        assert n_frames == 25
        async with asyncio.timeout(10):
            assert [frame async for frame in other.frames()] == []


async def test_a_slow_listener_loses_the_oldest_and_holds_up_nobody(serving: Serving) -> None:
    """Ten seconds wait; the other call goes on as if nobody listened."""
    a, b = plan(), plan(100)
    async with serving(HELD) as server:
        async with FakeCall.connect(server.url, a), FakeCall.connect(server.url, b) as theirs:
            one = await call_of(a)
            other = one.calls[(await call_of(b)).id]
            frames = other.frames()
            for _ in range(FRAMES_LIMIT + 50):
                await theirs.send_audio(level(100, 8000, 0.02))
            await soon(lambda: other.stats.frames_in >= FRAMES_LIMIT + 50, 20)
            first = await asyncio.wait_for(anext(frames), 10)
            assert first.index == 50
            assert (one.stats.dropped_frames, other.stats.dropped_frames) == (50, 0)


async def test_nothing_is_left_of_a_listener(serving: Serving) -> None:
    """Who reads no more costs the other call nothing: not a stage of its chain."""
    a, b = plan(), plan(100)
    async with serving(HELD) as server:
        async with FakeCall.connect(server.url, a), FakeCall.connect(server.url, b) as theirs:
            one = await call_of(a)
            other = one.calls[(await call_of(b)).id]
            service = server.service
            assert isinstance(service, SingleProcessService)
            chain = service.sessions[other.id].runner._chain  # type: ignore[attr-defined]  # what is tested
            assert len(chain._stages) == 1
            readers = [other.frames(), other.frames("outbound"), one.calls[other.id].frames()]
            assert len(chain._stages) == 3
            for _ in range(2):
                del readers[0]
                gc.collect()
                await theirs.send_audio(level(100, 8000, 0.02))
            await soon(lambda: other.stats.frames_in >= 2, 10)
            assert len(chain._stages) == 2
            readers.clear()
            gc.collect()
            await theirs.send_audio(level(100, 8000, 0.02))
            await soon(lambda: len(chain._stages) == 1, 10)
            again = other.frames()
            await theirs.send_audio(level(100, 8000, 0.02))
            assert (await asyncio.wait_for(anext(again), 10)).index == 3


async def test_an_isolated_call_is_not_seen_from_the_servers_process(serving: Serving) -> None:
    """Its processors run elsewhere; in its own host it sees those that are there."""
    bots = Path(__file__).parent / "seeing_bot.py"
    seeing = ProcessorSetting(f"{bots}:seeing", alias="seeing", isolate="process")
    apart, beside, here = plan(), plan(), plan()
    for each in (apart, beside):
        each.custom_parameters["processor"] = "seeing"
    async with serving(HELD, offer=(seeing,)) as server:
        async with FakeCall.connect(server.url, here):
            call = await call_of(here)
            async with (
                FakeCall.connect(server.url, apart) as fake,
                FakeCall.connect(server.url, beside) as second,
            ):
                for each, other in ((fake, beside), (second, apart)):
                    await each.wait_until(lambda each=each: each.intake.ear.n_fed >= 160, 30)
                    n_calls = int(each.intake.arrivals.audio()[0])
                    assert n_calls == 1, other
                assert list(islice(call.calls, 1)) == []
                with pytest.raises(NoSuchCallError, match="a processor host"):
                    call.calls[apart.call_control_id]
