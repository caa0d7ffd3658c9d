"""A caller who takes turns with a bot: what they say and press when, and what they hear.

The rules of a turn's moment:

- ``time``: so many seconds after ``start``.
- ``mark``: a mark of this name has come back because it was reached. Each one that comes back
  serves one turn.
- ``silence``: the bot has been heard since the last turn was taken, has then been quiet for a
  while, and the caller has said all of what they had begun. Each silence serves one turn.

Turns of one kind are taken in their order. Time is an argument.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from telephony_codecs import Int16Array

Kind = Literal["time", "silence", "mark"]
_AUDIBLE = 330
"""A window with this peak or more is heard: -40 dBFS. A silent line stays below."""
_WINDOWS_PER_S = 50
_ROUNDING = 1e-6
_PAUSE_S = 0.25
"""A shorter gap is a gap between two words."""
KEY_SPACING_S = 0.2
"""Time between two keys of one turn."""


@dataclass(frozen=True, eq=False)
class Turn:
    """One thing that the caller does.

    Attributes:
        name: as it is called in reports.
        kind: what it waits for.
        at_s: of a time.
        mark: of a mark.
        samples: what is said, int16 ``(n,)`` at the rate of the call; None: nothing.
        keys: what is pressed, one key after the other.
    """

    name: str
    kind: Kind
    at_s: float = 0.0
    mark: str = ""
    samples: Int16Array | None = None
    keys: str = ""


class Taken(NamedTuple):
    """A turn that was taken, and from when to when it took."""

    name: str
    from_s: float
    to_s: float


class Heard:
    """When the bot was audible.

    **Call ``feed`` with all audio in the order of hearing it, ``cut`` when the rest is not heard.**

    Attributes:
        stretches: ``[from_s, to_s]`` each, in order.
    """

    def __init__(self, rate_hz: int) -> None:
        self.stretches: list[list[float]] = []
        self._rate_hz = rate_hz

    def feed(self, samples: Int16Array, from_s: float) -> None:
        """Take in audio, int16 ``(n,)``, that is heard from ``from_s`` on."""
        n_window = self._rate_hz // _WINDOWS_PER_S
        padded = np.pad(samples.astype(np.int32), (0, -len(samples) % n_window))
        peaks = np.abs(padded).reshape(-1, n_window).max(axis=1)
        for window in np.flatnonzero(peaks >= _AUDIBLE):
            self._add(from_s + int(window) / _WINDOWS_PER_S)

    def _add(self, at_s: float) -> None:
        to_s = at_s + 1 / _WINDOWS_PER_S
        if self.stretches and at_s - self.stretches[-1][1] < _PAUSE_S:
            self.stretches[-1][1] = max(to_s, self.stretches[-1][1])
        else:
            self.stretches.append([at_s, to_s])

    def cut(self, at_s: float) -> None:
        """Forget what would have been heard after ``at_s``."""
        while self.stretches and self.stretches[-1][0] >= at_s:
            self.stretches.pop()
        if self.stretches:
            self.stretches[-1][1] = min(self.stretches[-1][1], at_s)

    def until(self, end_s: float) -> tuple[tuple[float, float], ...]:
        """Return what was heard up to ``end_s``."""
        return tuple((a, min(b, end_s)) for a, b in self.stretches if a < end_s)

    @property
    def last_s(self) -> float:
        """When the bot is heard for the last time, as far as is known; 0: not yet."""
        return self.stretches[-1][1] if self.stretches else 0.0


class Caller:
    """Says and presses what the turns want.

    **Call ``step`` for every chunk in its order: it tells the keys to press and gives the chunk.**

    Attributes:
        taken: the turns taken, in order.
        waiting: those whose moment has not come.
    """

    def __init__(self, turns: Sequence[Turn], heard: Heard, quiet_s: float, rate_hz: int) -> None:
        self.taken: list[Taken] = []
        self.waiting: list[Turn] = list(turns)
        self._heard = heard
        self._quiet_s = quiet_s
        self._rate_hz = rate_hz
        self._since_s = 0.0
        self._busy_until_s = 0.0
        self._to_say = np.zeros(0, np.int16)
        self._keys: deque[tuple[float, str]] = deque()

    def step(
        self, due_s: float, now_s: float, marks: Iterable[str], n_samples: int
    ) -> tuple[str, Int16Array]:
        """Return the keys to press now and the next ``n_samples`` to say.

        Args:
            due_s: when the chunk is due.
            now_s: the time; later than ``due_s`` where the sender is late.
            marks: names of the marks reached since the last step.
            n_samples: length of a chunk.
        """
        for turn in self._due(due_s, now_s, marks):
            self._take(turn, due_s)
        keys = ""
        while self._keys and self._keys[0][0] <= due_s + _ROUNDING:
            keys += self._keys.popleft()[1]
        chunk, self._to_say = self._to_say[:n_samples], self._to_say[n_samples:]
        return keys, np.pad(chunk, (0, n_samples - len(chunk)))

    def _due(self, due_s: float, now_s: float, marks: Iterable[str]) -> list[Turn]:
        """Remove and return the waiting turns that are due."""
        due = [
            turn for turn in self.waiting if turn.kind == "time" and turn.at_s <= due_s + _ROUNDING
        ]
        for name in marks:
            due += [
                t for t in self.waiting if t.kind == "mark" and t.mark == name and t not in due
            ][:1]
        if not due and self._is_silent(due_s, now_s):
            due = [turn for turn in self.waiting if turn.kind == "silence"][:1]
        self.waiting = [turn for turn in self.waiting if turn not in due]
        return due

    def _is_silent(self, due_s: float, now_s: float) -> bool:
        last_s = self._heard.last_s
        is_talking = due_s < self._busy_until_s
        return not is_talking and last_s > self._since_s and now_s - last_s >= self._quiet_s

    def _take(self, turn: Turn, due_s: float) -> None:
        self._since_s = due_s
        from_s = due_s if turn.samples is None else due_s + len(self._to_say) / self._rate_hz
        to_s = from_s + KEY_SPACING_S * max(0, len(turn.keys) - 1)
        self._keys.extend((from_s + k * KEY_SPACING_S, key) for k, key in enumerate(turn.keys))
        if turn.samples is not None:
            self._to_say = np.concatenate([self._to_say, turn.samples])
            to_s = from_s + len(turn.samples) / self._rate_hz
        self._busy_until_s = max(self._busy_until_s, to_s)
        self.taken.append(Taken(turn.name, from_s, to_s))
