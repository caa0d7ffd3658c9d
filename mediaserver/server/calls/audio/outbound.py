"""What goes into the call, as awaitables over the pure playout."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from pathlib import Path
from time import monotonic

import numpy as np

from mediaserver.errors import CallEndedError
from mediaserver.media.frames import Int16Array
from mediaserver.media.playout import NOTHING_SENT, Cause, Outcome, Play, Playout, Tally
from mediaserver.media.playout.ear.listening import Listener
from mediaserver.processors import api
from mediaserver.processors.api import AudioSource, MarkEnd, PlayEnd, PlayReason, PlayState
from mediaserver.server.calls.audio.alarm import Alarm
from mediaserver.server.calls.audio.sources import (
    LOOK_EVERY_S,
    Sources,
    check_resumable,
    is_audio_file,
    no_source,
    own,
    samples_of_bytes,
    whole,
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
        self.outcome: Outcome = outcome
        self._future: asyncio.Future[None] | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Awaited):
            return NotImplemented  # it may be made of this one
        return other._first is self._first

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

    async def finished(self) -> PlayEnd:
        """Wait for its end: ``played``, ``cleared`` or ``failed``."""
        if not self.outcome.resolved:
            # Several may wait; one that is cancelled leaves the others waiting.
            await asyncio.shield(self.end())
        state = self.state
        assert state != "queued", "it has its final state"
        assert state != "playing", "it has its final state"
        return state

    def end(self) -> asyncio.Future[None]:
        """Done when the state is final; not to be cancelled."""
        if self._future is None:
            self._future = asyncio.get_running_loop().create_future()
            self.outcome.notify(self._resolved)
        return self._future

    def _resolved(self, outcome: Outcome) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


class LiveMark(_Awaited):
    """A user's mark in a live call."""

    __slots__ = ()

    async def finished(self) -> MarkEnd:
        """Wait for its end: ``played`` or ``cleared``."""
        end = await super().finished()
        assert end != "failed", "a mark has no source"
        return end


class LivePlay(_Awaited):
    """One piece of audio in a live call."""

    outcome: Outcome

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
        call_id: of the call, for logs.
    """

    __slots__ = (
        "_ahead_s",
        "_alarm",
        "_blocked_at",
        "_blocked_s",
        "_earlier",
        "_freed",
        "_listeners",
        "_resumed",
        "_sources",
        "ended",
        "playout",
        "rate_hz",
    )

    def __init__(self, playout: Playout, alarm: Alarm, ahead_s: float, call_id: str = "") -> None:
        self.playout: Playout = playout
        self.rate_hz: int = playout.ledger.rate_hz
        self.ended: bool = False
        self._blocked_at: float | None = None
        self._blocked_s = 0.0
        self._earlier = NOTHING_SENT
        self._alarm = alarm
        self._ahead_s = ahead_s
        self._sources = Sources(self._changed, call_id)
        self._freed: asyncio.Future[None] | None = None
        self._listeners: list[Listener] = []
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
        check_resumable(live=live, resume=resume)
        if resume:
            source, rate = await whole(source, rate, self.rate_hz)
        source = await own(source, rate or self.rate_hz)
        accepted = self.accept(source, rate, live=live, ahead_s=ahead_s, resume=resume)
        if not live:
            await self.room()
        return accepted

    def accept(
        self,
        source: AudioSource,
        rate: int | None,
        *,
        live: bool = False,
        ahead_s: float | None = None,
        resume: bool = False,
        clip: bool = False,
    ) -> LivePlay:
        """Queue a source of any kind; as ``play``, without waiting for room.

        Args:
            source: one that is to be resumed is an array.
            clip: an iterator whose audio is all there: one whole message in mode mp3.
        """
        if self.ended:  # perhaps while a file was read
            raise CallEndedError("the call has ended")
        playout = self.playout
        play = self._accept(source, rate, live, ahead_s, clip)
        self._alarm.set(playout.next_at)
        accepted = LivePlay(play, self)
        if resume:
            assert isinstance(source, np.ndarray)
            accepted = LivePlay(play, self, (source, rate or self.rate_hz))
            self._resumed = [each for each in self._resumed if not each.outcome.resolved]
            self._resumed.append(accepted)
        return accepted

    async def room(self) -> None:
        """Wait while too much is queued; what is cleared or closed makes room at once."""
        playout = self.playout
        if playout.queued_s(monotonic()) > QUEUE_LIMIT_S:
            await self._room(playout)

    def _accept(
        self, source: AudioSource, rate: int | None, live: bool, ahead_s: float | None, clip: bool
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
            return self._sources.open_iterator(
                playout, source, rate_hz, live=live, ahead_s=ahead_s, clip=clip
            )
        raise no_source(source)

    def play_live(self, samples: Int16Array, rate: int | None = None) -> None:
        """See ``Call.play_live``."""
        playout = self.playout
        playout.play_live(samples, rate or self.rate_hz, monotonic())
        at = playout.next_at
        alarm = self._alarm
        if at is not None and at < alarm.at:
            alarm.set(at)

    def listen(self, listener: Listener) -> None:
        """Tell a listener what is at the ear, on this socket and on later ones."""
        self._listeners.append(listener)
        self.playout.listen(listener, monotonic)

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

    async def clear(self) -> dict[api.Play, float]:
        """See ``Call.clear``."""
        return dict(self.clear_now().items())

    def clear_now(self) -> dict[LivePlay, float]:
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
        self._blocked_s = self.blocked_s
        self._blocked_at = monotonic() if blocked else None

    @property
    def blocked_s(self) -> float:
        """How long the peer has read too slowly, in all."""
        now_s = 0.0 if self._blocked_at is None else monotonic() - self._blocked_at
        return self._blocked_s + now_s

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
        self.block(False)
        # A cancelled one has ended, though its far end had not said so.
        resumed = [each for each in resumed if each.outcome.reason == "socket"]
        self._earlier = self.tally
        playout.blocked = blocked
        self.playout = playout
        self.rate_hz = playout.ledger.rate_hz
        for listener in self._listeners:
            listener.cleared(monotonic())
            playout.listen(listener, monotonic)
        self._resumed = resumed
        for play in resumed:
            play.resume(playout)
        self._changed()

    def end(self) -> None:
        """The call is over: everything outstanding resolves as cleared, now."""
        if not self.ended:
            self.ended = True
            self.block(False)
            self._close("ended")

    async def closed(self) -> int:
        """Wait until the sources of all plays have let go; how many have not, and are left."""
        return await self._sources.stopped()

    async def _room(self, playout: Playout) -> None:
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
