"""What goes into the call, as awaitables over the pure playout."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

import numpy as np

from mediaserver.errors import CallEndedError
from mediaserver.media.frames import Int16Array
from mediaserver.media.playout import PlayItem, Playout
from mediaserver.processors.core import AudioSource, PlayState
from telephony_codecs import CodecError, open_audio

logger = logging.getLogger(__name__)

# An iterator is pulled this far ahead of the ear; play() itself waits beyond the other.
PULL_AHEAD_S = 1.0
QUEUE_LIMIT_S = 60.0


class Resolvable(Protocol):
    """A play or a mark of the playout."""

    state: PlayState
    on_resolved: Callable[[], None] | None


class _Awaited:
    """A play or mark that somebody may wait for."""

    __slots__ = ("_future", "item")

    def __init__(self, item: Any) -> None:
        self.item = item
        self._future: asyncio.Future[None] | None = None

    @property
    def state(self) -> PlayState:
        """Last known state."""
        state: PlayState = self.item.state
        return state

    async def finished(self) -> PlayState:
        """Wait for its end: ``played``, ``cleared`` or ``failed``."""
        if self.state in ("queued", "playing"):
            if self._future is None:
                self._future = asyncio.get_running_loop().create_future()
                self.item.on_resolved = self._resolved
            # Several may wait; one that is cancelled leaves the others waiting.
            await asyncio.shield(self._future)
        return self.state

    def _resolved(self, _item: object) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


class LiveMark(_Awaited):
    """A user's mark in a live call."""

    __slots__ = ()


class LivePlay(_Awaited):
    """One piece of audio in a live call."""

    __slots__ = ("_outbound",)

    def __init__(self, item: PlayItem, outbound: Outbound) -> None:
        super().__init__(item)
        self._outbound = outbound

    @property
    def heard(self) -> float:
        """Seconds of it the caller has heard, as far as known."""
        heard_s: float = self.item.heard_s(monotonic())
        return heard_s

    def cancel(self) -> None:
        """Send no more of it."""
        self._outbound.cancel(self)


class Outbound:
    """The outbound half of one call.

    Args:
        playout: paces, encodes and keeps the truth.
        changed: called after everything that may have moved the playout's deadline.
        spawn: starts a task that the session owns.
    """

    def __init__(
        self,
        playout: Playout,
        changed: Callable[[], None],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self.playout = playout
        self.rate_hz = playout.rate_hz
        self._changed = changed
        self._spawn = spawn
        self._plays: dict[PlayItem, LivePlay] = {}
        self.ended = False

    async def play(self, source: AudioSource, rate: int | None, *, live: bool) -> LivePlay:
        """See ``Call.play``."""
        if self.ended:
            raise CallEndedError("the call has ended")
        rate_hz = rate or self.rate_hz
        if isinstance(source, np.ndarray):
            play = LivePlay(self.playout.play(source, rate_hz, monotonic(), live=live), self)
            self._changed()
        elif isinstance(source, (Path, str, bytes)):
            play = self._open(rate_hz)
            self._spawn(self._feed_file(play.item, source))
        else:
            play = self._open(rate_hz)
            self._spawn(self._feed_iterator(play.item, source, rate_hz))
        if self.playout.queued_s(monotonic()) > QUEUE_LIMIT_S:
            await self._wait_below(QUEUE_LIMIT_S)
        return play

    def mark(self, name: str) -> LiveMark:
        """See ``Call.mark``."""
        if self.ended:
            raise CallEndedError("the call has ended")
        mark = LiveMark(self.playout.mark(name, monotonic()))
        self._changed()
        return mark

    def clear(self) -> dict[PlayItem, float]:
        """Seconds heard of each outstanding play, all of them now cleared."""
        heard = self.playout.clear(monotonic())
        self._changed()
        return heard

    def cancel(self, play: LivePlay) -> None:
        """See ``Play.cancel``."""
        self.playout.cancel(play.item, monotonic())
        self._changed()

    def end(self) -> None:
        """The call is over: everything outstanding resolves as cleared."""
        if not self.ended:
            self.ended = True
            self.playout.close(monotonic())

    def _open(self, rate_hz: int) -> LivePlay:
        play = LivePlay(self.playout.open(rate_hz, monotonic()), self)
        self._changed()
        return play

    async def _feed_file(self, item: PlayItem, source: Path | str | bytes) -> None:
        """Open an audio file of any kind off the loop, then queue all of it."""
        playout = self.playout
        try:
            samples, rate_hz = await asyncio.to_thread(open_audio, source)
        except (OSError, CodecError) as exc:
            logger.warning("cannot play %s: %s", _name_of(source), exc)
            playout.fail(item, monotonic())
        else:
            playout.feed(item, samples, monotonic(), rate_hz=rate_hz)
            playout.end(item, monotonic())
        self._changed()

    async def _feed_iterator(
        self, item: PlayItem, source: AsyncIterator[Int16Array]
    ) -> None:
        """Pull a source a little ahead of the ear until it ends or is not wanted any more."""
        playout = self.playout
        try:
            async for samples in source:
                if item.resolved:
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
        while not self.ended and (ahead_s := self.playout.queued_s(monotonic()) - limit_s) > 0:
            await asyncio.sleep(ahead_s)


def _name_of(source: Path | str | bytes) -> str:
    return f"{len(source)} bytes" if isinstance(source, bytes) else str(source)
