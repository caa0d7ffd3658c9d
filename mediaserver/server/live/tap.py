"""One call that somebody looks at: the last seconds of its audio, and what happens in it."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import TypeVar

import msgspec
import numpy as np

from mediaserver.media.frames import Frame, Int16Array
from mediaserver.media.playout import Playout
from mediaserver.media.playout.ledger import Ledger
from mediaserver.processors.api import Event
from mediaserver.server.calls.session import Session
from mediaserver.server.live.events import event_of
from mediaserver.server.live.forms import (
    BOT,
    CALLER,
    CLEARED,
    CallEvent,
    Chunk,
    LogLine,
    Look,
    LookFor,
)
from telephony_codecs.g711 import linear_to_alaw, linear_to_ulaw

# Three seconds of both sides: whoever asks more rarely has missed something.
MOST_CHUNKS = 300
MOST_EVENTS = 200
# Speech is understood at this rate; what has more is thinned out before it is sent.
MOST_HZ = 16000

T = TypeVar("T")


class _Piece:
    """A chunk as it is kept: its picture and its audio are made when they are first wanted."""

    __slots__ = ("_audio", "_pairs", "at", "rate_hz", "samples", "side")

    def __init__(self, side: int, at: float, samples: Int16Array, rate_hz: int) -> None:
        self.side = side
        self.at = at
        self.samples = samples
        self.rate_hz = rate_hz
        self._pairs: tuple[int, ...] | None = None
        self._audio: Chunk | None = None

    @property
    def length_s(self) -> float:
        return len(self.samples) / self.rate_hz if self.rate_hz else 0.0

    def picture(self) -> Chunk:
        if self._pairs is None:
            self._pairs = _pairs(self.samples, self.rate_hz)
        return Chunk(self.side, self.at, self.length_s, self._pairs)

    def audio(self, law: str) -> Chunk:
        if self._audio is None:
            samples, rate_hz = _thinned(self.samples, self.rate_hz)
            table = linear_to_alaw() if law == "PCMA" else linear_to_ulaw()
            octets = table.take(samples).tobytes()
            self._audio = Chunk(self.side, self.at, self.length_s, (), rate_hz, octets)
        return self._audio


class CallTap:
    """Keeps what is to be seen and heard of a call, from its making until ``close``.

    A listener of the call's playout, so that the bot's side is known at the time it is heard.

    Args:
        session: the call.
        numbers: hides telephone numbers in a text.

    Attributes:
        wanted_at: monotonic seconds of the last look.
    """

    def __init__(self, session: Session, numbers: Callable[[str], str]) -> None:
        self.session = session
        self.wanted_at: float = monotonic()
        self._numbers = numbers
        self._began_at = session.began_at
        self._counter = itertools.count(1)
        self._seq = 0
        self._pieces: deque[tuple[int, _Piece]] = deque(maxlen=MOST_CHUNKS)
        self._events: deque[tuple[int, CallEvent]] = deque(maxlen=MOST_EVENTS)
        self._playout: Playout = session.outbound.playout
        self._playout.listen(self, monotonic)
        self._other = "outbound" if session.is_listen_only else None
        session.inbound.overhear(self._came)
        session.runner.events.follow(self._happened)

    def close(self) -> None:
        """Keep nothing more."""
        self.session.inbound.overhear_no_more(self._came)
        self.session.runner.events.follow_no_more(self._happened)
        self._playout.listen_no_more(self)

    # What the call brings.

    def playing(self, ledger: Ledger) -> None:
        """See ``Listener``: what waits is read from the playout."""

    def _came(self, frame: Frame) -> None:
        if frame.track == "inbound":
            self._add(_Piece(CALLER, frame.start, frame.samples, frame.rate))
        elif frame.track == self._other:
            self._add(_Piece(BOT, frame.start, frame.samples, frame.rate))

    def sent(self, samples: Int16Array, rate_hz: int, at: float) -> None:
        """See ``Listener``."""
        self._add(_Piece(BOT, at - self._began_at, samples.copy(), rate_hz))

    def cleared(self, at: float) -> None:
        """See ``Listener``."""
        self._add(_Piece(CLEARED, at - self._began_at, _NOTHING, 0))

    def _happened(self, event: Event) -> None:
        self._note(*event_of(event, monotonic() - self._began_at))

    def logged(self, line: LogLine) -> None:
        """A line about the call was logged."""
        self._note(monotonic() - self._began_at, f"log {line.level}", line.text)

    def _note(self, at: float, kind: str, text: str) -> None:
        self._seq = next(self._counter)
        self._events.append((self._seq, CallEvent(at, kind, self._numbers(text))))

    def _add(self, piece: _Piece) -> None:
        self._seq = next(self._counter)
        self._pieces.append((self._seq, piece))

    # What is asked.

    def look(self, wanted: LookFor, state: str) -> Look:
        """What is new since ``wanted.after``; the oldest may be gone."""
        self.wanted_at = now = monotonic()
        self._follow_playout()
        session, playout = self.session, self._playout
        formats, chunks = session.facts.formats, session.inbound.chunks
        law = "PCMA" if "PCMA" in (formats.codec, formats.send_codec) else "PCMU"
        after, oldest = wanted.after, self._pieces[0][0] if self._pieces else 0
        if after > self._seq:  # of another tap, that was let go meanwhile
            after = -1
        is_late = 0 <= after < oldest - 1 and len(self._pieces) == MOST_CHUNKS
        skipped = oldest - 1 - after if is_late else 0
        if wanted.audio and after < 0:
            after = self._seq
        pieces = _newer(self._pieces, after)
        summary = session.stats() if wanted.summary else None
        return Look(
            seq=self._seq,
            skipped=skipped,
            now=(session.ended_at or now) - self._began_at,
            state=state,
            law=law,
            chunks=tuple(p.audio(law) if wanted.audio else p.picture() for p in pieces),
            events=() if wanted.audio else tuple(_newer(self._events, after)),
            queued_s=0.0 if session.ended else playout.queued_s(now),
            sent_until=max(0.0, playout.ledger.dry_at - self._began_at),
            lost=chunks.missing,
            late=chunks.late,
            marks=(playout.ledger.returned_marks, playout.ledger.n_awaited),
            is_muted=playout.is_muted,
            summary=summary,
            trouble=summary.troubles if summary is not None else {},
        )

    def _follow_playout(self) -> None:
        """Another socket has taken over: its playout is another one."""
        playout = self.session.outbound.playout
        if playout is not self._playout:
            self._playout.listen_no_more(self)
            self._playout = playout
            playout.listen(self, monotonic)


_NOTHING: Int16Array = np.zeros(0, np.int16)


def _newer(kept: deque[tuple[int, T]], after: int) -> list[T]:
    newer = []
    for seq, each in reversed(kept):
        if seq <= after:
            break
        newer.append(each)
    return newer[::-1]


def _pairs(samples: Int16Array, rate_hz: int) -> tuple[int, ...]:
    """Lowest and highest of each 20 ms; what is left over at the end counts as 20 ms."""
    step, pairs = max(rate_hz // 50, 1), []
    for at in range(0, len(samples), step):
        part = samples[at : at + step]
        pairs += [int(part.min()) >> 8, int(part.max()) >> 8]
    return tuple(pairs)


def _thinned(samples: Int16Array, rate_hz: int) -> tuple[Int16Array, int]:
    """At ``MOST_HZ`` or less: the mean of a few samples for each few."""
    n = -(-rate_hz // MOST_HZ)
    if n <= 1:
        return samples, rate_hz
    kept = samples[: len(samples) // n * n].reshape(-1, n)
    return kept.mean(axis=1).astype(np.int16), rate_hz // n


def decode_wanted(argument: str) -> LookFor | None:
    """What a look is for; None: nothing that is understood."""
    try:
        return msgspec.json.decode(argument, type=LookFor)
    except msgspec.MsgspecError:
        return None
