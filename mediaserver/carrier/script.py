"""What a plan's call sends, and when: encoded chunks, their schedule, their faults."""

from __future__ import annotations

import functools
import heapq
import random
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

import numpy as np
from pybase64 import b64encode

from mediaserver.carrier.plan import (
    TRACKS,
    Audio,
    CallPlan,
    Faults,
    PlanError,
    at_rate,
    speech,
    stored_speech,
)
from telephony_codecs import codec

Lap = tuple[bytes, ...]
TURNS_S = 30.0
"""How long a caller who takes turns stays, unless told otherwise."""
Voices = dict[str, Lap]


class Cue(NamedTuple):
    """One thing to do.

    Attributes:
        at_s: when, in seconds since ``start``.
        order: place of a chunk before any fault moved it; sequence numbers follow this.
        kind: what.
        track: of media.
        chunk: the number that goes on the wire.
        position: which chunk of its track's audio it holds, counted from 0.
        digit: of dtmf.
        dropped: it takes a number and is never sent.
        said_s: of media, when it was said, whatever fault came over it.
    """

    at_s: float
    order: int
    kind: Literal["media", "dtmf", "reconnect", "cut"]
    track: str = ""
    chunk: int = 0
    position: int = 0
    digit: str = ""
    dropped: bool = False
    said_s: float = 0.0


def voices(plan: CallPlan) -> Voices:
    """Return the payloads of each track's clip; a call repeats them.

    A caller who takes turns has none: what they say is made while they talk.

    Raises:
        CodecError: the codec cannot encode here, or not this rate or chunk length.
        PlanError: there is no audio.
    """
    if plan.turns is not None:
        return {}
    if plan.payloads is not None:
        return {track: _some(tuple(plan.payloads)) for track in TRACKS[plan.tracks]}
    if plan.codec == "AMR-WB" and plan.audio is None:
        return {track: _some(stored_speech(plan.chunk_ms // 20)) for track in TRACKS[plan.tracks]}
    first = plan.audio or speech()
    second = plan.outbound_audio or (first if plan.tracks == "outbound" else _half_later(first))
    clips = {"inbound": first, "outbound": second}
    how = (plan.codec, plan.in_rate_hz, plan.chunk_ms, plan.seconds)
    return {track: _some(_encode(clips[track], *how)) for track in TRACKS[plan.tracks]}


def _some(lap: Lap) -> Lap:
    if not lap:
        raise PlanError("there is no audio to send")
    return lap


# Cached: all calls of a load run send the same audio, and some encoders are slow.
@functools.lru_cache(maxsize=8)
def _half_later(audio: Audio) -> Audio:
    return Audio(np.roll(audio.samples, len(audio.samples) // 2), audio.rate_hz)


@functools.lru_cache(maxsize=32)
def _encode(audio: Audio, name: str, rate_hz: int, chunk_ms: int, seconds: float | None) -> Lap:
    n_chunk = rate_hz * chunk_ms // 1000
    samples = at_rate(audio, rate_hz)
    if seconds is not None:
        samples = samples[: max(1, round(seconds * rate_hz))]
    samples = np.pad(samples, (0, -len(samples) % n_chunk))
    encoder = codec(name).encoder(rate_hz)
    return tuple(encoder.encode(chunk) for chunk in samples.reshape(-1, n_chunk))


def as_text(voices: Voices) -> dict[str, tuple[str, ...]]:
    """Return the payloads as they go on the wire, in base64."""
    return {track: _base64(lap) for track, lap in voices.items()}


@functools.lru_cache(maxsize=32)
def _base64(lap: Lap) -> tuple[str, ...]:
    return tuple(b64encode(payload).decode() for payload in lap)


def media_s(plan: CallPlan, voices: Voices) -> float:
    """Return how many seconds of media the call sends."""
    if plan.seconds is not None:
        return plan.seconds
    if plan.turns is not None:
        return TURNS_S
    return max(len(lap) for lap in voices.values()) * plan.chunk_ms / 1000


def cues(plan: CallPlan, seconds: float) -> Iterator[Cue]:
    """Yield everything to do, in the order of doing it, faults included."""
    media: Iterable[Cue] = _nominal(plan, seconds)
    if plan.faults != Faults():
        media = _faulty(plan, media)
    events = [Cue(at_s, -1, "dtmf", digit=digit) for at_s, digit in plan.dtmf]
    if plan.reconnect_at_s is not None:
        events.append(Cue(plan.reconnect_at_s, -1, "reconnect"))
    if plan.faults.abrupt_close_at_s is not None:
        events.append(Cue(plan.faults.abrupt_close_at_s, -1, "cut"))
    events.sort(key=_at_s)
    return heapq.merge(events, media, key=_at_s)


def _at_s(cue: Cue) -> float:
    return cue.at_s


def _nominal(plan: CallPlan, seconds: float) -> Iterator[Cue]:
    """Yield every chunk, without faults."""
    for order, (at_s, track, chunk, position) in enumerate(_chunks(plan, seconds)):
        yield Cue(at_s, order, "media", track, chunk, position, said_s=at_s)


def _chunks(plan: CallPlan, seconds: float) -> Iterator[tuple[float, str, int, int]]:
    """Yield time, track, chunk number and position of every chunk."""
    numbers = _Numbers(plan)
    positions = dict.fromkeys(TRACKS[plan.tracks], 0)
    for tick in range(round(seconds * 1000 / plan.chunk_ms)):
        at_s = tick * plan.chunk_ms / 1000
        numbers.reach(at_s)
        for track in TRACKS[plan.tracks]:
            if not _held(plan, track, at_s):
                yield at_s, track, numbers.take(track), positions[track]
                positions[track] += 1


def _held(plan: CallPlan, track: str, at_s: float) -> bool:
    return any(held == track and since <= at_s < until for held, since, until in plan.holds)


class _Numbers:
    """The chunk counters: one per track or one for both, started anew by a reconnect."""

    def __init__(self, plan: CallPlan) -> None:
        self._plan = plan
        self._next: dict[str, int] = {}
        restarts = plan.reconnect_numbering == "restart"
        self._restart_at_s = plan.reconnect_at_s if restarts else None

    def reach(self, at_s: float) -> None:
        if self._restart_at_s is not None and at_s >= self._restart_at_s:
            self._next.clear()
            self._restart_at_s = None

    def take(self, track: str) -> int:
        key = track if self._plan.chunk_numbering == "per_track" else ""
        number = self._next.get(key, self._plan.first_chunk)
        self._next[key] = number + 1
        return number


def _faulty(plan: CallPlan, nominal: Iterable[Cue]) -> list[Cue]:
    faults, dice = plan.faults, random.Random(plan.seed)
    spread_s = max(0, faults.reorder_window - 1) * plan.chunk_ms / 1000
    out = []
    for cue in nominal:
        # Jitter only delays: nothing arrives before it was sent.
        late = cue._replace(at_s=cue.at_s + dice.random() * spread_s)
        out.append(late._replace(dropped=dice.random() < faults.drop))
        if dice.random() < faults.duplicate:
            out.append(late)
    out.sort(key=_at_s)
    return _delayed(plan, out, dice)


def _delayed(plan: CallPlan, media: list[Cue], dice: random.Random) -> list[Cue]:
    """Return the chunks late by jitter and stall, still in order."""
    out, latest_s = [], 0.0
    stall_s, stall_for_s = plan.faults.stall or (0.0, 0.0)
    for cue in media:
        at_s = cue.at_s + dice.random() * plan.faults.jitter_s
        if stall_s <= at_s < stall_s + stall_for_s:
            at_s = stall_s + stall_for_s
        latest_s = max(latest_s, at_s)
        out.append(cue._replace(at_s=latest_s))
    return out
