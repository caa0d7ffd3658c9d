"""A far end in virtual time: it plays what it is sent and returns marks when reached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mediaserver.media.frames import Int16Array
from mediaserver.media.playout import Outcome, Playout
from telephony_codecs import codec

TINY_S = 1e-4


class Rig:
    """A playout, its far end and the clock between them; PCMU at 8 kHz.

    The far end plays on a continuous clock; a message travels ``one_way_s`` each way.
    """

    def __init__(self, one_way_s: float = 0.0, codec_name: str = "PCMU", **options: Any) -> None:
        self.now = 0.0
        self.one_way_s = one_way_s
        self.free_at = 0.0
        self.payloads: list[bytes] = []
        # (from when, samples) of all that is or was played, cut by clears.
        self.playing: list[tuple[float, int]] = []
        self.marks: list[tuple[float, str]] = []
        self.marks_sent: list[str] = []
        self.clears = 0
        self.leads_s: list[float] = []
        self.gaps_s: list[float] = []
        self.alive = True
        encoder = codec(codec_name).encoder(8000)
        self.rate_hz = encoder.rate_hz
        self.playout = Playout(encoder, self, **options)

    def send_media(self, payload: bytes) -> None:
        assert self.alive
        n_samples = len(payload)
        assert n_samples >= 160
        arrival = self.now + self.one_way_s
        if arrival > self.free_at + TINY_S and self.playing:
            self.gaps_s.append(arrival - self.free_at)
        start = max(arrival, self.free_at)
        self.free_at = start + n_samples / self.rate_hz
        self.leads_s.append(self.free_at - arrival)
        self.payloads.append(payload)
        self.playing.append((start, n_samples))

    def send_mark(self, name: str) -> None:
        assert self.alive
        self.marks_sent.append(name)
        self.marks.append((max(self.now + self.one_way_s, self.free_at) + self.one_way_s, name))

    def send_clear(self) -> None:
        assert self.alive
        self.clears += 1
        arrival = self.now + self.one_way_s
        self.playing = [
            (start, min(n, round((arrival - start) * self.rate_hz)))
            for start, n in self.playing
            if start < arrival
        ]
        self.free_at = min(self.free_at, arrival)
        self.marks = [(min(at, arrival + self.one_way_s), name) for at, name in self.marks]

    def heard_samples(self) -> int:
        """Samples that the caller has heard by now."""
        return sum(
            max(min(n, round((self.now - start) * self.rate_hz)), 0) for start, n in self.playing
        )

    def run(self, until: float, each: Callable[[], None] | None = None) -> None:
        """Let time pass: tick when asked to, return marks when they are due."""
        n_idle = 0
        while True:
            self.marks.sort()
            next_at = self.playout.next_at
            times = [until, *(at for at, _ in self.marks[:1])]
            if next_at is not None:
                times.append(max(next_at, self.now))
            at = min(times)
            n_idle = n_idle + 1 if at == self.now else 0
            assert n_idle < 2000, "ticks that do nothing"
            self.now = max(at, self.now)
            if each is not None:
                each()
            if self.marks and self.marks[0][0] <= self.now:
                self.playout.mark_returned(self.marks.pop(0)[1], self.now)
            elif self.playout.next_at is not None and self.playout.next_at <= self.now:
                self.playout.tick(self.now)
            elif self.now >= until:
                return

    def run_out(self) -> None:
        """Let time pass until nothing is left to do."""
        while self.playout.next_at is not None or self.marks:
            next_at = self.playout.next_at
            times = [at for at, _ in self.marks] + ([next_at] if next_at is not None else [])
            self.run(max(min(times), self.now))

    @property
    def wire(self) -> bytes:
        return b"".join(self.payloads)


class Told:
    """Remembers what it was told of."""

    def __init__(self) -> None:
        self.states: dict[int, list[str]] = {}

    def watch(self, thing: Outcome) -> None:
        self.states.setdefault(id(thing), [])
        thing.notify(lambda each: self.states[id(each)].append(each.state))

    def of(self, thing: Outcome) -> list[str]:
        return self.states[id(thing)]


@pytest.fixture(scope="session")
def make_told() -> type[Told]:
    return Told


@pytest.fixture(scope="session")
def make_rig() -> type[Rig]:
    return Rig


def tone(seconds: float, rate_hz: int = 8000, tone_hz: float = 440.0) -> Int16Array:
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    audio: Int16Array = np.rint(9000 * np.sin(2 * np.pi * tone_hz * t)).astype(np.int16)
    return audio


@pytest.fixture(scope="session")
def make_tone() -> Callable[..., Int16Array]:
    return tone
