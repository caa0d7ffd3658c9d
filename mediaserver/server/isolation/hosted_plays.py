"""In the server's process: what the chain of an isolated call plays."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from functools import partial

import msgspec
import numpy as np

from mediaserver.errors import ListenOnlyError, MediaServerError
from mediaserver.logs import LimitedLog, shown
from mediaserver.media.frames import Int16Array
from mediaserver.server.calls.audio.outbound import LiveMark, LivePlay, Outbound
from mediaserver.server.isolation import messages

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

# How often a host learns how much of its plays was heard.
NEWS_EVERY_S = 0.1
# What of a call's audio may wait here: 140 minutes at 8 kHz. A host is not to fill the memory of
# the process that carries its call, where others' calls are; further plays fail.
MAX_QUEUED_BYTES = 128 << 20
MAX_OUTSTANDING = 10_000  # plays and marks


class SourceFailedError(MediaServerError):
    """The source of a play failed in its host, which has said why in the log."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return f"its source failed in the processor host: {self.why}"


class HostedPlays:
    """Plays, marks and sources of one call, by the numbers its host gave them.

    Args:
        outbound: of the call.
        say: sends the host a message about the call.
        call_id: of the call, for logs.
    """

    def __init__(
        self, outbound: Outbound, say: Callable[[msgspec.Struct], None], call_id: str
    ) -> None:
        self._outbound = outbound
        self._say = say
        self._call_id = call_id
        self._n_bytes: dict[int, int] = {}
        self._n_queued = 0
        self._refused: set[int] = set()
        self._entries: dict[int, LivePlay | LiveMark] = {}
        self._live: set[int] = set()
        self._sources: dict[int, _Source] = {}
        self._parts: dict[int, list[Int16Array]] = {}
        self._news: asyncio.TimerHandle | None = None
        self._told: dict[int, tuple[str, float]] = {}

    # What the host says.

    def live(self, content: memoryview) -> None:
        """Audio that happens now."""
        (rate,) = messages.LIVE_HEAD.unpack_from(content)
        samples = np.frombuffer(content, np.int16, offset=messages.LIVE_HEAD.size)
        # A host that is in order has refused it itself.
        with contextlib.suppress(ListenOnlyError):
            self._outbound.play_live(samples, rate or None)

    def play(self, content: memoryview) -> None:
        """A play, or a piece of it."""
        number, rate, flags = messages.PLAY_HEAD.unpack_from(content)
        goes_on = bool(flags & messages.PLAY_GOES_ON)
        if number in self._refused or not self._has_room(number, len(content)):
            self._refuse(number, goes_on=goes_on)
            return
        samples = np.frombuffer(content, np.int16, offset=messages.PLAY_HEAD.size)
        parts = self._parts.get(number)
        if goes_on or parts:
            parts = self._parts.setdefault(number, [])
            parts.append(samples)
            if goes_on:
                return
            samples = np.concatenate(self._parts.pop(number))
            samples.setflags(write=False)
        live, resume = bool(flags & messages.PLAY_LIVE), bool(flags & messages.PLAY_RESUME)
        self._take(
            number,
            lambda: self._outbound.accept(samples, rate or None, live=live, resume=resume),
            live=live,
        )

    def start_source(self, start: messages.StartSource) -> None:
        """A play whose samples are pulled from the host."""
        number = start.play
        source = self._sources[number] = _Source(
            partial(self._say, messages.Pull(number)),
            partial(self._say, messages.StopSource(number)),
        )
        is_whole = start.clip and self._outbound.playout.plays_clips_only
        self._take(
            number,
            lambda: self._outbound.accept(
                source.whole() if is_whole else source.chunks(),
                start.rate or None,
                live=start.live,
                ahead_s=float("inf") if start.clip else start.ahead_s,
                clip=start.clip,
            ),
            live=start.live,
        )

    def feed(self, content: memoryview) -> None:
        """A chunk that was pulled."""
        (number,) = messages.FEED_HEAD.unpack_from(content)
        source = self._sources.get(number)
        if source is None:
            return
        if self._has_room(number, len(content)):
            source.give(np.frombuffer(content, np.int16, offset=messages.FEED_HEAD.size))
        else:
            del self._sources[number]
            source.end("too much audio is queued")

    def source_ended(self, ended: messages.SourceEnded) -> None:
        """A source has no more."""
        source = self._sources.pop(ended.play, None)
        if source is not None:
            source.end(ended.failed)

    def place_mark(self, mark: messages.PlaceMark) -> None:
        """A mark."""
        if len(self._entries) >= MAX_OUTSTANDING:
            self._say(messages.PlayNews(mark.play, "cleared", "source"))
            return
        self._take(mark.play, lambda: self._outbound.mark(mark.name))

    def cancel(self, number: int) -> None:
        """Send no more of a play."""
        entry = self._entries.get(number)
        if isinstance(entry, LivePlay):
            entry.cancel()

    def clear(self) -> list[tuple[int, float]]:
        """Silence the call; seconds heard of each outstanding play."""
        numbers = {entry: number for number, entry in self._entries.items()}
        cleared = self._outbound.clear_now()
        heard = [(numbers[play], heard) for play, heard in cleared.items() if play in numbers]
        for number, entry in list(self._entries.items()):
            if entry.reason is not None:
                self._tell_end(number)
        return heard

    # What becomes of them.

    def lost(self) -> None:
        """The host is gone: its sources bring no more, and nobody asks for its plays."""
        for source in self._sources.values():
            source.end("the host is gone")
        self._sources.clear()
        self._entries.clear()
        self._parts.clear()
        self._n_bytes.clear()
        if self._news is not None:
            self._news.cancel()

    def _has_room(self, number: int, n_bytes: int) -> bool:
        """Count so much more as queued for a play, if it may be."""
        if self._n_queued + n_bytes > MAX_QUEUED_BYTES:
            return False
        if len(self._entries) >= MAX_OUTSTANDING and number not in self._entries:
            return False
        self._n_queued += n_bytes
        self._n_bytes[number] = self._n_bytes.get(number, 0) + n_bytes
        return True

    def _free(self, number: int) -> None:
        self._n_queued -= self._n_bytes.pop(number, 0)

    def _refuse(self, number: int, *, goes_on: bool) -> None:
        """Let a play fail for which there is no room, and ignore what else comes of it."""
        if number not in self._refused:
            self._parts.pop(number, None)
            self._free(number)
            limited.warning(
                "plays for which there was no room",
                "call %s: a play failed: more than %d MiB or %d plays would be queued",
                shown(self._call_id),
                MAX_QUEUED_BYTES >> 20,
                MAX_OUTSTANDING,
                call=self._call_id,
            )
            self._say(messages.PlayNews(number, "failed", "source"))
        if goes_on:
            self._refused.add(number)
        else:
            self._refused.discard(number)

    def _take(
        self, number: int, accept: Callable[[], LivePlay | LiveMark], *, live: bool = False
    ) -> None:
        try:
            entry = self._entries[number] = accept()
        except MediaServerError:
            # Its host has checked what it asks for: the call has ended, or changed its format.
            ended = self._outbound.ended
            self._sources.pop(number, None)
            self._free(number)
            self._say(
                messages.PlayNews(
                    number, "cleared" if ended else "failed", "ended" if ended else "source"
                )
            )
            return
        entry.end().add_done_callback(lambda _: self._tell_end(number))
        if live:
            self._live.add(number)
        elif self._news is None and isinstance(entry, LivePlay):
            self._news = asyncio.get_running_loop().call_later(NEWS_EVERY_S, self._tell_news)

    def _tell_end(self, number: int) -> None:
        self._free(number)
        self._sources.pop(number, None)
        entry = self._entries.pop(number, None)
        if entry is None:
            return
        self._live.discard(number)
        self._told.pop(number, None)
        heard = entry.heard if isinstance(entry, LivePlay) else 0.0
        self._say(messages.PlayNews(number, entry.state, entry.reason, heard))

    def _tell_news(self) -> None:
        """How much was heard of the plays that somebody may ask about."""
        self._news = None
        is_wanted = False
        for number, entry in self._entries.items():
            if number in self._live or not isinstance(entry, LivePlay):
                continue
            is_wanted = True
            news = entry.state, entry.heard
            if news != self._told.get(number, ("queued", 0.0)):
                self._told[number] = news
                self._say(messages.PlayNews(number, entry.state, None, entry.heard))
        if is_wanted:
            self._news = asyncio.get_running_loop().call_later(NEWS_EVERY_S, self._tell_news)


class _Source:
    """A source in the host, pulled from here."""

    def __init__(self, pull: Callable[[], None], stop: Callable[[], None]) -> None:
        self._pull = pull
        self._stop = stop
        self._chunks: asyncio.Queue[Int16Array | str | None] = asyncio.Queue()
        self._is_over = False

    def give(self, samples: Int16Array) -> None:
        """A chunk."""
        self._chunks.put_nowait(samples)

    def end(self, failed: str | None) -> None:
        """No more come."""
        self._is_over = True
        self._chunks.put_nowait(failed)

    async def chunks(self) -> AsyncIterator[Int16Array]:
        """Its chunks; each is asked for when it is wanted."""
        try:
            while True:
                self._pull()
                chunk = await self._chunks.get()
                if chunk is None:
                    return
                if isinstance(chunk, str):
                    raise SourceFailedError(chunk)
                yield chunk
        finally:
            if not self._is_over:
                self._stop()

    async def whole(self) -> AsyncIterator[Int16Array]:
        """All its chunks as one: in mode mp3 each would be a file of its own."""
        chunks = [chunk async for chunk in self.chunks()]
        if chunks:
            yield np.concatenate(chunks)
