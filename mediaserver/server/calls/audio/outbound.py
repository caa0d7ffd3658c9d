"""What goes into the call, as awaitables over the pure playout."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from pathlib import Path
from time import monotonic

import numpy as np

from mediaserver.errors import AudioFormatError, CallEndedError
from mediaserver.media.frames import Int16Array, check_audio
from mediaserver.media.playout import NOTHING_SENT, Cause, Outcome, Play, Playout, Tally
from mediaserver.processors.api import AudioSource, PlayReason, PlayState
from mediaserver.server.calls.audio.alarm import Alarm
from mediaserver.server.calls.audio.sources import (
    LOOK_EVERY_S,
    Sources,
    is_audio_file,
    samples_of_bytes,
    samples_of_file,
)

# play() itself waits while more than this is queued.
QUEUE_LIMIT_S = 60.0
# How much longer than what is queued ``played_out`` waits for the far end to confirm it.
CONFIRM_WITHIN_S = 2.0


class _Awaited:
    """A play or mark that somebody may wait for; equal to another of the same outcome."""

    __slots__ = ("_first", "_future", "outcome")

    def __init__(self, outcome: Outcome) -> None:
        # What it is known by: one that is resumed gets another outcome.
        self._first = outcome
        self.outcome = outcome
        self._future: asyncio.Future[None] | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Awaited) and other._first is self._first

    def __hash__(self) -> int:
        return id(self._first)

    @property
    def state(self) -> PlayState:
        """Last known state."""
        return self.outcome.state

    @property
    def reason(self) -> PlayReason | None:
        """See ``Play.reason``."""
        return self.outcome.reason

    async def finished(self) -> PlayState:
        """Wait for its end: ``played``, ``cleared`` or ``failed``."""
        if not self.outcome.resolved:
            if self._future is None:
                self._future = asyncio.get_running_loop().create_future()
                self.outcome.notify(self._resolved)
            # Several may wait; one that is cancelled leaves the others waiting.
            await asyncio.shield(self._future)
        return self.state

    def _resolved(self, outcome: Outcome) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


class LiveMark(_Awaited):
    """A user's mark in a live call."""

    __slots__ = ()


class LivePlay(_Awaited):
    """One piece of audio in a live call."""

    __slots__ = ("_before_s", "_outbound", "_play", "_rest")

    def __init__(
        self, play: Play, outbound: Outbound, rest: tuple[Int16Array, int] | None = None
    ) -> None:
        self._first = self.outcome = self._play = play
        self._future = None
        self._outbound = outbound
        # Of one that is resumed: its audio with its rate, and what was heard on former sockets.
        self._rest = rest
        self._before_s = 0.0

    @property
    def heard(self) -> float:
        """Seconds of it the caller has heard, as far as known."""
        return self._before_s + self._play.heard_s(monotonic())

    def resume(self, playout: Playout) -> None:
        """Go on in another playout, from what was heard; the state is open again."""
        assert self._rest is not None
        samples, rate_hz = self._rest
        rest = samples[round(self.heard * rate_hz) :]
        self._before_s = self.heard
        self.outcome = self._play = playout.play(rest, rate_hz, monotonic())
        if self._future is not None:
            self.outcome.notify(self._resolved)

    def _resolved(self, outcome: Outcome) -> None:
        # One that is resumed ends with no socket.
        if self._rest is None or outcome.reason != "socket":
            super()._resolved(outcome)

    def cancel(self) -> None:
        """Send no more of it."""
        self._outbound.cancel(self._play)


class Outbound:
    """The outbound half of one call.

    Args:
        playout: paces, encodes and keeps the truth.
        alarm: set for when ``tick`` has work.
        ahead_s: how far ahead of the ear iterators are pulled.
    """

    __slots__ = (
        "_ahead_s",
        "_alarm",
        "_earlier",
        "_freed",
        "_resumed",
        "_sources",
        "ended",
        "playout",
        "rate_hz",
    )

    def __init__(self, playout: Playout, alarm: Alarm, ahead_s: float) -> None:
        self.playout = playout
        self.rate_hz = playout.ledger.rate_hz
        self.ended = False
        self._earlier = NOTHING_SENT
        self._alarm = alarm
        self._ahead_s = ahead_s
        self._sources = Sources(self._changed)
        self._freed: asyncio.Future[None] | None = None
        self._resumed: list[LivePlay] = []

    @property
    def tally(self) -> Tally:
        """What was sent and what became of it, over all sockets so far."""
        return self._earlier.plus(self.playout.tally)

    async def play(
        self,
        source: AudioSource,
        rate: int | None,
        *,
        live: bool = False,
        ahead_s: float | None = None,
        resume: bool = False,
    ) -> LivePlay:
        """See ``Call.play``."""
        if resume and live:
            raise AudioFormatError("live audio happens now: it cannot be resumed")
        if resume:
            source, rate = await self._whole(source, rate)
        if self.ended:  # perhaps while a file was read
            raise CallEndedError("the call has ended")
        playout = self.playout
        play = self._accept(source, rate, live, ahead_s)
        self._alarm.set(playout.next_at)
        accepted = LivePlay(play, self)
        if resume:
            assert isinstance(source, np.ndarray)
            accepted = LivePlay(play, self, (source, rate or self.rate_hz))
            self._resumed = [each for each in self._resumed if not each.outcome.resolved]
            self._resumed.append(accepted)
        if not live and playout.queued_s(monotonic()) > QUEUE_LIMIT_S:
            await self._room(playout)
        return accepted

    def _accept(
        self, source: AudioSource, rate: int | None, live: bool, ahead_s: float | None
    ) -> Play:
        """Queue a source of any kind."""
        playout, rate_hz = self.playout, rate or self.rate_hz
        if isinstance(source, bytes) and rate is not None and not is_audio_file(source):
            source = samples_of_bytes(source)
        if isinstance(source, np.ndarray) and source.ndim:
            return playout.play(source, rate_hz, monotonic(), live=live)
        if isinstance(source, Path | str | bytes):
            return self._sources.open_file(playout, source, self.rate_hz)
        if isinstance(source, AsyncIterable):
            ahead_s = self._ahead_s if ahead_s is None else ahead_s
            return self._sources.open_iterator(playout, source, rate_hz, live=live, ahead_s=ahead_s)
        raise AudioFormatError(
            "play() takes an int16 array, an async iterator of arrays or bytes, a path, or"
            f" bytes, not {type(source).__name__}"
        )

    async def _whole(self, source: AudioSource, rate: int | None) -> tuple[Int16Array, int | None]:
        """A source as one array, as only that can be gone on with."""
        if isinstance(source, bytes) and rate is not None and not is_audio_file(source):
            source = samples_of_bytes(source)
        if isinstance(source, Path | str | bytes):
            return await asyncio.to_thread(samples_of_file, source, self.rate_hz), self.rate_hz
        if isinstance(source, np.ndarray):
            check_audio(source, rate or self.rate_hz)
            return source.copy() if source.flags.writeable else source, rate
        raise AudioFormatError("resume takes an array, a file or bytes, no iterator")

    def play_live(self, samples: Int16Array, rate: int | None = None) -> None:
        """See ``Call.play_live``."""
        playout = self.playout
        playout.play_live(samples, rate or self.rate_hz, monotonic())
        at = playout.next_at
        alarm = self._alarm
        if at is not None and at < alarm.at:
            alarm.set(at)

    def is_speaking(self, now: float) -> bool:
        """The caller hears a play; live audio (an echo, a bridge) is none."""
        return self.playout.is_speaking(now)

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
        self._free()
        self._changed()
        known = {id(each.outcome): each for each in self._resumed}
        plays = [known.get(id(o)) or LivePlay(o, self) for o in cleared if isinstance(o, Play)]
        return {play: play.heard for play in plays}

    def cancel(self, play: Play) -> None:
        """See ``Play.cancel``."""
        self.playout.cancel(play, monotonic())
        self._free()
        self._changed()

    async def played_out(self) -> None:
        """Wait until all that was accepted so far is resolved; at most its length and 2 s."""
        if self.ended:
            return
        deadline = monotonic() + self.playout.queued_s(monotonic()) + CONFIRM_WITHIN_S
        mark = self.mark("")
        while not self.ended:
            heard = asyncio.ensure_future(mark.finished())
            await asyncio.wait({heard}, timeout=max(0.0, deadline - monotonic()))
            heard.cancel()
            if mark.reason == "socket" and not self.ended:  # what is resumed goes on behind it
                mark = self.mark("")
            elif mark.reason is None and self._sources.is_feeding:
                # An open source may have queued more meanwhile.
                deadline = monotonic() + self.playout.queued_s(monotonic()) + CONFIRM_WITHIN_S
            else:
                break

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
        """The socket changed: what was outstanding on the old one resolves as cleared.

        Plays that are to be resumed go on in the new one, from what was heard of them.
        """
        resumed = [each for each in self._resumed if not each.outcome.resolved]
        for each in resumed:
            each.outcome.goes_on_elsewhere()
        self._close("socket")
        # A cancelled one has ended, though its far end had not said so.
        resumed = [each for each in resumed if each.outcome.reason == "socket"]
        self._earlier = self.tally
        playout.blocked = blocked
        self.playout = playout
        self.rate_hz = playout.ledger.rate_hz
        self._resumed = resumed
        for play in resumed:
            play.resume(playout)
        self._changed()

    def end(self) -> None:
        """The call is over: everything outstanding resolves as cleared, now."""
        if not self.ended:
            self.ended = True
            self._close("ended")

    async def closed(self) -> None:
        """Wait until the sources of all plays have let go."""
        await self._sources.stopped()

    async def _room(self, playout: Playout) -> None:
        """Wait while too much is queued; what is cleared or closed makes room at once."""
        while not playout.is_closed:
            ahead_s = playout.queued_s(monotonic()) - QUEUE_LIMIT_S
            if ahead_s <= 0:
                break
            if self._freed is None:
                self._freed = asyncio.get_running_loop().create_future()
            await asyncio.wait({self._freed}, timeout=max(ahead_s, LOOK_EVERY_S))

    def _free(self) -> None:
        """Audio was dropped: who waits for room looks again, unwanted sources stop."""
        self._sources.stop_unwanted()
        freed, self._freed = self._freed, None
        if freed is not None:
            freed.set_result(None)

    def _close(self, cause: Cause) -> None:
        self.playout.close(monotonic(), cause)
        self._free()

    def _changed(self) -> None:
        """The playout's deadline may have moved."""
        if not self.ended:
            self._alarm.set(self.playout.next_at)
