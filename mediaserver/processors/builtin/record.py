"""Built-in ``record``: each track to a WAV file of its own, while the call runs."""

from __future__ import annotations

import asyncio
import itertools
import re
import threading
from pathlib import Path

import numpy as np

from mediaserver.media.frames import Frame, Int16Array
from mediaserver.media.settle import Settler
from mediaserver.processors.api import Call, processor
from mediaserver.processors.builtin.wav import WavFile

# Audio goes to disk in pieces of this length: what a killed server loses.
WRITE_EVERY_S = 0.5


@processor
async def record(call: Call, directory: Path = Path("recordings")) -> None:
    """Write ``<directory>/<call>-<track>.wav``; holds become silence, so tracks stay aligned."""
    tapes: dict[str, TrackWriter] = {}
    try:
        async for frame in call.frames(track=None):
            tape = tapes.get(frame.track)
            if tape is None:
                tape = tapes[frame.track] = TrackWriter(directory, call.id, frame)
            tape.add(frame)
            if tape.pending_s >= WRITE_EVERY_S:
                await asyncio.to_thread(tape.write)
    finally:
        for tape in tapes.values():
            tape.finish()


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
        # A cancelled call writes its rest while the last piece may still be in a thread.
        self._writing = threading.Lock()

    @property
    def pending_s(self) -> float:
        """Seconds not on disk yet."""
        return self._n_pending / self._rate_hz

    def add(self, frame: Frame) -> None:
        """Take a frame, behind as much silence as its start asks for once that is settled."""
        for placed in self._settler.push(frame):
            self._place(placed)

    def finish(self) -> None:
        """Write all that is left and close the file; may block."""
        for placed in self._settler.flush():
            self._place(placed)
        self.write()
        if self._file is not None:
            self._file.close()

    def _place(self, frame: Frame) -> None:
        gap = round(frame.start * self._rate_hz) - self._n_samples
        if gap > 0:
            self._append(np.zeros(gap, np.int16))
        self._append(frame.samples)

    def write(self) -> None:
        """Move what is pending to disk; may block."""
        with self._writing:
            if not self._pending:
                return
            samples = np.concatenate(self._pending)
            self._pending, self._n_pending = [], 0
            if self._file is None:
                self._directory.mkdir(parents=True, exist_ok=True)
                self._file = _new_file(self._directory, self._call_id, self._track, self._rate_hz)
            self._file.append(samples)

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
