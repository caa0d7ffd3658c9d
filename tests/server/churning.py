"""Calls that are opened, taken over, lost and ended at random, from a seed."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import Any

from mediaserver.carrier import CallPlan, FakeCall
from mediaserver.carrier.line import CONNECT_ERRORS
from mediaserver.tokens import issue

SECRET = "s3cret"
ENDS = ("stop", "close", "reset", "cut", "by the bot", "failure", "lost")
TAKE_OVERS = ("none", "none", "none", "lost", "at once", "refused", "twice")
PROCESSORS = (None, None, None, None, None, None, "echo", "Faulty", "Unmade")
CODECS = ("PCMU", "PCMA", "G722", "L16")


class ChurnCall(FakeCall):
    """A call that can end in every way."""

    async def close_only(self) -> None:
        """Close without ``stop``."""
        self.over.set()
        await self._ws.close()
        await self.closed.wait()

    def reset(self) -> None:
        """End as a network that breaks: the connection is reset."""
        self.over.set()
        end: socket.socket = self._ws.transport.get_extra_info("socket")
        with suppress(OSError):  # the server has ended it already
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._ws.transport.abort()


def plan_of(dice: random.Random) -> CallPlan:
    """A call that needs no encoder, with a token of its own."""
    codec = dice.choice(CODECS)
    chosen = dice.choice(PROCESSORS)
    return CallPlan(
        codec=codec,
        rate_hz=16000 if codec == "L16" else None,
        send_codec=dice.choice(CODECS),
        payloads=[bytes(dice.choices(range(256), k=320 if codec != "L16" else 640))],
        seconds=60.0,
        token=issue(SECRET, time.time()),
        keep="figures",
        custom_parameters={} if chosen is None else {"processor": chosen},
    )


async def talk(call: ChurnCall, dice: random.Random, keys: str) -> None:
    """Some frames, some keys, in some order."""
    (payload,) = call.plan.payloads or ()
    for _ in range(dice.randint(0, 12)):
        await call.send_payload(payload)
        if dice.random() < 0.5:
            await call.press(dice.choice(keys))
        await asyncio.sleep(dice.choice((0, 0, 0.01, 0.02)))


async def end(call: ChurnCall, how: str) -> None:
    """End a call; what is not said here is said by leaving it."""
    if how == "close":
        await call.close_only()
    elif how == "reset":
        call.reset()
    elif how in ("cut", "lost"):
        call.cut()
    elif how in ("by the bot", "failure"):
        await call.press("0" if how == "by the bot" else "8")
        await asyncio.wait((asyncio.create_task(call.closed.wait()),), timeout=0.5)


async def live(url: str, dice: random.Random, keys: str) -> Counter[str]:
    """One call from its first socket to its last; what was done to it."""
    plan, how, ending = plan_of(dice), dice.choice(TAKE_OVERS), dice.choice(ENDS)
    async with AsyncExitStack() as stack:
        call = await stack.enter_async_context(ChurnCall(url, plan))
        await talk(call, dice, keys)
        for _ in range({"none": 0, "twice": 2}.get(how, 1)):
            if how == "lost":
                call.reset()
            if how == "refused":
                odd = replace(plan, custom_parameters={"send_codec": "SILK"})
                refused = await stack.enter_async_context(ChurnCall(url, odd))
                await asyncio.wait_for(refused.closed.wait(), 10)
                continue
            following = replace(plan, send_codec=dice.choice(CODECS))
            call = await stack.enter_async_context(ChurnCall(url, following))
            await talk(call, dice, keys)
        await end(call, ending)
    return Counter((f"take-over {how}", ending))


async def silent(url: str, dice: random.Random, _: str) -> Counter[str]:
    """A connection that never says ``start``."""
    async with ChurnCall(url, plan_of(dice), greet=False) as call:
        await end(call, dice.choice(("stop", "close", "reset")))
    return Counter(("no start",))


async def churn(
    url: str, n_calls: int, seed: str, at_once: int = 40, keys: str = "1234567"
) -> Counter[str]:
    """So many calls, some at once, where some of the keys are pressed; what was done to them."""
    room = asyncio.Semaphore(at_once)
    done: Counter[str] = Counter()

    async def one(number: int) -> None:
        dice = random.Random(f"{seed} {number}")
        act: Any = silent if dice.random() < 0.04 else live
        async with room:
            try:
                done.update(await act(url, dice, keys))
            except CONNECT_ERRORS as error:
                done[f"refused: {error}"] += 1

    await asyncio.gather(*(one(number) for number in range(n_calls)))
    return done
