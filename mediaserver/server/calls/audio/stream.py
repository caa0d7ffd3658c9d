"""Plays into which a processor writes; in the server's process and in a processor host alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import numpy as np

from mediaserver.errors import AudioFormatError, StreamFullError
from mediaserver.media.frames import Int16Array, check_audio
from mediaserver.processors.plays import (
    DRAINED_S,
    MAX_WAITING_S,
    Play,
    PlayEnd,
    PlayReason,
    PlayState,
)

# So much is given on at once: what waits here is not yet resampled, nor sent to another process.
PIECE_S = 0.5
LOOK_EVERY_S = 0.02


class WrittenPlay:
    """A play of what is written; a ``Stream``.

    It equals the play that it feeds, so that it is found in what ``clear()`` tells.

    Args:
        rate_hz: of what is written.
        accept: has an iterator played.
        at_once: give all that is written as one piece, at the end.
    """

    def __init__(
        self,
        rate_hz: int,
        accept: Callable[[AsyncIterator[Int16Array]], Play],
        *,
        at_once: bool = False,
    ) -> None:
        self._rate_hz = rate_hz
        self._at_once = at_once
        self._octets = bytearray()
        self._has_ended = False
        self._wanted: asyncio.Future[None] | None = None
        self._is_over = False
        self._play = accept(self._pieces())

    def __eq__(self, other: object) -> bool:
        return self._play == (other._play if isinstance(other, WrittenPlay) else other)

    def __hash__(self) -> int:
        return hash(self._play)

    @property
    def state(self) -> PlayState:
        """See ``Play``; so are all that follow."""
        return self._play.state

    @property
    def reason(self) -> PlayReason | None:
        """Why it ended."""
        return self._play.reason

    @property
    def heard(self) -> float:
        """Seconds of it the caller has heard."""
        return self._play.heard

    @property
    def waiting_s(self) -> float:
        """See ``Stream``; so are all that follow."""
        return len(self._octets) / 2 / self._rate_hz

    async def finished(self) -> PlayEnd:
        """Wait for its end."""
        return await self._play.finished()

    def cancel(self) -> None:
        """Send no more of it."""
        self._play.cancel()
        self._stop()

    def write(self, audio: Int16Array | bytes) -> bool:
        """Append audio."""
        if isinstance(audio, bytes | bytearray | memoryview):
            octets = memoryview(audio).cast("B")
        else:
            check_audio(audio, self._rate_hz)
            octets = memoryview(audio.astype("<i2").tobytes())
            if len(self._octets) % 2:
                raise AudioFormatError("an array cannot follow bytes that end in half a sample")
        if self._is_over or self._play.reason is not None:
            self._stop()
            return False
        if self._has_ended:
            raise ValueError("nothing can be written behind end()")
        if len(self._octets) + len(octets) > MAX_WAITING_S * 2 * self._rate_hz:
            raise StreamFullError(self.waiting_s)
        self._octets += octets
        self._wake()
        return True

    def end(self) -> None:
        """No more comes."""
        self._has_ended = True
        self._wake()

    async def drain(self) -> None:
        """Wait until little waits."""
        while not (self._is_over or self._at_once or self.waiting_s <= DRAINED_S):
            await asyncio.sleep(LOOK_EVERY_S)
            if self._play.reason is not None:  # of one that ended before its source began
                self._stop()

    async def _pieces(self) -> AsyncIterator[Int16Array]:
        """What was written, piece by piece, as it is wanted."""
        n_most = round(PIECE_S * self._rate_hz) * 2
        try:
            while True:
                n_octets = len(self._octets) & ~1
                if n_octets and (self._has_ended or not self._at_once):
                    n_octets = n_octets if self._at_once else min(n_octets, n_most)
                    samples = np.frombuffer(bytes(self._octets[:n_octets]), "<i2")
                    del self._octets[:n_octets]
                    yield samples.astype(np.int16, copy=False)
                elif self._has_ended:
                    return
                else:
                    self._wanted = asyncio.get_running_loop().create_future()
                    await self._wanted
        finally:
            self._stop()

    def _stop(self) -> None:
        """Nobody wants more."""
        self._is_over = True
        self._octets.clear()

    def _wake(self) -> None:
        """Something has come for whoever plays it."""
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)
