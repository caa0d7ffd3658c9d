"""The sources of plays: files, read in a thread, and iterators, read on the loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, Callable
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from mediaserver.errors import AudioFormatError
from mediaserver.interrupts import is_operators
from mediaserver.logs import LimitedLog, shown
from mediaserver.logs.owners import Owner, note
from mediaserver.media.frames import Int16Array, check_audio, check_length
from mediaserver.media.playout import Play, Playout
from mediaserver.processors.api import AudioSource
from mediaserver.wire.rates import Bucket, Limit
from telephony_codecs import open_audio, resample_clip

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

# A source that was stopped has so long to clean up.
LET_GO_WITHIN_S = 1.0
LOOK_EVERY_S = 0.01
# Sources that took no notice: else they may be collected while they run.
_ABANDONED: set[asyncio.Task[None]] = set()
# More samples are copied in such pieces, a millisecond each, between which other calls run.
PIECE_SAMPLES = 1 << 18
# A live iterator may be so far ahead of what is heard; then it is read more slowly.
LIVE_AHEAD_S = 2.0
# A remainder of less than a message waits for more of its source, and with it less than a block
# of the resampler: a source is not to wait for these.
LEAST_AHEAD_S = 0.04
# Limit on empty chunks: a source that gives only these, and never waits, holds up the loop.
EMPTY_CHUNKS = Limit(per_s=200, burst=1000)

# Bit rates of MPEG layer III, by "is MPEG-1" (ISO 11172-3 and 13818-3).
_MP3_KBPS = {
    True: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}

Chunk = Int16Array | bytes | bytearray | memoryview


class Sources:
    """Feeds the open plays of one call from their sources, each in a task.

    Args:
        changed: called when a playout's `next_at` may have moved.
        call_id: of the call, for logs.
    """

    __slots__ = ("_call_id", "_changed", "_ending", "_tasks")

    def __init__(self, changed: Callable[[], None], call_id: str) -> None:
        self._changed = changed
        self._call_id = call_id
        self._tasks: dict[asyncio.Task[None], Play] = {}
        self._ending: set[Play] = set()

    def open_file(self, playout: Playout, source: Path | str | bytes, rate_hz: int) -> Play:
        """A play of an audio file of any kind; the file is read in a thread."""
        play = playout.open_clip(rate_hz, monotonic())
        self._start(play, self._feed_file(playout, play, source, rate_hz))
        return play

    def open_iterator(
        self,
        playout: Playout,
        source: AsyncIterable[Chunk],
        rate_hz: int,
        *,
        live: bool,
        ahead_s: float,
        clip: bool = False,
    ) -> Play:
        """A play of a source that is pulled at most ``ahead_s`` ahead of the ear."""
        now = monotonic()
        play = playout.open_clip(rate_hz, now) if clip else playout.open(rate_hz, now, live=live)
        self._start(play, self._feed_iterator(playout, play, source, ahead_s))
        return play

    def stop_unwanted(self) -> None:
        """Stop the sources of plays that were cleared, cancelled or are over."""
        for task, play in list(self._tasks.items()):
            # Do not stop it twice, or at its end: it may be cleaning up.
            is_stopping = task.cancelling() or play in self._ending
            if not play.is_open and not is_stopping and task is not asyncio.current_task():
                task.cancel()

    @property
    def is_feeding(self) -> bool:
        """Whether the source of an open play may bring more."""
        return any(play.is_open for play in self._tasks.values())

    async def stopped(self) -> int:
        """Wait until all sources have ended; the call is over.

        Returns:
            how many did not within ``LET_GO_WITHIN_S``: they are left alone.
        """
        self._changed = _nobody
        return await all_ended(set(self._tasks), self._call_id)

    def _start(self, play: Play, feed: Any) -> None:
        task = asyncio.get_running_loop().create_task(feed)
        self._tasks[task] = play
        note(task, Owner(call_id=self._call_id))
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._ending.discard(self._tasks.pop(task))
        self._changed()

    async def _feed_iterator(
        self, playout: Playout, play: Play, source: AsyncIterable[Chunk], ahead_s: float
    ) -> None:
        chunks = Chunks(play.rate_hz, live=play.live)
        try:
            async for chunk in source:
                if not play.is_open:  # cleared or cancelled
                    break
                now = monotonic()
                samples = chunks.samples(chunk, now)
                playout.feed(play, samples[:PIECE_SAMPLES], now)
                for at in range(PIECE_SAMPLES, len(samples), PIECE_SAMPLES):
                    await asyncio.sleep(0)
                    playout.feed(play, samples[at : at + PIECE_SAMPLES], monotonic())
                self._changed()
                # A source may never wait for anything; then other calls would not run.
                await asyncio.sleep(max(chunks.ahead_s(now) - LIVE_AHEAD_S, 0.0))
                await wait_below(playout, ahead_s)
        except asyncio.CancelledError:  # ours, or of a task that the source waited for
            playout.fail(play, monotonic())  # which is nothing to a play that is over
            raise
        except BaseException as exc:  # the border to a user's source: sys.exit() as well
            playout.fail(play, monotonic())
            self._say("its source failed", exc)
        else:
            playout.end(play, monotonic())
        finally:
            self._ending.add(play)
            await close_source(source, self._say)

    async def _feed_file(
        self, playout: Playout, play: Play, source: Path | str | bytes, rate_hz: int
    ) -> None:
        """Open an audio file, then queue all of it."""
        try:
            samples = await asyncio.to_thread(samples_of_file, source, rate_hz)
        except BaseException as exc:  # also for a name that no file can have
            if is_operators(exc) or isinstance(exc, asyncio.CancelledError):
                raise
            limited.warning(
                "files that cannot be played",
                "call %s: cannot play %s: %s",
                shown(self._call_id),
                shown(_name_of(source), 300),
                shown(exc, 300),
                call=self._call_id,
            )
            playout.fail(play, monotonic())
        else:
            playout.feed(play, samples, monotonic())
            playout.end(play, monotonic())

    def _say(self, what: str, exc: BaseException) -> None:
        """Log what a user's code raised; raise it again if an operator's signal caused it."""
        if is_operators(exc):
            raise exc
        text = "call %s: a play failed: %s"
        call = self._call_id
        limited.error("plays that failed", text, shown(call), what, exc_info=exc, call=call)


def _nobody() -> None:
    """Nobody wants to know."""


class Chunks:
    """Chunks of a source as samples: arrays as they are, bytes as int16 little-endian.

    A sample may be cut between two chunks of bytes. A single byte at the end is dropped.

    Args:
        rate_hz: their sample rate.
        live: they are of live audio.
    """

    def __init__(self, rate_hz: int, *, live: bool = False) -> None:
        self._rate_hz = rate_hz
        self._live = live
        self._odd = b""
        self._empty = Bucket(EMPTY_CHUNKS)
        self._heard_at = 0.0

    def samples(self, chunk: Chunk, now: float) -> Int16Array:
        """The samples of one more chunk.

        Raises:
            AudioFormatError: it is no audio, it is too long, or too many were empty.
        """
        if isinstance(chunk, bytes | bytearray | memoryview):
            check_length(memoryview(chunk).nbytes // 2, self._rate_hz)
            samples = self._joined(chunk)
        else:
            check_audio(chunk, self._rate_hz)
            samples = chunk
        if not len(samples) and not self._empty.take(now):
            raise AudioFormatError(
                f"the source has given nothing for {EMPTY_CHUNKS.burst:.0f} chunks, and does not"
                " wait between them"
            )
        self._heard_at = max(self._heard_at, now) + len(samples) / self._rate_hz
        return samples

    def ahead_s(self, now: float) -> float:
        """How many seconds ahead of its playing live audio came; 0 if it is not live."""
        return self._heard_at - now if self._live else 0.0

    def _joined(self, chunk: bytes | bytearray | memoryview) -> Int16Array:
        octets = self._odd + bytes(chunk)
        whole = len(octets) & ~1
        self._odd = octets[whole:]
        return np.frombuffer(octets[:whole], "<i2").astype(np.int16, copy=False)


async def close_source(source: object, failed: Callable[[str, BaseException], None]) -> None:
    """Close a user's source; ``failed`` is told of what it raises."""
    try:
        aclose = getattr(source, "aclose", None)
        if aclose is not None:
            await aclose()
    except asyncio.CancelledError:
        raise
    except BaseException as exc:  # the border to a user's source: sys.exit() as well
        failed("its source failed while it was closed", exc)


async def all_ended(sources: set[asyncio.Task[None]], call_id: str) -> int:
    """Wait for sources that were cancelled.

    Returns:
        how many have not ended within ``LET_GO_WITHIN_S``: they are named, and left alone.
    """
    if sources:
        _, sources = await asyncio.wait(sources, timeout=LET_GO_WITHIN_S)
    for task in sources:
        text = "call %s: a play's source does not end: it is left alone"
        limited.error("sources that do not end", text, shown(call_id), call=call_id)
        _ABANDONED.add(task)
        task.add_done_callback(_ABANDONED.discard)
    return len(sources)


async def own(source: AudioSource, rate_hz: int) -> AudioSource:
    """The source; of many samples that their owner may write, a read-only copy, made in pieces.

    Raises:
        AudioFormatError: an array that is no audio.
    """
    if not isinstance(source, np.ndarray) or source.size <= PIECE_SAMPLES:
        return source
    check_audio(source, rate_hz)
    if not source.flags.writeable:
        return source
    copied = np.empty_like(source)
    for at in range(0, len(source), PIECE_SAMPLES):
        copied[at : at + PIECE_SAMPLES] = source[at : at + PIECE_SAMPLES]
        await asyncio.sleep(0)
    copied.setflags(write=False)
    return copied


def check_resumable(*, live: bool, resume: bool) -> None:
    """Refuse to resume live audio.

    Raises:
        AudioFormatError: both were asked for.
    """
    if resume and live:
        raise AudioFormatError("live audio happens now: it cannot be resumed")


def no_source(source: object) -> AudioFormatError:
    """The error for something that ``play()`` cannot take."""
    return AudioFormatError(
        "play() takes an int16 array, an async iterator of arrays or bytes, a path, or"
        f" bytes, not {type(source).__name__}"
    )


async def whole(
    source: AudioSource, rate: int | None, rate_hz: int
) -> tuple[Int16Array, int | None]:
    """The whole source as one array, because only an array can be resumed; files at ``rate_hz``.

    Raises:
        AudioFormatError: it is none that has an end.
    """
    if isinstance(source, bytes) and rate is not None and not is_audio_file(source):
        source = samples_of_bytes(source)
    if isinstance(source, Path | str | bytes):
        return await asyncio.to_thread(samples_of_file, source, rate_hz), rate_hz
    if isinstance(source, np.ndarray):
        check_audio(source, rate or rate_hz)
        owned = await own(source, rate or rate_hz)
        assert isinstance(owned, np.ndarray)
        return owned.copy() if owned.flags.writeable else owned, rate
    raise AudioFormatError("resume takes an array, a file or bytes, no iterator")


async def wait_below(playout: Playout, limit_s: float) -> None:
    """Wait while more than ``limit_s`` of audio is queued, and more than `LEAST_AHEAD_S`."""
    limit_s = max(limit_s, LEAST_AHEAD_S)
    while not playout.is_closed:
        ahead_s = playout.queued_s(monotonic()) - limit_s
        if ahead_s <= 0:
            break
        # While the peer takes nothing, ``ahead_s`` does not fall, and may be tiny.
        await asyncio.sleep(max(ahead_s, LOOK_EVERY_S))


def samples_of_bytes(octets: bytes) -> Int16Array:
    """Raw audio, int16 little-endian, as samples.

    Raises:
        AudioFormatError: the number of bytes is odd.
    """
    if len(octets) % 2:
        raise AudioFormatError("raw audio must hold whole int16 samples")
    return np.frombuffer(octets, "<i2").astype(np.int16, copy=False)


def is_audio_file(octets: bytes) -> bool:
    """Whether these are the bytes of an audio file, by their first bytes.

    An MP3 file may begin with a frame, and the first bytes of a frame could also be samples. So
    the next frame must be where the first one's length says.
    """
    if octets[:4] in (b"RIFF", b"RIFX", b"fLaC", b"OggS", b"FORM", b"caff"):
        return True
    if octets[:3] == b"ID3" or octets[4:8] == b"ftyp" or octets[:4] == b"\x1aE\xdf\xa3":
        return True
    length = _mp3_frame_length(octets[:4])
    return bool(length) and _mp3_frame_length(octets[length : length + 4]) > 0


def _mp3_frame_length(head: bytes) -> int:
    """The length of the layer III frame with this head; 0 if it is none.

    Source: ISO 11172-3, 2.4.2.3, and ISO 13818-3, 2.4.2.3.
    """
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return 0
    version, bitrate, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or bitrate in (0, 15) or rate == 3:
        return 0
    is_first = version == 3
    kbps = _MP3_KBPS[is_first][bitrate - 1]
    rate_hz = (44100, 48000, 32000)[rate] >> (0 if is_first else 1 if version == 2 else 2)
    return (144 if is_first else 72) * kbps * 1000 // rate_hz + (head[2] >> 1 & 1)


def samples_of_file(source: Path | str | bytes, rate_hz: int) -> Int16Array:
    """An audio file as samples at ``rate_hz``. It blocks: call it in a thread.

    Raises:
        AudioFormatError: no such file, or nothing that can be played.
    """
    # A pipe or a device may never end, and would keep the thread that reads it.
    if not isinstance(source, bytes) and Path(source).exists() and not Path(source).is_file():
        raise AudioFormatError("it is not a regular file")
    samples, from_hz = open_audio(source)
    return resample_clip(samples, from_hz, rate_hz)


def _name_of(source: Path | str | bytes) -> str:
    return f"{len(source)} bytes" if isinstance(source, bytes) else str(source)
