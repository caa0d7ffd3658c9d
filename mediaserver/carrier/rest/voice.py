"""What a fake call's caller hears beside a stream; what is recorded and transcribed of it.

A tone stands for speech and for a file; DTMF digits are their two tones. All of it queues in
one ear. Times of the ear are seconds since the call began.

Source: protocol.md 3 and 4.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from mediaserver.carrier.ear import Ear
from telephony_codecs import Int16Array

Body = dict[str, Any]
Report = Callable[..., None]
Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]

RATE_HZ = 8000
SPEECH_HZ, PLAYBACK_HZ = 300.0, 600.0
ENDLESS = 100
"""So many times stand for "for ever"."""
_ROWS_HZ, _COLUMNS_HZ = (697.0, 770.0, 852.0, 941.0), (1209.0, 1336.0, 1477.0, 1633.0)
_KEYS = "123A456B789C*0#D"
_DIGIT_MS = 250


def tone(seconds: float, *pitches_hz: float) -> Int16Array:
    """Sine tones together, int16 at ``RATE_HZ``; without a pitch: silence."""
    at = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    wave = np.zeros(len(at))
    for pitch_hz in pitches_hz:
        wave += np.sin(2 * np.pi * pitch_hz * at)
    return (8000 * wave / max(1, len(pitches_hz))).astype(np.int16)


def digit_hz(digit: str) -> tuple[float, ...]:
    """The two tones of a digit (ITU-T Q.23); none for a pause."""
    if digit in "wW":
        return ()
    row, column = divmod(_KEYS.index(digit), 4)
    return _ROWS_HZ[row], _COLUMNS_HZ[column]


@dataclass
class Voice:
    """Speaks, plays and dials into the ear of one call, and reports it.

    Attributes:
        report: sends a webhook about the call.
        spawn: runs a task of the call.
        s_per_character: how long speech takes.
        file_s: length of every file.
        ear: what the caller hears of it.
        digits: DTMF the caller has heard.
    """

    report: Report = field(repr=False)
    spawn: Spawn = field(repr=False)
    s_per_character: float
    file_s: float
    ear: Ear = field(default_factory=lambda: Ear(RATE_HZ), repr=False)
    digits: str = ""
    _began_s: float = field(default_factory=time.monotonic, repr=False)
    _queued: dict[asyncio.Task[None], Callable[[str], None]] = field(
        default_factory=dict, repr=False
    )

    def now(self) -> float:
        """Seconds since the call began."""
        return time.monotonic() - self._began_s

    def speak(self, body: Body) -> None:
        """Speak a text: a tone as long as it would take."""
        length_s = self.s_per_character * len(body["payload"])
        self._play("speak", tone(length_s, SPEECH_HZ), body, {}, {})

    def play(self, body: Body) -> None:
        """Play a file, whatever it holds: another tone."""
        names = ("media_url", "media_name", "overlay")
        named = {"media_url": body.get("audio_url"), **body}
        fields = {name: named[name] for name in names if named.get(name) is not None}
        detail = {"status_detail": "none"}
        self._play("playback", tone(self.file_s, PLAYBACK_HZ), body, fields, detail)

    def dial(self, body: Body) -> None:
        """Send DTMF: each digit is heard as its two tones."""
        for digit in body["digits"]:
            length_s = body.get("duration_millis", _DIGIT_MS) / 1000
            self.ear.feed(tone(length_s, *digit_hz(digit)), self.now())
            self.digits += "" if digit in "wW" else digit

    def stop(self, status: str = "cancelled") -> None:
        """Stop all that is playing or queued; each ends with this status."""
        self.ear.clear(self.now())
        queued, self._queued = self._queued, {}
        for task, end in queued.items():
            task.cancel()
            end(status)

    def _play(self, what: str, sound: Int16Array, body: Body, fields: Body, at_end: Body) -> None:
        loop = body.get("loop", 1)
        times = ENDLESS if loop == "infinity" else int(loop)
        starts_s = max(self.now(), self.ear.end_s)
        self.ear.feed(np.tile(sound, times), self.now())

        def end(status: str) -> None:
            self.report(f"call.{what}.ended", status=status, **fields, **at_end)

        times_s = starts_s, self.ear.end_s
        before = next(reversed(self._queued), None)
        task = self.spawn(self._see_out(what, before, times_s, fields, end))
        self._queued[task] = end

    async def _see_out(
        self,
        what: str,
        before: asyncio.Task[None] | None,
        times_s: tuple[float, float],
        fields: Body,
        end: Callable[[str], None],
    ) -> None:
        starts_s, ends_s = times_s
        if before is not None:
            # The one before ends right here: two timers for the same time run in any order.
            await asyncio.wait([before])
        await asyncio.sleep(starts_s - self.now())
        self.report(f"call.{what}.started", **fields)
        await asyncio.sleep(ends_s - self.now())
        task = asyncio.current_task()
        assert task is not None
        del self._queued[task]
        end("completed")


@dataclass
class Recording:
    """One recording of a call: what was asked for, and when it ran."""

    body: Body
    recording_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    started_at: str = field(default_factory=lambda: now_text())
    is_paused: bool = False

    @property
    def ends_by_silence(self) -> bool:
        """Whether Telnyx transcribes to find out when to stop it."""
        return bool(self.body.get("timeout_secs"))

    def saved(self) -> Body:
        """What ``call.recording.saved`` says of it."""
        kind = self.body["format"]
        url = f"https://recordings.example.com/{self.recording_id}.{kind}"
        return {
            "channels": self.body["channels"],
            "recording_id": self.recording_id,
            "recording_started_at": self.started_at,
            "recording_ended_at": now_text(),
            "recording_urls": {kind: url},
            "public_recording_urls": {},
        }


@dataclass
class Recordings:
    """The recordings of one call.

    Attributes:
        report: sends ``call.recording.saved``.
        running: in the order of their start.
    """

    report: Report = field(repr=False)
    running: list[Recording] = field(default_factory=list)

    def start(self, body: Body) -> None:
        """Record from now on."""
        self.running.append(Recording(body))

    def stop(self, body: Body) -> None:
        """Stop the one that is named, or all; without any: what Telnyx says is not known."""
        for recording in self._meant(body):
            self.running.remove(recording)
            self.report("call.recording.saved", **recording.saved())

    def pause(self, body: Body) -> None:
        """Pause the recording."""
        for recording in self._meant(body):
            recording.is_paused = True

    def resume(self, body: Body) -> None:
        """Go on with the recording."""
        for recording in self._meant(body):
            recording.is_paused = False

    def _meant(self, body: Body) -> list[Recording]:
        wanted = body.get("recording_id")
        return [each for each in self.running if wanted in (None, each.recording_id)]


@dataclass
class Transcriber:
    """A transcription that always has the same words.

    Attributes:
        report: sends ``call.transcription``.
        spawn: runs a task of the call.
        transcripts: what is heard.
        every_s: how often something is heard.
    """

    report: Report = field(repr=False)
    spawn: Spawn = field(repr=False)
    transcripts: Sequence[str]
    every_s: float
    _task: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def is_running(self) -> bool:
        """Whether the call is transcribed now."""
        return self._task is not None

    def start(self, body: Body) -> None:
        """Transcribe from now on."""
        self._task = self.spawn(self._transcribe(body.get("transcription_tracks", "inbound")))

    def stop(self) -> None:
        """Transcribe no more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _transcribe(self, track: str) -> None:
        while True:
            for transcript in self.transcripts:
                await asyncio.sleep(self.every_s)
                heard = {"transcript": transcript, "confidence": 0.98, "is_final": True}
                data = heard | {"transcription_track": track}
                self.report("call.transcription", transcription_data=data)


def now_text() -> str:
    """The time as Telnyx writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
