"""The recording of one call, on the event loop: passes what came and what was heard to tapes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Literal, NamedTuple, Protocol

from mediaserver.afterwards.pending import PENDING
from mediaserver.logs import Numbers
from mediaserver.media.frames import Frame, Track
from mediaserver.media.playout.ear.listening import Listener
from mediaserver.processors.api import Call, Event, Hint, SpeechStarted, SpeechStopped
from mediaserver.processors.builtin.recording.delivery import FINISHING, Delivery
from mediaserver.processors.builtin.recording.formats import CONTAINERS, Form, rate_for
from mediaserver.processors.builtin.recording.heard import Heard
from mediaserver.processors.builtin.recording.names import Names
from mediaserver.processors.builtin.recording.pieces import KEPT_S, Came, Piece, silenced
from mediaserver.processors.builtin.recording.reports import Reports
from mediaserver.processors.builtin.recording.sidecar import HintSeen, Sidecar
from mediaserver.processors.builtin.recording.storage import Destination
from mediaserver.processors.builtin.recording.tape import Tape
from mediaserver.processors.events import RecordingPaused, RecordingResumed

# Audio goes to disk in pieces of this length: what a killed server loses, beside `KEPT_S`.
WRITE_EVERY_S = 0.5
# Where each of what is recorded goes in a file of two channels; the last two share one.
SOURCES = {"inbound": 0, "heard": 1, "outbound": 2}
# Stretches of speech that are listed.
MAX_LISTED = 10_000

Layout = Literal["stereo", "mono", "tracks"]


class RecordedCall(Call, Protocol):
    """What only processors of the package may ask of a call."""

    def count(self, name: str) -> None:
        """One more of the server's counter ``name``."""

    def listen(self, listener: Listener) -> None:
        """Tell a listener what is at the ear."""


class Plan(NamedTuple):
    """How a call is recorded; see ``record``."""

    directory: Path
    layout: Layout
    form: Form
    to: Destination
    keep: bool
    numbers: Numbers


class Recorder:
    """Records one call.

    **Call `add` for each frame and have `note` and `beat` run; at the end call `finish`, once.**

    Args:
        call: which.
        plan: how.
    """

    def __init__(self, call: RecordedCall, plan: Plan) -> None:
        self._call = call
        self._plan = plan
        self._loop = asyncio.get_running_loop()
        # Stream time began with the call.
        self._origin = monotonic() - call.stats.duration_s
        self._reports = Reports(call.id, call.count, self._loop)
        self._names = Names(plan.directory, call.id)
        self._tapes: dict[str, Tape] = {}
        self._came: dict[Track, Came] = {}
        self._heard = Heard(self._origin, monotonic)
        self._pauses: list[tuple[float, float]] = []
        self._speech: list[tuple[float, float | None]] = []
        self._hints: list[HintSeen] = []
        call.listen(self._heard)

    def add(self, frame: Frame) -> None:
        """A frame came."""
        came = self._came.setdefault(frame.track, Came())
        came.add(frame)
        if came.pending_s >= WRITE_EVERY_S + KEPT_S:
            # Soon: behind what was told before, a pause above all, which ``note`` has not read yet.
            self._loop.call_soon(self._take, frame.track)

    def _take(self, track: Track) -> None:
        self._put(track, self._came[track].take())

    async def beat(self) -> None:
        """Regularly take what was heard, until cancelled."""
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            until = monotonic() - self._origin - KEPT_S
            await asyncio.sleep(0)  # what was told before is noted now, however late the beat is
            self._put("heard", self._heard.take(until))

    async def note(self, events: AsyncIterator[Event]) -> None:
        """Note what is told of the call."""
        async for event in events:
            match event:
                case RecordingPaused(at):
                    self._pause(at - self._origin)
                case RecordingResumed(at):
                    self._resume(at - self._origin)
                case SpeechStarted(at) if len(self._speech) < MAX_LISTED:
                    self._speech.append((round(at, 3), None))
                case SpeechStopped(at) if self._speech and self._speech[-1][1] is None:
                    self._speech[-1] = (self._speech[-1][0], round(at, 3))
                case Hint(name, text):
                    now = round(monotonic() - self._origin, 3)
                    self._hints.append(HintSeen(now, name, text))

    def finish(self) -> asyncio.Future[None]:
        """No more audio comes. The future is done when all that can be written is on disk.

        The conversion and the upload follow; only the end of the server waits for them.
        """
        end = self._call.stats.duration_s
        for track, came in self._came.items():
            self._put(track, came.take_all())
        self._put("heard", self._heard.take_all(end))
        PENDING.begin()
        written = self._loop.create_future()
        closing = [tape.finish(self._loop) for tape in self._tapes.values()]
        gathered = asyncio.gather(*closing)
        gathered.add_done_callback(partial(self._written, written))
        return written

    def _pause(self, at: float) -> None:
        if not self._pauses or self._pauses[-1][1] <= at:
            self._pauses.append((at, float("inf")))

    def _resume(self, at: float) -> None:
        if self._pauses and self._pauses[-1][1] > at:
            self._pauses[-1] = (self._pauses[-1][0], at)

    def _put(self, name: str, pieces: list[Piece]) -> None:
        for piece in pieces:
            if len(piece.samples):
                source = 0 if self._plan.layout == "tracks" else SOURCES[name]
                self._tape(name, piece.rate_hz).put(source, silenced(piece, self._pauses))

    def _tape(self, name: str, rate_hz: int) -> Tape:
        apart = self._plan.layout == "tracks"
        track = name if apart else ""
        tape = self._tapes.get(track)
        if tape is None:
            call = self._call
            if not apart:
                plays = call.stats.send_mode != "none"
                rate_hz = max(call.rate, call.send_rate) if plays else call.rate
            rate_hz = rate_for(self._plan.form, rate_hz)
            named = partial(self._names.audio, track)
            tape = self._tapes[track] = Tape(named, rate_hz, 1 if apart else 2, self._reports)
        return tape

    def _written(self, written: asyncio.Future[None], _: object) -> None:
        """All tapes are closed."""
        tapes = [tape for tape in self._tapes.values() if tape.path is not None]
        paths = [tape.path for tape in tapes if tape.path is not None]
        lost_s = max((tape.lost_s for tape in self._tapes.values()), default=0.0)
        if lost_s:
            self._reports.lost(lost_s)
        if paths:
            suffix = CONTAINERS[self._plan.form].suffix
            self._remember([path.with_suffix(suffix) for path in paths])
            seconds = max(tape.seconds for tape in tapes)
            sidecar = self._sidecar(seconds, lost_s)
            plan = self._plan
            mono = plan.layout == "mono"
            delivery = Delivery(
                paths, self._names.sidecar, sidecar, plan.form, mono, plan.to, plan.keep,
                self._reports,
            )  # fmt: skip
            FINISHING.put(delivery.run)
        else:
            PENDING.done()
        if not written.done():
            written.set_result(None)

    def _remember(self, paths: list[Path]) -> None:
        """Have the call's record say where its recordings are."""
        plan = self._plan
        is_here = plan.keep or not plan.to
        found = [str(path) if is_here else plan.to.of(path.name) for path in paths]
        self._call.state.setdefault("recordings", []).extend(found)

    def _sidecar(self, seconds: float, lost_s: float) -> Sidecar:
        stats = self._call.stats
        end = stats.duration_s
        return Sidecar(
            call_id=self._call.id,
            ended=True,
            layout=self._plan.layout,
            seconds=round(seconds, 3),
            lost_s=round(lost_s, 3),
            pauses=tuple((round(a, 3), round(min(b, end), 3)) for a, b in self._pauses),
            speech=tuple(self._speech),
            plays=tuple(self._heard.plays),
            marks=tuple(self._heard.marks),
            hints=tuple(self._hints),
            to=str(self._plan.to),
            summary=stats.hidden(self._plan.numbers),
        )
