"""What the tests of codecs and playout on the wire share: a bot to drive by hand, time, tones."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import numpy.typing as npt
from websockets.datastructures import Headers
from websockets.http11 import Request

from mediaserver.carrier import CallPlan, FakeCall, messages
from mediaserver.processors.api import Call, processor
from mediaserver.server.calls.connection import MediaConnection
from mediaserver.server.service import SingleProcessService
from mediaserver.server.sockets.first_bytes import Peer
from mediaserver.settings import ProcessorSetting
from telephony_codecs import Int16Array

# The calls that bots hold, by id; ``call_of`` looks here.
CALLS: dict[str, Call] = {}
HELD = ProcessorSetting(f"{__name__}:held")


@processor
async def held(call: Call) -> None:
    """Hands the call to the test, which plays into it by hand, and stays for its life."""
    CALLS[call.id] = call
    async for _ in call.events():
        pass


async def call_of(plan: CallPlan) -> Call:
    """The server's side of a call, as soon as there is one."""
    async with asyncio.timeout(5):
        while plan.call_control_id not in CALLS:  # noqa: ASYNC110  # no event tells of it
            await asyncio.sleep(0.005)
    return CALLS[plan.call_control_id]


class Stalls:
    """How long this machine kept the event loop from running, as seen from a 5 ms tick.

    Server and fake share the loop here, so a message is under way for as long at most: the
    bound on one-way time by which the tests on a real clock widen theirs.

    Attributes:
        worst_s: the longest so far.
    """

    def __init__(self) -> None:
        self.worst_s = 0.0

    async def watch(self) -> None:
        """Tick until cancelled."""
        while True:
            due = time.monotonic() + 0.005
            await asyncio.sleep(0.005)
            self.worst_s = max(self.worst_s, time.monotonic() - due)


@asynccontextmanager
async def stalls() -> AsyncIterator[Stalls]:
    """Watch the loop meanwhile."""
    watch = Stalls()
    task = asyncio.create_task(watch.watch())
    try:
        yield watch
    finally:
        task.cancel()


def tone(rate_hz: int, seconds: float, frequency_hz: float = 1012.3) -> Int16Array:
    """A sine at half of full scale.

    Its periods do not fit into 20 ms, so no frame could be lost or said twice unnoticed.
    """
    at_s = np.arange(round(rate_hz * seconds)) / rate_hz
    wave: Int16Array = np.rint(16000 * np.sin(2 * np.pi * frequency_hz * at_s)).astype(np.int16)
    return wave


def level(value: int, rate_hz: int, seconds: float) -> Int16Array:
    """One value for so long: in L16 it is heard as it is, so it tells whose audio it is."""
    return np.full(round(rate_hz * seconds), value, np.int16)


def roughness(
    samples: Int16Array, rate_hz: int, frequency_hz: float = 1012.3
) -> npt.NDArray[np.float64]:
    """RMS, per 20 ms, of what is left of a tone once one sine is taken off the whole of it.

    One phase and one level for all of it: a gap, an overlap or a jump anywhere leaves the
    rest of the tone standing.
    """
    phase = 2 * np.pi * frequency_hz / rate_hz * np.arange(len(samples))
    basis = np.stack((np.sin(phase), np.cos(phase)), 1)
    fit = np.linalg.lstsq(basis, samples.astype(np.float64), rcond=None)[0]
    rest = samples - basis @ fit
    block = rate_hz // 50
    whole = len(rest) // block * block
    return np.asarray(np.sqrt(np.mean(rest[:whole].reshape(-1, block) ** 2, axis=1)))


async def bursts(samples: Int16Array, rate_hz: int, seed: int) -> AsyncIterator[Int16Array]:
    """The samples in pieces of 1 to 60 ms, some at once, then a pause: as speech synthesis.

    On the whole it is 1.4 times as fast as the audio plays.
    """
    dice = random.Random(seed)
    at, ahead_s = 0, -0.3
    while at < len(samples):
        n = min(dice.randint(rate_hz // 1000, rate_hz * 3 // 50), len(samples) - at)
        yield samples[at : at + n]
        at += n
        ahead_s += n / rate_hz
        if ahead_s > 0 and dice.random() < 0.2:
            await asyncio.sleep(ahead_s / 1.4)
            ahead_s = 0.0


async def endless(value: int, rate_hz: int) -> AsyncIterator[Int16Array]:
    """One level for ever, without ever waiting."""
    while True:
        yield level(value, rate_hz, 0.06)


class Mute(FakeCall):
    """A far end that swallows every mark."""

    async def _give(self, name: str, *, cleared: bool) -> None:
        pass


class VirtualStream:
    """One stream into a service without socket or clock: the test says what comes when.

    Times are seconds since ``start``.
    """

    def __init__(self, service: SingleProcessService, plan: CallPlan) -> None:
        self.plan = plan
        self.origin = time.monotonic()
        connection = service.listener.admit(Request("/media", Headers()), Peer(None), self.origin)
        assert isinstance(connection, MediaConnection)
        self.connection = connection
        self._sequence = 1
        media_format = messages.MediaFormat(plan.codec, plan.announced_rate_hz or plan.in_rate_hz)
        body = messages.StartBody(
            "user",
            plan.call_control_id,
            "session",
            None,
            None,
            None,
            None,
            plan.start_parameters,
            media_format,
        )
        self._receive(messages.connected(), 0.0)
        self._receive(messages.start(1, body, plan.stream_id), 0.0)

    def media(self, at_s: float, chunk: int, payload_base64: str, track: str = "inbound") -> None:
        """One chunk comes in."""
        self._sequence += 1
        at_ms = round(at_s * 1000)
        text = messages.media(
            self._sequence, track, chunk, at_ms, payload_base64, self.plan.stream_id
        )
        self._receive(text, at_s)

    def stop(self, at_s: float) -> None:
        """The stream ends."""
        self._receive(
            messages.stop(99, "user", self.plan.call_control_id, self.plan.stream_id), at_s
        )
        self.connection.socket_closed(1000, "")

    def _receive(self, text: str, at_s: float) -> None:
        self.connection.text_received(text.encode(), self.origin + at_s)
