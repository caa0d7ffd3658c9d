"""One file of a recording: pieces come on the loop, and go to disk in a thread."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from mediaserver.afterwards.lanes import Lane
from mediaserver.processors.builtin.recording.pieces import Piece, Placed, Placing
from mediaserver.processors.builtin.wav import WavFile
from telephony_codecs import CodecError

# A backlog comes faster than a disk writes; this much of each channel waits for the disk.
PENDING_MOST_S = 120.0
# All recordings of a process together: a disk that stands still is not to fill the memory.
PENDING_MOST_BYTES = 256 << 20
RETRY_EVERY_S = 1.0
# Another process may take names at the same time, but not without end.
MOST_NAMES = 100

WRITING = Lane("recordings")
"""One thread for all recordings: a disk that hangs delays no call, and no reading of files."""


class Told(Protocol):
    """Who is told how the writing goes; in the thread that writes."""

    def disk_failed(self, exc: OSError) -> None:
        """A piece could not be written; it is tried again."""

    def disk_works(self) -> None:
        """A piece was written."""


class _Waiting:
    """How many octets of all recordings wait for the disk."""

    def __init__(self) -> None:
        self._n = 0
        self._lock = threading.Lock()

    def add(self, n_bytes: int) -> bool:
        """More wait, or fewer; whether they are too many now."""
        with self._lock:
            self._n += n_bytes
            return self._n > PENDING_MOST_BYTES


_WAITING = _Waiting()


class Tape:
    """Writes a WAV file of one or two channels; audio that was dropped is silence in it.

    **Call `put` for each piece, `finish` once.**

    Args:
        name: returns the file's path; called in the thread once there is something to write. If
            it raises FileExistsError it is called again; it may raise OSError.
        rate_hz: of the file.
        n_channels: of the file.
        told: is told how the writing goes.
    """

    def __init__(self, name: Callable[[], Path], rate_hz: int, n_channels: int, told: Told) -> None:
        self.rate_hz = rate_hz
        self.n_channels = n_channels
        self._name = name
        self._told = told
        self._pieces: deque[tuple[int, Piece]] = deque()
        # Each figure has one writer, the loop or the thread: `+=` of two would lose some.
        self._put_s = self._given_up_s = self._taken_s = 0.0
        self._lost_s = [0.0] * (n_channels + 1)
        self._lost_there_s = [0.0] * (n_channels + 1)
        self._is_queued = False
        self._is_finished: asyncio.Future[None] | None = None
        # What follows is the thread's.
        self._file: WavFile | None = None
        self._places: dict[int, Placing] = {}
        self._ready: deque[tuple[int, Placed]] = deque()

    @property
    def path(self) -> Path | None:
        """The file; None where there is none yet."""
        return None if self._file is None else self._file.path

    @property
    def seconds(self) -> float:
        """How long it is."""
        return 0.0 if self._file is None else self._file.n_samples / self.rate_hz

    @property
    def lost_s(self) -> float:
        """Seconds that were given up, of the channel that lacks most."""
        return max(map(sum, zip(self._lost_s, self._lost_there_s, strict=True)))

    def put(self, source: int, piece: Piece) -> None:
        """Have a piece written.

        Args:
            source: 0 and up; several sources beyond the last channel share that one.
            piece: behind all others of its source.
        """
        self._pieces.append((source, piece))
        is_much = _WAITING.add(piece.samples.nbytes)
        self._put_s += piece.end - piece.at
        while is_much or self._waiting_s > PENDING_MOST_S * self.n_channels:
            try:
                source, oldest = self._pieces.popleft()
            except IndexError:  # the thread has just taken it
                break
            length_s = oldest.end - oldest.at
            self._lost_s[source] += length_s
            self._given_up_s += length_s
            is_much = _WAITING.add(-oldest.samples.nbytes)
        self._soon()

    def finish(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        """Write what is left and close the file; done when that is so, or given up."""
        self._is_finished = loop.create_future()
        WRITING.put(self._finish)
        return self._is_finished

    @property
    def _waiting_s(self) -> float:
        return self._put_s - self._given_up_s - self._taken_s

    def _soon(self, after_s: float = 0.0) -> None:
        if not self._is_queued:
            self._is_queued = True
            WRITING.put(self._work, after_s)

    # In the thread.

    def _work(self) -> None:
        self._is_queued = False
        if self._is_finished is not None:
            return  # a job that does the rest is queued
        try:
            self._write()
        except OSError as exc:
            self._told.disk_failed(exc)
            self._soon(RETRY_EVERY_S)

    def _finish(self) -> None:
        try:
            self._write()
            for source, placing in self._places.items():
                self._ready.extend((source, placed) for placed in placing.flush())
            self._write()
        except OSError as exc:
            self._told.disk_failed(exc)
            while taken := self._take():
                source, piece = taken
                self._lost_there_s[source] += piece.end - piece.at
        if self._file is not None:
            self._file.close()
        done = self._is_finished
        assert done is not None
        _resolve(done)

    def _write(self) -> None:
        """Move all pieces to disk, in order; what cannot be written stays."""
        if self._file is None and (self._pieces or self._ready):
            self._file = self._open()
        while self._convert():
            assert self._file is not None
            while self._ready:
                source, (at, samples) = self._ready[0]
                self._file.write_at(at, samples, min(source, self.n_channels - 1))
                self._ready.popleft()
            self._told.disk_works()

    def _convert(self) -> bool:
        """Make the next piece ready, if there is one; whether something is."""
        while not self._ready:
            taken = self._take()
            if taken is None:
                return False
            source, piece = taken
            placing = self._places.setdefault(source, Placing(self.rate_hz))
            try:
                self._ready.extend((source, placed) for placed in placing.place(piece))
            except CodecError:  # a rate that nothing here converts
                self._lost_there_s[source] += piece.end - piece.at
        return True

    def _take(self) -> tuple[int, Piece] | None:
        try:
            source, piece = self._pieces.popleft()
        except IndexError:
            return None
        self._taken_s += piece.end - piece.at
        _WAITING.add(-piece.samples.nbytes)
        return source, piece

    def _open(self) -> WavFile:
        for _ in range(MOST_NAMES):
            try:
                return WavFile(self._name(), self.rate_hz, self.n_channels)
            except FileExistsError:
                continue
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def _resolve(future: asyncio.Future[None]) -> None:
    """From a thread; nobody may wait any more, and the loop may be closed."""

    def resolve() -> None:
        if not future.done():
            future.set_result(None)

    try:
        future.get_loop().call_soon_threadsafe(resolve)
    except RuntimeError:
        return
