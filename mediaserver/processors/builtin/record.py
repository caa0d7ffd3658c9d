"""Built-in ``record``: each track to a WAV file of its own, while the call runs.

On a full disk the file stays as it is, playable to its last sample. What comes is kept for a
minute and tried again; when there is room the same file goes on, and what was given up is
silence of the same length in it.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import re
import threading
from collections import deque
from pathlib import Path
from typing import Protocol

import numpy as np

from mediaserver.logs import LimitedLog, shown
from mediaserver.media.frames import Frame, Int16Array
from mediaserver.media.settle import Settler
from mediaserver.processors.api import Call, processor
from mediaserver.processors.builtin.wav import WavFile

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

# Audio goes to disk in pieces of this length: what a killed server loses.
WRITE_EVERY_S = 0.5
# A backlog comes faster than a disk writes; this much of it waits in memory for the disk,
# not in the queue of frames, which drops what is too much.
PENDING_MOST_S = 60.0
# What may pass by itself: no room, no quota, a file or too many files at their limit.
PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE}
RETRY_EVERY_S = 1.0


class RecordedCall(Call, Protocol):
    """What only processors of the package may ask of a call."""

    def count(self, name: str) -> None:
        """One more of the server's counter ``name``."""


@processor(tap=True)
async def record(call: RecordedCall, directory: Path = Path("recordings")) -> None:
    """Write ``<directory>/<call>-<track>.wav``; holds become silence, so tracks stay aligned."""
    tapes: dict[str, TrackWriter] = {}
    writing: dict[str, asyncio.Task[None]] = {}
    disk = Disk(call)
    try:
        async for frame in call.frames(track=None):
            track = frame.track
            tape = tapes.get(track)
            if tape is None:
                tape = tapes[track] = TrackWriter(directory, call.id, frame)
            tape.add(frame)
            if tape.pending_s >= WRITE_EVERY_S:
                if track in writing and (writing[track].done() or tape.pending_s > PENDING_MOST_S):
                    await writing.pop(track)
                if track not in writing:
                    writing[track] = asyncio.create_task(_write(tape, disk))
        await asyncio.gather(*writing.values())
    finally:
        for task in writing.values():
            task.cancel()  # of a cancelled call; a piece in a thread is written all the same
        for tape in tapes.values():
            _finish(tape, disk)


async def _write(tape: TrackWriter, disk: Disk) -> None:
    """Write while there is a piece; frames go on coming meanwhile."""
    while tape.pending_s >= WRITE_EVERY_S:
        tape.cut()
        try:
            await asyncio.to_thread(tape.write)
        except OSError as exc:
            disk.failed(exc)
            await asyncio.sleep(RETRY_EVERY_S)
        else:
            disk.works()


def _finish(tape: TrackWriter, disk: Disk) -> None:
    try:
        tape.finish()
    except OSError as exc:
        disk.failed(exc)
    disk.lost(tape)


class Disk:
    """Says once that a call's recording cannot be written, and once that it goes on.

    Args:
        call: whose recording.
    """

    def __init__(self, call: RecordedCall) -> None:
        self._call = call
        self._is_full = False

    def failed(self, exc: OSError) -> None:
        """A piece could not be written; what does not pass by itself is raised."""
        if exc.errno not in PASSING:
            raise exc
        if not self._is_full:
            self._is_full = True
            self._call.count("recordings_stopped")
            limited.error(
                "recordings stopped",
                "call %s: its recording cannot be written: %s; it goes on when that is over",
                shown(self._call.id),
                exc.strerror,
                call=self._call.id,
            )

    def works(self) -> None:
        """A piece was written."""
        if self._is_full:
            self._is_full = False
            text = "call %s: its recording goes on"
            limited.info("recordings go on", text, shown(self._call.id), call=self._call.id)

    def lost(self, tape: TrackWriter) -> None:
        """A track's recording is over."""
        if tape.lost_s:
            limited.error(
                "recordings with gaps",
                "call %s: its %s recording lacks %.1f s",
                shown(self._call.id),
                tape.track,
                tape.lost_s,
                call=self._call.id,
            )


class TrackWriter:
    """One track's audio between the call and the disk.

    What comes behind a pause is kept back until it is known where it belongs, about a second.
    """

    def __init__(self, directory: Path, call_id: str, first: Frame) -> None:
        self.track = first.track
        self._directory, self._call_id = directory, call_id
        self._rate_hz = first.rate
        self._settler = Settler()
        self._pending: list[Int16Array] = []
        self._n_pending = 0
        self._end = 0  # the next sample's place in the file
        self._n_lost = 0
        self._file: WavFile | None = None
        # From the loop to the thread that writes, whichever that is: a cancelled call writes its
        # rest while the last piece may still be in a thread, or never gets there.
        self._pieces: deque[tuple[int, Int16Array]] = deque()
        self._writing = threading.Lock()

    @property
    def pending_s(self) -> float:
        """Seconds that are not cut off for writing yet."""
        return self._n_pending / self._rate_hz

    @property
    def lost_s(self) -> float:
        """Seconds that were given up for want of room, or wait when it is over."""
        return (self._n_lost + self._n_waiting()) / self._rate_hz

    def add(self, frame: Frame) -> None:
        """Take a frame, behind as much silence as its start asks for once that is settled."""
        for placed in self._settler.push(frame):
            self._place(placed)

    def finish(self) -> None:
        """Write all that is left and close the file; may block.

        Raises:
            OSError: it cannot be written; the file is closed all the same.
        """
        for placed in self._settler.flush():
            self._place(placed)
        self.cut()
        try:
            self.write()
        finally:
            if self._file is not None:
                self._file.close()

    def cut(self) -> None:
        """Make a piece of what is pending."""
        if self._pending:
            samples = np.concatenate(self._pending)
            self._pieces.append((self._end - len(samples), samples))
            self._pending, self._n_pending = [], 0

    def write(self) -> None:
        """Move all pieces to disk, in order; may block, and run in any thread.

        Raises:
            OSError: one cannot be written. It stays, and with it what a minute holds.
        """
        with self._writing:
            try:
                while self._pieces:
                    if self._file is None:
                        self._directory.mkdir(parents=True, exist_ok=True)
                        self._file = _new_file(
                            self._directory, self._call_id, self.track, self._rate_hz
                        )
                    self._file.write_at(*self._pieces[0])
                    self._pieces.popleft()
            except OSError:
                while self._n_waiting() > PENDING_MOST_S * self._rate_hz:
                    self._n_lost += len(self._pieces.popleft()[1])
                raise

    def _place(self, frame: Frame) -> None:
        at = round(frame.start * self._rate_hz)
        if at > self._end:  # what is never written is silence
            self.cut()
            self._end = at
        self._pending.append(frame.samples)
        self._n_pending += len(frame.samples)
        self._end += len(frame.samples)

    def _n_waiting(self) -> int:
        return sum(len(samples) for _, samples in self._pieces)


def _new_file(directory: Path, call_id: str, track: str, rate_hz: int) -> WavFile:
    """A file that did not exist: a second recording of a call gets a number."""
    # The id comes from the wire: only harmless characters of it reach the file system.
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", call_id[:200])[:80] or "call"
    for attempt in itertools.count(1):
        suffix = "" if attempt == 1 else f"-{attempt}"
        try:
            return WavFile(directory / f"{stem}{suffix}-{track}.wav", rate_hz)
        except FileExistsError:
            continue
    raise AssertionError("unreachable: count() does not end")
