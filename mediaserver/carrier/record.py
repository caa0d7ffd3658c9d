"""The raw events of one call."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mediaserver.carrier.intake import Complaint, Intake
from mediaserver.carrier.plan import CallPlan
from mediaserver.carrier.script import Voices
from mediaserver.carrier.turns import Caller

Integers = npt.NDArray[np.int64]


Seconds = npt.NDArray[np.float64]


class SentChunk(NamedTuple):
    """One media message that went out.

    Attributes:
        track: its track.
        position: which chunk of the track's audio, counted from 0.
        due_s: when it was to be sent.
        late_s: how much later it was, by the sender's own fault.
    """

    track: str
    position: int
    due_s: float
    late_s: float


class SentLog:
    """The media messages that went out, in columns: a long load run has millions.

    Attributes:
        tracks: as in SentChunk, and so are the others.
        positions: int64.
        due_s: float64.
        late_s: float64.
    """

    def __init__(self) -> None:
        self.tracks: list[str] = []
        self.positions: array[int] = array("q")
        self.due_s: array[float] = array("d")
        self.late_s: array[float] = array("d")

    def append(self, chunk: SentChunk) -> None:
        """Add one message."""
        self.tracks.append(chunk.track)
        self.positions.append(chunk.position)
        self.due_s.append(chunk.due_s)
        self.late_s.append(chunk.late_s)

    def __len__(self) -> int:
        return len(self.tracks)

    def of(self, track: str) -> tuple[Integers, Seconds]:
        """Return position and due time of each message of one track, shape ``(n,)``."""
        here = np.array([each == track for each in self.tracks], bool)
        return np.array(self.positions)[here], np.array(self.due_s)[here]


class ReturnedMark(NamedTuple):
    """One mark given back, and whether a ``clear`` had set it free."""

    at_s: float
    name: str
    cleared: bool


@dataclass
class Record:
    """The raw events of one call; attributes as in CallReport where named alike.

    Attributes:
        plan: what was to be done.
        intake: what the server sent and the caller heard.
        voices: the payloads of one lap of each track.
        sent: each media message.
        marks: each mark given back.
        complaints: each error sent.
        caller: who takes turns; None: nobody does.
        held_s: how long the server took nothing, so that sending had to wait.
        ended_s: when the call ended; None: it has not.
    """

    plan: CallPlan
    intake: Intake
    voices: Voices
    sent: SentLog = field(default_factory=SentLog)
    marks: list[ReturnedMark] = field(default_factory=list)
    complaints: list[Complaint] = field(default_factory=list)
    caller: Caller | None = None
    held_s: float = 0.0
    ended_s: float | None = None
    dtmf: str = ""
    reconnects: int = 0
    setup_s: float | None = None
    close_code: int | None = None
    close_reason: str = ""
    hung_up: bool = False
    error: str | None = None
