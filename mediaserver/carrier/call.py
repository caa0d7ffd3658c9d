"""Fake calls over real WebSockets: one or many, by script or by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple, Self

import numpy as np
from pybase64 import b64encode

from mediaserver.carrier.intake import Intake
from mediaserver.carrier.line import CONNECT_ERRORS, Line, no_connection
from mediaserver.carrier.measure import measure
from mediaserver.carrier.plan import TRACKS, CallPlan
from mediaserver.carrier.record import Record, SentChunk
from mediaserver.carrier.report import CallReport
from mediaserver.carrier.script import Cue, as_text, cues, media_s, voices
from mediaserver.carrier.turns import Caller
from telephony_codecs import Encoder, Int16Array, codec

# Time between the starts of calls that are placed together. Its multiples spread evenly over
# 20 ms, so that the calls' frames do too, as those of unrelated calls.
SPACING_S = 0.0073
_PROGRESS_EVERY = 25
SHORT_MESSAGE = 16_000
"""Octets; below the write limit of ``websockets``."""
TOO_SLOW = "this machine was too slow for the calls"
"""The error of calls that gave up because their own caller was late."""


class Progress(NamedTuple):
    """How much of a call is over, in seconds of media."""

    sent_s: float
    returned_s: float
    total_s: float


OnProgress = Callable[[Progress], None]


class FakeCall(Line):
    """A live call, as Telnyx would hold it.

    ``speak()`` does what the plan says; tests may drive the call by hand as well, and at
    the same time: look at it, wait, send anything, hang up.
    """

    def __init__(self, url: str, plan: CallPlan, *, greet: bool = True) -> None:
        laps = voices(plan)
        super().__init__(url, plan, laps, greet=greet)
        self._payloads = as_text(laps)
        self._total_s = media_s(plan, laps)
        self._sequences: list[int] = []
        self._by_hand: dict[str, int] = {}
        self._encoder: Encoder | None = None
        self._spoken: list[str] = []
        self._n_marks_seen = 0
        self._held_until_s = 0.0
        if plan.turns is not None:
            rate_hz = plan.in_rate_hz
            caller = Caller(plan.turns, self.intake.heard, plan.quiet_s, rate_hz)
            self.record.caller = caller

    @classmethod
    def connect(cls, url: str, plan: CallPlan | None = None, *, greet: bool = True) -> Self:
        """Return a call to be entered; ``greet``: send ``connected`` and ``start`` by itself.

        Raises:
            CodecError: the plan's codec cannot be had here.
            PlanError: the plan cannot be carried out.
        """
        return cls(url, plan or CallPlan(), greet=greet)

    def progress(self) -> Progress:
        """Return how much of the call is over."""
        chunk_s = self.plan.chunk_ms / 1000 / len(TRACKS[self.plan.tracks])
        return Progress(len(self.record.sent) * chunk_s, self._returned_s(), self._total_s)

    def _returned_s(self) -> float:
        return self.intake.ear.n_fed / self.intake.ear.rate_hz

    async def send_audio(self, samples: Int16Array, track: str = "inbound") -> None:
        """Encode and send one message of audio now, with the track's next chunk number."""
        await self.send_payload(self._encode(samples), track)

    def _encode(self, samples: Int16Array) -> bytes:
        if self._encoder is None:
            self._encoder = codec(self.plan.codec).encoder(self.plan.in_rate_hz)
        return self._encoder.encode(samples)

    async def send_payload(self, payload: bytes, track: str = "inbound") -> None:
        """Send one encoded message now, with the track's next chunk number.

        Its numbers begin at the plan's first chunk: not to be mixed with ``speak()``.
        """
        position = self._by_hand.get(track, 0)
        self._by_hand[track] = position + 1
        sent = SentChunk(track, position, self.now(), 0.0)
        chunk = self.plan.first_chunk + position
        await self._send_media(self.next_sequence(), chunk, sent, b64encode(payload).decode())

    async def speak(self, on_progress: OnProgress | None = None) -> None:
        """Carry out the plan up to its hang-up; return earlier if the call ends."""
        script = asyncio.create_task(self._perform(on_progress))
        over = asyncio.create_task(self.over.wait())
        try:
            await asyncio.wait((script, over), return_when=asyncio.FIRST_COMPLETED)
        finally:
            script.cancel()
            over.cancel()
        result, _ = await asyncio.gather(script, over, return_exceptions=True)
        if isinstance(result, Exception):
            raise result

    async def _perform(self, on_progress: OnProgress | None) -> None:
        if self.is_ringing:
            await asyncio.sleep(self.plan.ring_s)
            if self.plan.answer == "never":
                self.cut()
                return
            await self.pick_up()
        until_s = self.plan.hang_up_at_s
        with suppress(TimeoutError):
            async with asyncio.timeout(None if until_s is None else until_s - self.now()):
                await self._say(on_progress)
                if self.plan.turns is None:
                    await self._linger()

    async def _say(self, on_progress: OnProgress | None) -> None:
        """Keep the schedule; what is late is sent at once, so the clock never drifts."""
        for number, cue in enumerate(cues(self.plan, self._total_s)):
            wait_s = cue.at_s - self.now()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            await self._follow(cue)
            if on_progress is not None and number % _PROGRESS_EVERY == 0:
                on_progress(self.progress())

    async def _follow(self, cue: Cue) -> None:
        match cue.kind:
            case "media":
                await self._send_chunk(cue)
            case "dtmf":
                await self.press(cue.digit)
            case "reconnect":
                await self.reconnect()
            case "cut":
                self.cut()

    async def _send_chunk(self, cue: Cue) -> None:
        await self._on_line.wait()
        # Before the chunk's own sequence number: a key pressed now has a smaller one.
        payload = await self._payload(cue)
        sequence = self._sequence_of(cue.order)
        if cue.dropped:
            return
        now = self.now()
        # If the server does not read, the delay is not this side's.
        late_s = max(0.0, now - max(cue.at_s, self._held_until_s))
        if self.plan.give_up_s is not None and late_s > self.plan.give_up_s:
            self.record.error = TOO_SLOW
            self._end()
            return
        sent = SentChunk(cue.track, cue.position, cue.at_s, late_s)
        # Octets of earlier chunks are left only where the server does not read. A short message
        # behind none of them never waits.
        n_left = self._ws.transport.get_write_buffer_size()
        is_held = n_left > 0 or len(payload) > SHORT_MESSAGE
        await self._send_media(sequence, cue.chunk, sent, payload)
        if is_held:
            self._held_until_s = self.now()
            self.record.held_s += self._held_until_s - now

    async def _payload(self, cue: Cue) -> str:
        caller = self.record.caller
        if caller is None:
            lap = self._payloads[cue.track]
            return lap[cue.position % len(lap)]
        n_samples = self.plan.in_rate_hz * self.plan.chunk_ms // 1000
        while len(self._spoken) <= cue.position:
            due_s = len(self._spoken) * self.plan.chunk_ms / 1000
            marks = self.record.marks[self._n_marks_seen :]
            self._n_marks_seen += len(marks)
            reached = [mark.name for mark in marks if not mark.cleared]
            keys, samples = caller.step(due_s, self.now(), reached, n_samples)
            self._spoken.append(b64encode(self._encode(samples)).decode())
            for key in keys:
                await self.press(key)
        return self._spoken[cue.position]

    def _sequence_of(self, order: int) -> int:
        """Number chunks in their right order, although they may be sent in another one."""
        while len(self._sequences) <= order:
            self._sequences.append(self.next_sequence())
        return self._sequences[order]

    async def _linger(self) -> None:
        """Stay until the time to hang up, or else until the end has come back."""
        if self.plan.hang_up_at_s is not None:
            await self.closed.wait()
        with suppress(TimeoutError):
            await self.wait_until(lambda: self._returned_s() >= self._total_s, self.plan.linger_s)


def check(plan: CallPlan) -> None:
    """Do nothing if the plan can be carried out on this machine.

    Raises:
        CodecError: the plan's codecs cannot be had here, or not at its rates.
        PlanError: there is nothing to say.
    """
    voices(plan)
    Intake(plan)
    if plan.turns is not None:
        n_samples = plan.in_rate_hz * plan.chunk_ms // 1000
        codec(plan.codec).encoder(plan.in_rate_hz).encode(np.zeros(n_samples, np.int16))


async def place_call(
    url: str, plan: CallPlan, *, on_progress: OnProgress | None = None
) -> CallReport:
    """Hold one call from connected to close and return how it went; a peer's fault included.

    Raises:
        CodecError: the plan's codec cannot be had here.
        PlanError: the plan cannot be carried out.
    """
    return measure(await _hold(FakeCall.connect(url, plan), on_progress))


async def place_calls(
    url: str,
    plans: Sequence[CallPlan],
    *,
    first_s: float = 0.0,
    spacing_s: float = SPACING_S,
    on_progress: Callable[[int, Progress], None] | None = None,
) -> list[CallReport]:
    """Hold many calls at once and return how each went, in the order of the plans.

    Args:
        url: where all of them go.
        plans: one per call.
        first_s: the first one starts in so long.
        spacing_s: each starts so much later than the one before.
        on_progress: told which call, counted from 0, has come how far.

    Raises:
        CodecError, PlanError: as ``place_call``.
    """

    async def hold(number: int, call: FakeCall) -> Record:
        await asyncio.sleep(first_s + number * spacing_s)
        return await _hold(call, partial(on_progress, number) if on_progress else None)

    calls = [FakeCall.connect(url, plan) for plan in plans]
    records = await asyncio.gather(*(hold(*numbered) for numbered in enumerate(calls)))
    # Measured at the end: the work would delay calls that are still running.
    return [measure(record) for record in records]


async def _hold(call: FakeCall, on_progress: OnProgress | None) -> Record:
    try:
        async with call:
            await call.speak(on_progress)
    except CONNECT_ERRORS as error:
        call.record.error = no_connection(error)
    return call.record
