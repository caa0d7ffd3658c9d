"""The calls of the soak: every codec, every way of ending, faults on the way."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import NamedTuple

from websockets.exceptions import InvalidHandshake

from mediaserver.carrier import CallPlan, Faults
from mediaserver.carrier.line import Line
from mediaserver.carrier.plan import can_encode
from mediaserver.carrier.rest.api import FakeTelnyx
from mediaserver.carrier.rest.calls import PhoneCall
from mediaserver.carrier.rest.streams import MediaRequest, default_plan
from mediaserver.tokens import issue
from tests.server.churning import ChurnCall
from tests.server.workers.crews import soon

SECRET = "s3cret"
SPEECH_S = 30.0
FORMATS = (
    ("PCMU", None),
    ("PCMA", None),
    ("G722", None),
    ("L16", 16000),
    ("L16", 8000),
    ("OPUS", 16000),
    ("AMR-WB", None),
)
BACK = [name for name in ("PCMU", "PCMA", "G722", "L16", "OPUS", "AMR-WB") if can_encode(name)]
PROCESSORS = (None, None, None, "echo", "echo", "record", "swallows", "Faulty", "Unmade")
FAULTS = (
    Faults(),
    Faults(reorder_window=4, duplicate=0.05, drop=0.05),
    Faults(jitter_s=0.15),
    Faults(stall=(0.5, 0.7), drop=0.02),
)
HOSTILE = ("{", "[]", '{"event":"media"}', '{"event":"dtmf","dtmf":{"digit":7}}', "[" * 5000)
BAD_MEDIA = '{"event":"media","media":{"track":"inbound","chunk":"%d","payload":"%s"}}'


class World(NamedTuple):
    """Where calls come from and go to."""

    fake: FakeTelnyx
    url: str
    pace: float


def plan_of(dice: random.Random) -> CallPlan:
    """A call in any formats, to any bot, with any fault, and a token of its own."""
    codec, rate_hz = dice.choice(FORMATS)
    chosen = dice.choice(PROCESSORS)
    return CallPlan(
        codec=codec,
        rate_hz=rate_hz,
        send_codec=dice.choice(BACK),
        seconds=SPEECH_S,
        tracks=dice.choice(("inbound", "inbound", "both")),
        faults=dice.choice(FAULTS),
        seed=dice.randrange(1 << 30),
        token=issue(SECRET, time.time()),
        keep="figures",
        custom_parameters={} if chosen is None else {"processor": chosen},
    )


def plan_for(request: MediaRequest) -> CallPlan:
    """What a stream says that a command asked for: any codec, whatever was asked for."""
    codec, rate_hz = random.choice(FORMATS)
    plan = replace(default_plan(request, speech_s=SPEECH_S), keep="figures")
    return replace(plan, codec=codec, rate_hz=rate_hz)


@asynccontextmanager
async def talking(world: World, plan: CallPlan) -> AsyncIterator[ChurnCall]:
    """A call that says what its plan has."""
    async with ChurnCall(world.url, plan) as call:
        script = asyncio.create_task(call.speak())
        try:
            yield call
        finally:
            script.cancel()
            with suppress(asyncio.CancelledError):
                await script


async def keys(world: World, line: Line, dice: random.Random) -> None:
    """Press keys for a while; they have the bot play, mark, clear and cancel."""
    for _ in range(dice.randint(2, 8)):
        await asyncio.sleep(world.pace * dice.uniform(0.1, 1.2))
        if dice.random() < 0.7:
            await line.press(dice.choice("1234567"))


def ended(how: str) -> Callable[[World, random.Random], Awaitable[None]]:
    """A call over a socket that ends in one way."""

    async def run(world: World, dice: random.Random) -> None:
        async with talking(world, plan_of(dice)) as call:
            await keys(world, call, dice)
            if how == "close":
                await call.close_only()
            elif how == "reset":
                call.reset()
            elif how == "cut":
                call.cut()
            elif how in ("bot", "raises"):
                await call.press("0" if how == "bot" else "8")
                with suppress(TimeoutError):
                    await asyncio.wait_for(call.closed.wait(), 3)

    return run


async def takeover(world: World, dice: random.Random) -> None:
    """A second socket of the same call, while the first one is there or just gone."""
    plan = plan_of(dice)
    async with talking(world, plan) as first:
        await keys(world, first, dice)
        if dice.random() < 0.5:
            first.reset()
        async with talking(world, replace(plan, send_codec=dice.choice(BACK))) as second:
            await keys(world, second, dice)


async def unanswered(world: World, dice: random.Random) -> None:
    """A call that rings and is never answered: neither start nor stop."""
    plan = replace(plan_of(dice), ring_s=dice.uniform(0.1, 2.0), answer="never")
    async with ChurnCall(world.url, plan) as call:
        await call.speak()


async def refused(world: World, dice: random.Random) -> None:
    """Strangers: without a right token, or with a codec that there is not."""
    plan = plan_of(dice)
    if dice.random() < 0.5:
        with suppress(InvalidHandshake):
            async with ChurnCall(world.url, replace(plan, token="t1.wrong")):
                pass
        return
    odd = replace(plan, custom_parameters={"send_codec": "SILK"})
    async with ChurnCall(world.url, odd) as call:
        await asyncio.wait_for(call.closed.wait(), 20)


async def hostile(world: World, dice: random.Random) -> None:
    """A call among whose messages are some that are none."""
    async with talking(world, plan_of(dice)) as call:
        for number in range(20):
            odd = dice.choice((*HOSTILE, BAD_MEDIA % (number, "/" * dice.choice((3, 8, 4000)))))
            await call.send(odd if dice.random() < 0.9 else odd.encode())
            await asyncio.sleep(dice.uniform(0.0, 0.2))


def phoned(how: str) -> Callable[[World, random.Random], Awaitable[None]]:
    """A phone call that the server answers by REST, told of by webhooks; it ends in one way."""

    async def run(world: World, dice: random.Random) -> None:
        call = world.fake.ring()
        try:
            await soon(lambda: _is_up(call), 20)
            assert call.stream is not None
            line = call.stream.line
            assert line is not None
            await keys(world, line, dice)
            if how == "lost":
                line.cut()
                with suppress(TimeoutError):  # the server starts the stream again
                    await soon(lambda: _is_up(call), 10)
            elif how in ("bot", "raises"):
                await line.press("0" if how == "bot" else "8")
                with suppress(TimeoutError):
                    await soon(lambda: call.state == "ended", 10)
            if call.state != "ended":
                call.hang_up()
        finally:
            await call.aclose()
            _forget(world.fake, call)

    return run


def _is_up(call: PhoneCall) -> bool:
    line = None if call.stream is None else call.stream.line
    return line is not None and not line.over.is_set() and bool(line.record.sent)


def _forget(fake: FakeTelnyx, call: PhoneCall) -> None:
    """What the fake keeps for tests is of no use in a soak."""
    fake.calls.pop(call.call_control_id, None)
    fake.commanded.clear()
    fake.webhooks.deliveries.clear()


KINDS: dict[str, Callable[[World, random.Random], Awaitable[None]]] = {
    **{how: ended(how) for how in ("stop", "close", "reset", "cut", "bot", "raises")},
    "takeover": takeover,
    "unanswered": unanswered,
    "refused": refused,
    "hostile": hostile,
    **{f"phone {how}": phoned(how) for how in ("caller", "bot", "raises", "lost")},
}
"""What may become of a call."""
