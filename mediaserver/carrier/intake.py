"""The far end's judgement on each message of the server: play it, complain, or stay silent.

The rules, from protocol.md 1.1 and 1.2:

- not one of media, mark, clear in JSON text: 100003. Binary: silence, no complaint.
- payload not base64: 100004. Shorter than 20 ms or longer than 30 s: 100004 (the code is
  undocumented, the rejection is reported). Not what the codec allows: 100002.
- mp3 mode: not an MP3 file: silence, no complaint (a plan may have it stop the stream). More
  than one file a second: 100005.
"""

from __future__ import annotations

import binascii
import functools
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from pybase64 import b64decode

import telephony_codecs
from mediaserver.carrier.ear import Ear
from mediaserver.carrier.messages import (
    ClearIn,
    Command,
    MalformedFrameError,
    MarkIn,
    MediaIn,
    parse,
)
from mediaserver.carrier.plan import Audio, CallPlan, at_rate
from mediaserver.carrier.turns import Heard
from telephony_codecs import CodecError, Int16Array

MIN_MESSAGE_S = 0.020
MAX_MESSAGE_S = 30
NOT_MP3 = "not an mp3 file"
# Jitter: messages sent one second apart may arrive a little closer together, and that is no
# fault of the sender.
MP3_INTERVAL_S = 1.0 - 0.02


class Received(NamedTuple):
    """One message of the server that could be read, and the time at which it came."""

    at_s: float
    command: Command


class Complaint(NamedTuple):
    """An error that Telnyx reports."""

    code: int
    detail: str


class Answer(NamedTuple):
    """What is sent back at once: marks that a ``clear`` resolved, or an error."""

    cleared_marks: list[str]
    complaint: Complaint | None


_NOTHING = Answer([], None)


@dataclass
class Arrivals:
    """The audio that came, message by message.

    Attributes:
        at_s: when each came.
        samples: what each held.
    """

    at_s: array[float] = field(default_factory=lambda: array("d"))
    samples: list[Int16Array] = field(default_factory=list)

    def audio(self) -> Int16Array:
        """Return all of it in one array."""
        return np.concatenate([np.zeros(0, np.int16), *self.samples])


class Listener(Protocol):
    """Follows what the caller hears, while it is still queued."""

    def feed(self, samples: Int16Array, from_s: float) -> None:
        """Take in audio, int16 ``(n,)``, that is heard from ``from_s`` on."""

    def cut(self, at_s: float) -> None:
        """Forget what would have been heard after ``at_s``."""


class _RefusedError(Exception):
    """The payload is not played; holds the error to send, or None to send none."""

    def __init__(self, complaint: Complaint | None) -> None:
        super().__init__(complaint)
        self.complaint = complaint


class Intake:
    """Takes the server's messages for one call.

    Args:
        plan: what the call is.
        listener: told what is heard; None: ``heard``, for a caller who takes turns.

    Attributes:
        ear: what the caller hears.
        heard: when that was audible; kept for a caller who takes turns, else empty.
        arrivals: the audio accepted.
        received: every message that could be read; of media only if the plan keeps all.
        silent: messages swallowed without a complaint, by reason.
    """

    def __init__(self, plan: CallPlan, listener: Listener | None = None) -> None:
        self.ear: Ear = Ear(plan.out_rate_hz)
        self.heard: Heard = Heard(plan.out_rate_hz)
        self._listener = listener or (None if plan.turns is None else self.heard)
        self.arrivals: Arrivals = Arrivals()
        self.received: list[Received] = []
        self.silent: Counter[str] = Counter()
        self._mp3 = plan.mode == "mp3"
        self._keep = plan.keep
        self._decoder = telephony_codecs.codec(plan.out_codec).decoder(plan.out_rate_hz)
        self._last_mp3_s = float("-inf")

    def accept(self, message: str | bytes, now: float) -> Answer:
        """Check one message and act on it; return what must be sent back."""
        if isinstance(message, bytes):
            self.silent["binary message"] += 1
            return _NOTHING
        try:
            command = parse(message)
        except MalformedFrameError as error:
            return Answer([], Complaint(100003, str(error)))
        if self._keep == "all" or not isinstance(command, MediaIn):
            self.received.append(Received(now, command))
        return self._obey(command, now)

    def _obey(self, command: Command, now: float) -> Answer:
        match command:
            case MediaIn():
                return self._play(command.media.payload, now)
            case MarkIn():
                self.ear.mark(command.mark.name, now)
                return _NOTHING
            case ClearIn():
                # The decoder keeps its state: Telnyx does not say that it resets its own.
                if self._listener is not None:
                    self._listener.cut(now)
                return Answer(self.ear.clear(now), None)

    def _play(self, payload_base64: str, now: float) -> Answer:
        try:
            payload = _unpack(payload_base64)
            samples = self._mp3_audio(payload, now) if self._mp3 else self._raw_audio(payload)
        except _RefusedError as refused:
            return Answer([], refused.complaint)
        if self._listener is not None:
            self._listener.feed(samples, max(now, self.ear.end_s))
        if self._keep == "figures":
            samples = _silence(len(samples))
        self.ear.feed(samples, now)
        self.arrivals.at_s.append(now)
        self.arrivals.samples.append(samples)
        return _NOTHING

    def _raw_audio(self, payload: bytes) -> Int16Array:
        try:
            samples = self._decoder.decode(payload)
        except CodecError as error:
            raise _RefusedError(Complaint(100002, str(error))) from error
        rate_hz = self._decoder.rate_hz
        if not MIN_MESSAGE_S * rate_hz <= len(samples) <= MAX_MESSAGE_S * rate_hz:
            length_ms = 1000 * len(samples) / rate_hz
            detail = f"{length_ms:g} ms of audio, a message holds 20 ms to 30 s"
            raise _RefusedError(Complaint(100004, detail))
        return samples

    def _mp3_audio(self, payload: bytes, now: float) -> Int16Array:
        if not _looks_like_mp3(payload):
            self.silent[NOT_MP3] += 1
            raise _RefusedError(None)
        if now - self._last_mp3_s < MP3_INTERVAL_S:
            raise _RefusedError(Complaint(100005, "at most one mp3 message per second"))
        self._last_mp3_s = now
        try:
            samples, rate_hz = telephony_codecs.open_audio(payload)
        except CodecError:
            self.silent[NOT_MP3] += 1
            raise _RefusedError(None) from None
        return at_rate(Audio(samples, rate_hz), self.ear.rate_hz)


@functools.lru_cache(maxsize=16)
def _silence(n_samples: int) -> Int16Array:
    """Return the same array for the same length, so that it takes no more memory."""
    return np.zeros(n_samples, np.int16)


def _unpack(payload_base64: str) -> bytes:
    try:
        return b64decode(payload_base64, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _RefusedError(Complaint(100004, "the payload is not base64")) from error


def _looks_like_mp3(payload: bytes) -> bool:
    """Tell a file (ID3 tag, or an MPEG layer III header) from raw audio."""
    if payload[:3] == b"ID3":
        return True
    return len(payload) > 1 and payload[0] == 0xFF and payload[1] & 0xE6 == 0xE2
