"""Built-in ``record``: each track to a WAV file of its own, while the call runs."""

from __future__ import annotations

import asyncio
import itertools
import re
import threading
from collections import deque
from pathlib import Path

import numpy as np

from mediaserver.media.frames import Frame, Int16Array
from mediaserver.media.settle import Settler
from mediaserver.processors.api import Call, processor
from mediaserver.processors.builtin.wav import WavFile

# Audio goes to disk in pieces of this length: what a killed server loses.
WRITE_EVERY_S = 0.5
# A backlog comes faster than a disk writes; this much of it waits in memory for the disk,
# not in the queue of frames, which drops what is too much.
PENDING_MOST_S = 60.0


@processor(tap=True)
async def record(call: Call, directory: Path = Path("recordings")) -> None:
    """Write ``<directory>/<call>-<track>.wav``; holds become silence, so tracks stay aligned."""
    tapes: dict[str, TrackWriter] = {}
    writing: dict[str, asyncio.Task[None]] = {}
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
                    writing[track] = asyncio.create_task(_write(tape))
        await asyncio.gather(*writing.values())
    finally:
        for task in writing.values():
            task.cancel()  # of a cancelled call; a piece in a thread is written all the same
        for tape in tapes.values():
            tape.finish()


async def _write(tape: TrackWriter) -> None:
    """Write while there is a piece; frames go on coming meanwhile."""
    while tape.pending_s >= WRITE_EVERY_S:
        tape.cut()
        await asyncio.to_thread(tape.write)


class TrackWriter:
    """One track's audio between the call and the disk.

    What comes behind a pause is kept back until it is known where it belongs, about a second.
    """

    def __init__(self, directory: Path, call_id: str, first: Frame) -> None:
        self._directory, self._call_id, self._track = directory, call_id, first.track
        self._rate_hz = first.rate
        self._settler = Settler()
        self._pending: list[Int16Array] = []
        self._n_pending = 0
        self._n_samples = 0  # on disk and pending
        self._file: WavFile | None = None
        # From the loop to the thread that writes, whichever that is: a cancelled call writes its
        # rest while the last piece may still be in a thread, or never gets there.
        self._pieces: deque[Int16Array] = deque()
        self._writing = threading.Lock()

    @property
    def pending_s(self) -> float:
        """Seconds that are not cut off for writing yet."""
        return self._n_pending / self._rate_hz

    def add(self, frame: Frame) -> None:
        """Take a frame, behind as much silence as its start asks for once that is settled."""
        for placed in self._settler.push(frame):
            self._place(placed)

    def finish(self) -> None:
        """Write all that is left and close the file; may block."""
        for placed in self._settler.flush():
            self._place(placed)
        self.cut()
        self.write()
        if self._file is not None:
            self._file.close()

    def _place(self, frame: Frame) -> None:
        gap = round(frame.start * self._rate_hz) - self._n_samples
        if gap > 0:
            self._append(np.zeros(gap, np.int16))
        self._append(frame.samples)

    def cut(self) -> None:
        """Make a piece of what is pending."""
        if self._pending:
            self._pieces.append(np.concatenate(self._pending))
            self._pending, self._n_pending = [], 0

    def write(self) -> None:
        """Move all pieces to disk, in order; may block, and run in any thread."""
        with self._writing:
            while self._pieces:
                if self._file is None:
                    self._directory.mkdir(parents=True, exist_ok=True)
                    self._file = _new_file(
                        self._directory, self._call_id, self._track, self._rate_hz
                    )
                self._file.append(self._pieces.popleft())

    def _append(self, samples: Int16Array) -> None:
        self._pending.append(samples)
        self._n_pending += len(samples)
        self._n_samples += len(samples)


def _new_file(directory: Path, call_id: str, track: str, rate_hz: int) -> WavFile:
    """A file that did not exist: a second recording of a call gets a number."""
    # The id comes from the wire: only harmless characters of it reach the file system.
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", call_id)[:80] or "call"
    for attempt in itertools.count(1):
        suffix = "" if attempt == 1 else f"-{attempt}"
        try:
            return WavFile(directory / f"{stem}{suffix}-{track}.wav", rate_hz)
        except FileExistsError:
            continue
    raise AssertionError("unreachable: count() does not end")
