"""One call of a caller who is there: a fake Telnyx call whose audio is live, both ways."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
from pybase64 import b64encode

from mediaserver.carrier.line import Line
from mediaserver.carrier.plan import CallPlan
from mediaserver.carrier.record import SentChunk
from mediaserver.phone.delay import EchoDelay
from mediaserver.phone.earpiece import Earpiece
from mediaserver.phone.ledger import Ledger
from mediaserver.phone.source import Clip, Source
from mediaserver.phone.way import Way
from telephony_codecs import Int16Array, codec

TRACK = "inbound"
# A caller that was late by more, as a machine that slept, goes on from now.
MOST_LATE_S = 1.0
HANG_UP_WITHIN_S = 3.0
MAX_WAITING = 250
"""Chunks that wait for a server that does not read: five seconds."""


class LiveCall(Line):
    """A call that sends what a source gives, chunk by chunk, and hands on what is heard.

    **Enter it, which connects; call ``hold``: it returns when the call is over; leave it.**

    Args:
        url: of the server.
        plan: formats, ids and token of the call; of what is kept only the figures.
        source: what the caller says.
        on_heard: given what was heard, in order, int16 ``(n,)`` at ``plan.out_rate_hz``.

    Attributes:
        way: loss and jitter on the way to the server.
        ledger: what became of the audio for the caller.
        n_lost: chunks lost on the way.
        n_held: chunks never sent, as the server did not read.
    """

    def __init__(
        self,
        url: str,
        plan: CallPlan,
        source: Source,
        on_heard: Callable[[Int16Array], None],
    ) -> None:
        self._earpiece = Earpiece(plan.out_rate_hz)
        super().__init__(url, plan, {}, listener=self._earpiece)
        self.way: Way = Way(Random(plan.seed))
        self.ledger: Ledger = Ledger(self.record, self._earpiece.heard)
        self.n_lost: int = 0
        self.n_held: int = 0
        self._source = source
        self._on_heard = on_heard
        self._encoder = codec(plan.codec).encoder(plan.in_rate_hz)
        self._delay = EchoDelay(plan.in_rate_hz, plan.out_rate_hz)
        self._n_chunk = plan.in_rate_hz * plan.chunk_ms // 1000
        self._position = 0
        self._waiting: asyncio.Queue[tuple[float, int, SentChunk, str]] = asyncio.Queue(MAX_WAITING)

    def speak_from(self, source: Source) -> None:
        """Say from now on what this source gives."""
        self._source = source

    async def press(self, digit: str) -> None:
        """Send a key press; if the server does not read, it is lost."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HANG_UP_WITHIN_S):
                await super().press(digit)

    async def hang_up(self) -> None:
        """End the call; one whose server does not read is cut."""
        try:
            async with asyncio.timeout(HANG_UP_WITHIN_S):
                await super().hang_up()
        except TimeoutError:
            self.cut()
            await self.closed.wait()

    async def hold(self, seconds: float) -> None:
        """Talk and listen until the call is over, or for so long."""
        sender = asyncio.create_task(self._send_all())
        try:
            await self._talk(seconds)
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    async def _talk(self, seconds: float) -> None:
        """Keep the clock: what is late is said at once."""
        chunk_s = self.plan.chunk_ms / 1000
        while not self.over.is_set() and self.now() < seconds:
            late_s = self.now() - self._position * chunk_s
            if late_s > MOST_LATE_S:
                self._skip(int(late_s / chunk_s))
            elif late_s < 0:
                await asyncio.sleep(-late_s)
            else:
                self._say(self._source.take(self._n_chunk), late_s)
                self._listen_in()

    def _skip(self, n_chunks: int) -> None:
        self._delay.said(np.zeros(n_chunks * self._n_chunk, np.int16))
        self._position += n_chunks

    def _say(self, samples: Int16Array, late_s: float) -> None:
        self._delay.said(samples)
        payload = b64encode(self._encoder.encode(samples)).decode()
        now, position = self.now(), self._position
        self._position += 1
        # What is lost uses up its numbers: that is how the server knows.
        sequence = self.next_sequence()
        due_s = self.way.due(now)
        if due_s is None:
            self.n_lost += 1
        elif self._waiting.full():
            self.n_held += 1
        else:
            sent = SentChunk(TRACK, position, now, late_s)
            self._waiting.put_nowait((due_s, sequence, sent, payload))

    def _listen_in(self) -> None:
        heard = self._earpiece.take(self.now())
        self._delay.heard(heard)
        self._on_heard(heard)

    async def _send_all(self) -> None:
        while True:
            due_s, sequence, sent, payload = await self._waiting.get()
            await asyncio.sleep(due_s - self.now())
            chunk = self.plan.first_chunk + sent.position
            await self._send_media(sequence, chunk, sent, payload)

    def figures(self) -> dict[str, Any]:
        """Return how the call goes, as it is shown; times are in seconds."""
        now, ear, record = self.now(), self.intake.ear, self.record
        returned_s, queued_s = ear.n_fed / ear.rate_hz, ear.queued_s(now)
        return {
            "at_s": now,
            "sent": len(record.sent),
            "lost": self.n_lost,
            "held": self.n_held,
            "returned_s": returned_s,
            "queued_s": queued_s,
            "unheard_s": self.ledger.unheard_s,
            "heard_s": max(0.0, returned_s - queued_s - self.ledger.unheard_s),
            "marks": len(record.marks),
            "clears": self.ledger.clears,
            "errors": len(record.complaints) + sum(self.intake.silent.values()),
            "echo_s": self._delay.look(),
            "waiting_s": self._source.waiting_s,
            "clip": isinstance(self._source, Clip),
        }
