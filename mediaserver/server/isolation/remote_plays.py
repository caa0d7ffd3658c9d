"""In a processor host: what its processors play; the playout itself is in the server's process."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
import numpy as np

from mediaserver.errors import (
    LISTEN_ONLY,
    AudioFormatError,
    CallEndedError,
    ConfigurationError,
    ListenOnlyError,
)
from mediaserver.logs import LimitedLog, shown
from mediaserver.logs.owners import Owner, note
from mediaserver.media.frames import Int16Array, check_audio
from mediaserver.media.playout.convert import Converter
from mediaserver.processors.api import (
    AudioSource,
    Mark,
    MarkEnd,
    Play,
    PlayEnd,
    PlayReason,
    PlayState,
)
from mediaserver.server.calls.audio.sources import (
    Chunks,
    all_ended,
    check_resumable,
    close_source,
    is_audio_file,
    no_source,
    samples_of_bytes,
    samples_of_file,
    whole,
)
from mediaserver.server.isolation import messages
from mediaserver.server.isolation.link import Link
from telephony_codecs import CodecError

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

# Longer audio goes in pieces, so that other calls' packets come in between.
PIECE_SAMPLES = 16 * 1024
# play() asks for room once so much of its call's audio is outstanding.
ASK_FROM_S = 50.0


class RemotePlay:
    """Stands for a play or mark that is in the server's process; a ``Play`` and a ``Mark``."""

    def __init__(self, number: int, cancel: Callable[[int], None], seconds: float = 0.0) -> None:
        self.number = number
        self.state: PlayState = "queued"
        self.reason: PlayReason | None = None
        self.heard: float = 0.0
        self.seconds = seconds
        self._cancel = cancel
        self._end = asyncio.get_running_loop().create_future()

    @property
    def is_over(self) -> bool:
        """Its state is final."""
        return self._end.done()

    async def finished(self) -> PlayEnd:
        """See ``Play.finished``."""
        await asyncio.shield(self._end)
        state = self.state
        assert state != "queued", "it has its final state"
        assert state != "playing", "it has its final state"
        return state

    def cancel(self) -> None:
        """See ``Play.cancel``."""
        if not self.is_over:
            self._cancel(self.number)

    def learn(self, state: PlayState, reason: PlayReason | None, heard: float) -> None:
        """What the server's process says of it; with a reason it is final."""
        if self.is_over:
            return
        self.state, self.reason, self.heard = state, reason, heard
        if reason is not None:
            self._end.set_result(None)


class RemoteMark(RemotePlay):
    """A mark, likewise; a ``Mark``."""

    async def finished(self) -> MarkEnd:
        """See ``Mark.finished``."""
        end = await super().finished()
        assert end != "failed", "a mark has no source"
        return end


class RemotePlays:
    """The outbound half of one call, in a host.

    Args:
        link: the way to the server's process.
        call: the call's number on it.
        request: asks for something and waits for the reply's result.
        send_rate_hz: of what goes into the call.
        mode: ``rtp``, ``mp3``, or ``none`` where nothing can be played.
        call_id: of the call, for logs.

    Attributes:
        ended: the call is over.
        unsent_s: seconds of live audio that were dropped because the link was full.
    """

    def __init__(
        self,
        link: Link,
        call: int,
        request: Callable[[Any], Awaitable[Any]],
        send_rate_hz: int,
        mode: str,
        call_id: str,
    ) -> None:
        self.ended: bool = False
        self.unsent_s: float = 0.0
        self._call_id = call_id
        self._link = link
        self._call = call
        self._request = request
        self._is_mp3 = mode == "mp3"
        self._is_listen_only = mode == "none"
        self._rate_hz = send_rate_hz
        self._converter = Converter(send_rate_hz)
        self._numbers = itertools.count(1)
        self._plays: dict[int, RemotePlay] = {}
        self._pulls: dict[int, asyncio.Semaphore] = {}
        self._sources: dict[int, asyncio.Task[None]] = {}
        self._ending: set[int] = set()  # of these, the ones whose sources are closing
        self._queued_s = 0.0

    def renew(self, send_rate_hz: int, mode: str) -> None:
        """Another socket has brought another format."""
        self._rate_hz = send_rate_hz
        self._is_mp3 = mode == "mp3"
        self._converter = Converter(send_rate_hz)

    # What processors call; see ``Call``.

    async def play(
        self,
        source: AudioSource,
        rate: int | None,
        *,
        live: bool = False,
        ahead_s: float | None = None,
        resume: bool = False,
    ) -> Play:
        """See ``Call.play``."""
        self._check_can_send()
        check_resumable(live=live, resume=resume)
        if resume:
            source, rate = await whole(source, rate, self._rate_hz)
        if self.ended:
            raise CallEndedError("the call has ended")
        self._check_rate(rate)
        if isinstance(source, bytes) and rate is not None and not is_audio_file(source):
            source = samples_of_bytes(source)
        if isinstance(source, np.ndarray) and source.ndim:
            return await self._play_array(source, rate or 0, live=live, resume=resume)
        if isinstance(source, Path | str | bytes):
            clip = self._start(_pieces_of_file(source, self._rate_hz), self._rate_hz, clip=True)
            await self._request("room")
            return clip
        if isinstance(source, AsyncIterable):
            play = self.accept(source, rate, live=live, ahead_s=ahead_s)
            if not live:
                await self._request("room")
            return play
        raise no_source(source)

    def accept(
        self,
        source: AsyncIterable[Any],
        rate: int | None,
        *,
        live: bool = False,
        ahead_s: float | None = None,
        clip: bool = False,
    ) -> Play:
        """As ``play`` of an iterator, without waiting for room."""
        self._check_can_send()
        if self.ended:
            raise CallEndedError("the call has ended")
        self._check_rate(rate)
        if self._is_mp3 and not clip:
            raise ConfigurationError("mp3 mode plays whole clips; streamed audio needs mode rtp")
        return self._start(source, rate or 0, live=live, ahead_s=ahead_s, clip=clip)

    def listen(self, listener: object) -> None:
        """Raise ConfigurationError: what is at the ear is known in the server's process only."""
        raise ConfigurationError("what is at the ear is not known in a processor host")

    def play_live(self, samples: Int16Array, rate: int | None = None) -> None:
        """See ``Call.play_live``."""
        self._check_can_send()
        if self.ended:
            return
        check_audio(samples, rate or self._rate_hz)
        if self._link.is_full:
            self.unsent_s += len(samples) / (rate or self._rate_hz)
            return
        self._check_rate(rate)
        if self._is_mp3:
            raise ConfigurationError("mp3 mode plays whole clips; live audio needs mode rtp")
        head = messages.LIVE_HEAD.pack(rate or 0)
        for at in range(0, len(samples), PIECE_SAMPLES):
            piece = samples[at : at + PIECE_SAMPLES]
            self._link.send(messages.LIVE, self._call, head, piece.tobytes())

    def mark(self, name: str) -> Mark:
        """See ``Call.mark``."""
        self._check_can_send()
        if self.ended:
            raise CallEndedError("the call has ended")
        mark = RemoteMark(next(self._numbers), self._cancel)
        self._plays[mark.number] = mark
        self._say(messages.PlaceMark(mark.number, name))
        return mark

    def _check_can_send(self) -> None:
        if self._is_listen_only:
            raise ListenOnlyError(LISTEN_ONLY)

    async def clear(self) -> dict[Play, float]:
        """See ``Call.clear``."""
        if self.ended:
            return {}
        # Their end is told before the reply comes.
        known = dict(self._plays)
        return {known[number]: heard for number, heard in await self._request("clear")}

    # What the server's process says.

    def learn(self, news: messages.PlayNews) -> None:
        """How a play or mark fares."""
        play = self._plays.get(news.play)
        if play is None:
            return
        play.learn(news.state, news.reason, news.heard)
        if play.is_over:
            del self._plays[news.play]
            self._queued_s -= play.seconds
            self.stop_source(news.play)

    def pull(self, number: int) -> None:
        """One more chunk of a source is wanted."""
        pulls = self._pulls.get(number)
        if pulls is not None:
            pulls.release()

    def stop_source(self, number: int) -> None:
        """Nobody wants more of a source."""
        task = self._sources.get(number)
        if task is not None and not task.cancelling() and number not in self._ending:
            task.cancel()

    def end(self) -> None:
        """The call is over: what is outstanding was cleared."""
        self.ended = True
        for play in list(self._plays.values()):
            self.learn(messages.PlayNews(play.number, "cleared", "ended", play.heard))

    async def closed(self) -> int:
        """Wait until the sources have let go; how many have not in time, and are left alone."""
        return await all_ended(set(self._sources.values()), self._call_id)

    # Parts.

    def _new(self, seconds: float = 0.0) -> RemotePlay:
        play = RemotePlay(next(self._numbers), self._cancel, seconds)
        self._plays[play.number] = play
        self._queued_s += seconds
        return play

    def _cancel(self, number: int) -> None:
        self._say(messages.CancelPlay(number))
        self.stop_source(number)

    def _say(self, message: msgspec.Struct) -> None:
        self._link.send(messages.MESSAGE, self._call, msgspec.msgpack.encode(message))

    def _check_rate(self, rate: int | None) -> None:
        if rate is not None and rate != self._rate_hz:
            try:
                self._converter.accept(rate)
            except CodecError as exc:
                raise AudioFormatError(str(exc)) from exc

    async def _play_array(
        self, samples: Int16Array, rate: int, *, live: bool, resume: bool
    ) -> RemotePlay:
        check_audio(samples, rate or self._rate_hz)
        if live and self._is_mp3:
            raise ConfigurationError("mp3 mode plays whole clips; live audio needs mode rtp")
        if self._link.is_full:
            await self._link.drained()
        play = self._new(len(samples) / (rate or self._rate_hz))
        flags = messages.PLAY_LIVE * live | messages.PLAY_RESUME * resume
        pieces = [
            samples[at : at + PIECE_SAMPLES] for at in range(0, len(samples) or 1, PIECE_SAMPLES)
        ]
        for piece in pieces[:-1]:
            if self._link.is_full:
                await self._link.drained()
            self._send_piece(play.number, rate, flags | messages.PLAY_GOES_ON, piece)
        self._send_piece(play.number, rate, flags, pieces[-1])
        if not live and self._queued_s > ASK_FROM_S:
            await self._request("room")
        return play

    def _send_piece(self, number: int, rate: int, flags: int, piece: Int16Array) -> None:
        head = messages.PLAY_HEAD.pack(number, rate, flags)
        self._link.send(messages.PLAY, self._call, head, piece.tobytes())

    def _start(
        self,
        source: AsyncIterable[Any],
        rate: int,
        *,
        live: bool = False,
        ahead_s: float | None = None,
        clip: bool = False,
    ) -> RemotePlay:
        play = self._new()
        number = play.number
        self._pulls[number] = asyncio.Semaphore(0)
        self._say(messages.StartSource(number, rate, live, ahead_s, clip))
        task = asyncio.get_running_loop().create_task(self._feed(number, source, rate))
        self._sources[number] = task
        note(task, Owner(call_id=self._call_id))
        task.add_done_callback(lambda _: self._forget(number))
        return play

    def _forget(self, number: int) -> None:
        del self._sources[number], self._pulls[number]
        self._ending.discard(number)

    async def _feed(self, number: int, source: AsyncIterable[Any], rate: int) -> None:
        chunks = Chunks(rate or self._rate_hz)
        failed: str | None = None
        try:
            await self._pulls[number].acquire()
            async for chunk in source:
                if number not in self._plays:  # it took no notice of being cancelled
                    break
                samples = chunks.samples(chunk, monotonic())
                for at in range(0, len(samples) or 1, PIECE_SAMPLES):
                    piece = samples[at : at + PIECE_SAMPLES]
                    head = messages.FEED_HEAD.pack(number)
                    self._link.send(messages.FEED, self._call, head, piece.tobytes())
                    await self._pulls[number].acquire()
        except asyncio.CancelledError:  # ours, or of a task that the source waited for
            failed = "cancelled"
            raise
        except BaseException as exc:  # the border to a user's source: sys.exit() as well
            failed = type(exc).__name__
            self._failed("its source failed", exc)
        finally:
            self._ending.add(number)
            self._say(messages.SourceEnded(number, failed))
            await close_source(source, self._failed)

    def _failed(self, what: str, exc: BaseException) -> None:
        text, call_id = "call %s: a play failed: %s", self._call_id
        limited.error("plays that failed", text, shown(call_id), what, exc_info=exc, call=call_id)


async def _pieces_of_file(source: Path | str | bytes, rate_hz: int) -> AsyncIterator[Int16Array]:
    yield await asyncio.to_thread(samples_of_file, source, rate_hz)
