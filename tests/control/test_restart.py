from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediaserver.control.errors import (
    ApiError,
    BadRequestError,
    ControlError,
    InvalidFieldError,
    NetworkError,
    NotFoundError,
    Problem,
    ServerError,
    UnprocessableError,
)
from mediaserver.control.events import (
    CallAnswered,
    CallHangup,
    Event,
    StreamingFailed,
    StreamingStopped,
)
from mediaserver.control.restart import RestartLimits, RestartPlan, StreamRestarter

CALL = "v3:a"
LIMITS = RestartLimits()


def plan(draw: float = 1.0) -> RestartPlan:
    return RestartPlan(LIMITS, draw=lambda: draw)


def test_a_failed_stream_is_due_after_the_back_off() -> None:
    """``streaming.failed`` plans a start, once."""
    p = plan()
    p.connected(0)
    p.failed(100)
    p.failed(100.5)
    assert p.due_at == 101
    assert not p.take(100.9)
    assert p.take(101)
    assert not p.take(102)


def test_a_lost_socket_first_has_its_grace() -> None:
    """The carrier may reconnect by itself; only after the grace is the stream started."""
    p = plan()
    p.socket_lost(100)
    assert p.due_at == 111
    p.connected(105)
    assert not p.take(200)


@pytest.mark.parametrize("trouble", [RestartPlan.failed, RestartPlan.socket_lost])
def test_what_somebody_stopped_stays_stopped(trouble: Callable[[RestartPlan, float], None]) -> None:
    """After a stop or a hang-up nothing is ever due, whichever came first."""
    p = plan()
    trouble(p, 100)
    p.ended()
    trouble(p, 101)
    assert not p.take(1e9)


def test_tries_are_bounded_and_back_off_grows() -> None:
    """A stream that never holds is given up after its tries, each wait longer."""
    p, now, waits = plan(), 0.0, []
    for _ in range(20):
        p.failed(now)
        if p.due_at is not None:
            waits.append(p.due_at - now)
            now = p.due_at
            assert p.take(now)
    assert waits == [1, 2, 4, 8, 16]
    assert not p.take(1e9)


def test_a_stream_that_held_has_its_tries_back() -> None:
    """After a minute of running the count begins again."""
    p = plan()
    for _ in range(4):
        p.failed(0)
        p.take(1e9)
    p.connected(0)
    p.failed(59)
    p.take(1e9)
    assert p.n_tries == 5
    p.connected(100)
    p.failed(160)
    assert (p.n_tries, p.is_over) == (0, False)


@given(st.lists(st.sampled_from(["connected", "failed", "socket_lost", "take"]), max_size=40))
def test_never_more_starts_than_allowed(steps: list[str]) -> None:
    """Whatever happens within a minute, there are at most the allowed starts."""
    p, now, n_starts = plan(), 0.0, 0
    for step in steps:
        now += 1
        n_starts += bool(getattr(p, step)(now))
    assert n_starts <= LIMITS.max_tries


class World:
    """A restarter in virtual time: sleepers wake when the clock is moved."""

    def __init__(self, *outcomes: ControlError | None, max_calls: int = 10) -> None:
        self.now = 0.0
        self.started: list[tuple[str, float]] = []
        self._outcomes = list(outcomes)
        self._sleepers: list[tuple[float, asyncio.Event]] = []
        self.restarter = StreamRestarter(
            self.restart,
            max_calls=max_calls,
            clock=lambda: self.now,
            sleep=self.sleep,
            draw=lambda: 1.0,
        )

    async def restart(self, call: str) -> None:
        self.started.append((call, self.now))
        outcome = self._outcomes.pop(0) if self._outcomes else None
        if outcome is not None:
            raise outcome

    async def sleep(self, delay_s: float) -> None:
        event = asyncio.Event()
        self._sleepers.append((self.now + delay_s, event))
        await event.wait()

    async def advance(self, to: float) -> None:
        for _ in range(50):
            await asyncio.sleep(0)
            self._sleepers.sort(key=lambda sleeper: sleeper[0])
            if self._sleepers and self._sleepers[0][0] <= to:
                at, event = self._sleepers.pop(0)
                self.now = max(self.now, at)
                event.set()
        self.now = to


def event(kind: type[Event], call: str | None = CALL) -> Event:
    return kind(id="e", event_type="x", call_control_id=call)


async def test_a_lost_stream_is_started_again() -> None:
    """A socket lost and not reconnected within the grace leads to one start."""
    world = World()
    world.restarter.connected(CALL)
    world.restarter.socket_lost(CALL)
    await world.advance(30)
    assert world.started == [(CALL, 11.0)]
    await world.restarter.aclose()


async def test_a_reconnected_stream_is_left_alone_and_watched_further() -> None:
    """A reconnect in time cancels the start; the next loss counts anew."""
    world = World()
    world.restarter.connected(CALL)
    world.restarter.socket_lost(CALL)
    await world.advance(5)
    world.restarter.connected(CALL)
    world.restarter.socket_lost(CALL)
    await world.advance(40)
    assert world.started == [(CALL, 16.0)]
    await world.restarter.aclose()


@pytest.mark.parametrize("kind", [StreamingStopped, CallHangup])
async def test_a_stop_reported_by_webhook_ends_it(kind: type[Event]) -> None:
    """``streaming.stopped`` and ``call.hangup`` cancel a start that was due."""
    world = World()
    world.restarter.connected(CALL)
    world.restarter.on_event(event(StreamingFailed))
    world.restarter.on_event(event(kind))
    world.restarter.on_event(event(StreamingFailed))
    await world.advance(100)
    assert world.started == []
    await world.restarter.aclose()


async def test_other_events_and_calls_start_nothing() -> None:
    """Only a failure of a watched call matters."""
    world = World(max_calls=1)
    world.restarter.watch(CALL)
    world.restarter.connected("v3:one too many")
    world.restarter.on_event(event(CallAnswered))
    world.restarter.on_event(event(StreamingFailed, None))
    world.restarter.on_event(event(StreamingFailed, "v3:unknown"))
    world.restarter.socket_lost("v3:one too many")
    await world.advance(100)
    assert world.started == []
    await world.restarter.aclose()


def api(status: int, code: str, kind: type[ApiError] = UnprocessableError) -> ApiError:
    return kind(status, (Problem(code=code),))


@pytest.mark.parametrize(
    "error",
    [
        NetworkError("x", sent=True),
        api(503, "", ServerError),
        api(422, "90046"),
    ],
)
async def test_a_start_that_failed_for_now_is_tried_again(error: ControlError) -> None:
    """A passing failure of streaming_start leads to the next try, later."""
    world = World(error, None)
    world.restarter.connected(CALL)
    world.restarter.on_event(event(StreamingFailed))
    await world.advance(100)
    assert world.started == [(CALL, 1.0), (CALL, 3.0)]
    await world.restarter.aclose()


@pytest.mark.parametrize(
    "error",
    [
        InvalidFieldError("a", "b"),
        api(422, "90018"),
        api(404, "10005", NotFoundError),
        api(400, "", BadRequestError),
    ],
)
async def test_a_start_that_can_never_succeed_ends_it(error: ControlError) -> None:
    """A call that has ended is not tried again."""
    world = World(error)
    world.restarter.connected(CALL)
    world.restarter.on_event(event(StreamingFailed))
    await world.advance(100)
    world.restarter.on_event(event(StreamingFailed))
    await world.advance(200)
    assert world.started == [(CALL, 1.0)]
    await world.restarter.aclose()


async def test_a_stream_already_there_counts_as_running() -> None:
    """The answer "streaming in use" means that somebody was faster; the call stays watched."""
    world = World(api(422, "90045"))
    world.restarter.connected(CALL)
    world.restarter.on_event(event(StreamingFailed))
    await world.advance(100)
    world.restarter.on_event(event(StreamingFailed))
    await world.advance(200)
    assert [at for _, at in world.started] == [1.0, 101.0]
    await world.restarter.aclose()


async def test_a_stream_that_never_holds_is_given_up() -> None:
    """After the allowed starts the call is no longer watched."""
    world = World(*[NetworkError("x", sent=True)] * 20)
    world.restarter.connected(CALL)
    world.restarter.on_event(event(StreamingFailed))
    await world.advance(1000)
    assert len(world.started) == 5
    assert world.restarter._plans == {}
    assert world.restarter._tasks == {}


async def test_closing_starts_nothing_more() -> None:
    """After aclose a start that was due does not happen."""
    world = World()
    world.restarter.connected(CALL)
    world.restarter.on_event(event(StreamingFailed))
    await world.restarter.aclose()
    await world.advance(100)
    assert world.started == []


async def test_a_restart_may_end_its_own_watch() -> None:
    """The callable may report the end of the call itself."""
    world = World()

    async def restart(call: str) -> None:
        world.restarter.ended(call)
        world.started.append((call, world.now))

    world.restarter._restart = restart
    world.restarter.connected(CALL)
    world.restarter.on_event(event(StreamingFailed))
    await world.advance(100)
    assert world.started == [(CALL, 1.0)]
    assert world.restarter._tasks == {}
