"""What goes into the call, as awaitables over the pure playout."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from mediaserver.errors import AudioFormatError, CallEndedError
from mediaserver.media.frames import Int16Array
from mediaserver.media.playout import NOTHING_SENT, Outcome, Play, Playout, Tally
from mediaserver.processors.api import AudioSource, PlayState
from mediaserver.server.calls.audio.alarm import Alarm
from telephony_codecs import open_audio, resample_clip

logger = logging.getLogger(__name__)

# An iterator is pulled this far ahead of the ear; play() itself waits beyond the other.
PULL_AHEAD_S = 1.0
QUEUE_LIMIT_S = 60.0


class _Awaited:
    """A play or mark that somebody may wait for; equal to another of the same outcome."""

    __slots__ = ("_future", "outcome")

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self._future: asyncio.Future[None] | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Awaited) and other.outcome is self.outcome

    def __hash__(self) -> int:
        return id(self.outcome)

    @property
    def state(self) -> PlayState:
        """Last known state."""
        return self.outcome.state

    async def finished(self) -> PlayState:
        """Wait for its end: ``played``, ``cleared`` or ``failed``."""
        if not self.outcome.resolved:
            if self._future is None:
                self._future = asyncio.get_running_loop().create_future()
                self.outcome.notify(self._resolved)
            # Several may wait; one that is cancelled leaves the others waiting.
            await asyncio.shield(self._future)
        return self.state

    def _resolved(self, _: object) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


class LiveMark(_Awaited):
    """A user's mark in a live call."""

    __slots__ = ()


class LivePlay(_Awaited):
    """One piece of audio in a live call."""

    __slots__ = ("_item", "_outbound")

    def __init__(self, item: Play, outbound: Outbound) -> None:
        self.outcome = self._item = item
        self._future = None
        self._outbound = outbound

    @property
    def heard(self) -> float:
        """Seconds of it the caller has heard, as far as known."""
        return self._item.heard_s(monotonic())

    def cancel(self) -> None:
        """Send no more of it."""
        self._outbound.cancel(self._item)


class Outbound:
    """The outbound half of one call.

    Args:
        playout: paces, encodes and keeps the truth.
        alarm: set for when ``tick`` has work.
        spawn: starts a task that the session owns.
    """

    __slots__ = ("_alarm", "_earlier", "_spawn", "ended", "playout", "rate_hz")

    def __init__(
        self,
        playout: Playout,
        alarm: Alarm,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self.playout = playout
        self.rate_hz = playout.ledger.rate_hz
        self.ended = False
        self._earlier = NOTHING_SENT
        self._alarm = alarm
        self._spawn = spawn

    @property
    def tally(self) -> Tally:
        """What was sent and what became of it, over all sockets so far."""
        return self._earlier.plus(self.playout.tally)

    async def play(self, source: AudioSource, rate: int | None, *, live: bool) -> LivePlay:
        """See ``Call.play``."""
        if self.ended:
            raise CallEndedError("the call has ended")
        now = monotonic()
        playout = self.playout
        if isinstance(source, np.ndarray) and source.ndim:
            item = playout.play(source, rate or self.rate_hz, now, live=live)
        elif isinstance(source, (Path, str, bytes)):
            item = playout.open_clip(self.rate_hz, now)
            self._spawn(self._feed_file(item, source))
        elif not isinstance(source, AsyncIterable):
            raise AudioFormatError(
                "play() takes an int16 array, an async iterator of such, a path or bytes, not"
                f" {type(source).__name__}"
            )
        else:
            item = playout.open(rate or self.rate_hz, now, live=live)
            self._spawn(self._feed_iterator(item, source))
        self._alarm.set(playout.next_at)
        if not live and playout.queued_s(now) > QUEUE_LIMIT_S:
            await self._wait_below(QUEUE_LIMIT_S)
        return LivePlay(item, self)

    def play_live(self, samples: Int16Array, rate: int | None = None) -> None:
        """See ``Call.play_live``."""
        playout = self.playout
        playout.play_live(samples, rate or self.rate_hz, monotonic())
        at = playout.next_at
        alarm = self._alarm
        if at is not None and at < alarm.at:
            alarm.set(at)

    def mark(self, name: str) -> LiveMark:
        """See ``Call.mark``."""
        if self.ended:
            raise CallEndedError("the call has ended")
        mark = LiveMark(self.playout.mark(name, monotonic()))
        self._changed()
        return mark

    def clear(self) -> dict[LivePlay, float]:
        """Seconds heard of each outstanding play, all of them now cleared."""
        now = monotonic()
        cleared = self.playout.clear(now)
        self._changed()
        return {LivePlay(o, self): o.heard_s(now) for o in cleared if isinstance(o, Play)}

    def cancel(self, item: Play) -> None:
        """See ``Play.cancel``."""
        self.playout.cancel(item, monotonic())
        self._changed()

    def mark_returned(self, name: str, now: float) -> None:
        """A mark came back from the far end."""
        self.playout.mark_returned(name, now)
        self._changed()

    def block(self, blocked: bool) -> None:
        """Send nothing for now, or again; ``tick`` after that."""
        self.playout.blocked = blocked

    def tick(self, now: float) -> None:
        """Send what is due."""
        self.playout.tick(now)

    def renew(self, playout: Playout, *, blocked: bool = False) -> None:
        """The socket changed: what was outstanding on the old one resolves as cleared."""
        self.playout.close(monotonic())
        self._earlier = self.tally
        playout.blocked = blocked
        self.playout = playout
        self.rate_hz = playout.ledger.rate_hz
        self._changed()

    def end(self) -> None:
        """The call is over: everything outstanding resolves as cleared."""
        if not self.ended:
            self.ended = True
            self.playout.close(monotonic())

    def _changed(self) -> None:
        """The playout's deadline may have moved."""
        self._alarm.set(self.playout.next_at)

    async def _feed_file(self, item: Play, source: Path | str | bytes) -> None:
        """Open an audio file of any kind off the loop, then queue all of it."""
        playout = self.playout
        try:
            samples = await asyncio.to_thread(_samples_of, source, self.rate_hz)
        except Exception as exc:  # a name may be none that a file can have, and more
            logger.warning("cannot play %s: %s", _name_of(source), exc)
            playout.fail(item, monotonic())
        else:
            playout.feed(item, samples, monotonic())
            playout.end(item, monotonic())
        self._changed()

    async def _feed_iterator(self, item: Play, source: AsyncIterator[Int16Array]) -> None:
        """Pull a source a little ahead of the ear until it ends or is not wanted any more."""
        playout = self.playout
        try:
            async for samples in source:
                if not item.is_open:  # cleared or cancelled: nobody wants the rest
                    break
                playout.feed(item, samples, monotonic())
                self._changed()
                await self._wait_below(PULL_AHEAD_S)
        except Exception:  # the border to a user's source
            logger.exception("a play's source failed")
            playout.fail(item, monotonic())
        else:
            playout.end(item, monotonic())
        self._changed()
        aclose = getattr(source, "aclose", None)
        if aclose is not None:
            await aclose()

    async def _wait_below(self, limit_s: float) -> None:
        """Wait while more than ``limit_s`` of audio is queued."""
        while not self.ended:
            ahead_s = self.playout.queued_s(monotonic()) - limit_s
            if ahead_s <= 0:
                break
            await asyncio.sleep(ahead_s)


def _samples_of(source: Path | str | bytes, rate_hz: int) -> Int16Array:
    """An audio file as samples at ``rate_hz``; takes its time."""
    samples, from_hz = open_audio(source)
    return resample_clip(samples, from_hz, rate_hz)


def _name_of(source: Path | str | bytes) -> str:
    return f"{len(source)} bytes" if isinstance(source, bytes) else str(source)
