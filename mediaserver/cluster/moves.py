"""Calls that are to stream elsewhere: when, how often, how many a second. Pure.

Rules of one move, in ``Moves``:

    state    event             next
    -        added             due
    due      taken             under way; due again if no node has the call in time
    either   in use            due after a short wait, because the call still streams
    either   failed            due, after a longer wait each time
    either   it is there, or the phone call is over   gone
    due      too many tries    gone, given up
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

_COMMANDS = uuid.UUID("0f6f52a2-5f0c-5b7e-8f0b-5a4a0c6a9c11")
"""Name space of the command ids of moves."""


def command_id(call: str, epoch: int, step: str = "") -> str:
    """The id of the command that starts the stream of a call for the ``epoch``-th time.

    Whoever gives it, it is the same, so Telnyx carries it out once.
    """
    return str(uuid.uuid5(_COMMANDS, f"{call} {epoch} {step}"))


@dataclass
class Move:
    """A call that is to stream elsewhere.

    Attributes:
        call: its id.
        due_at: when it is tried.
        since: when it was asked for.
        planned: the call is moved although it streams.
        target: the node that was told to take it; empty: none yet.
        n_tries: how often a node was told.
    """

    call: str
    due_at: float
    since: float
    planned: bool = False
    target: str = ""
    n_tries: int = 0


@dataclass
class Moves:
    """The moves. **Call ``add``; then go through ``due``, and call ``take`` for what is done.**

    Args:
        per_s: moves begun in a second, at most.
        burst: moves begun at once, at most.
        look_s: time after which a call that still streams is tried again.
        within_s: time after which a move is tried again if the call has not arrived.
        max_tries: tries after which a move is given up.
    """

    per_s: float = 50.0
    burst: float = 50.0
    look_s: float = 0.4
    within_s: float = 3.0
    max_tries: int = 40
    _moves: dict[str, Move] = field(init=False, default_factory=dict)
    _tokens: float = field(init=False, default=0.0)
    _filled_at: float = field(init=False, default=float("-inf"))

    def __len__(self) -> int:
        return len(self._moves)

    def __iter__(self) -> Iterator[Move]:
        return iter(list(self._moves.values()))

    def get(self, call: str) -> Move | None:
        """The move of a call, if there is one."""
        return self._moves.get(call)

    def add(self, call: str, now: float, *, in_s: float = 0.0, planned: bool = False) -> None:
        """Have a call moved, in so long; one that is being moved already is only made due."""
        due_at = now + in_s
        move = self._moves.get(call)
        if move is None:
            self._moves[call] = Move(call, due_at, now, planned)
        elif not move.target:
            move.due_at = min(move.due_at, due_at)

    def done(self, call: str) -> None:
        """The call streams where it should, or is over."""
        self._moves.pop(call, None)

    def due(self, now: float) -> Iterator[Move]:
        """What may be done now, as far as the rate lets it; the longest due first."""
        elapsed_s = now - self._filled_at
        self._tokens = min(self.burst, self._tokens + elapsed_s * self.per_s)
        self._filled_at = now
        waiting = sorted(self._moves.values(), key=lambda move: move.due_at)
        for move in waiting:
            if move.due_at > now or self._tokens < 1:
                return
            yield move

    def take(self, move: Move, target: str, now: float) -> None:
        """A node is told to take the call."""
        self._tokens -= 1
        move.target = target
        move.n_tries += 1
        move.due_at = now + self.within_s

    def put_off(self, move: Move, now: float, for_s: float | None = None) -> None:
        """Nothing can be done about it now."""
        move.due_at = now + (self.look_s if for_s is None else for_s)

    def tried(self, call: str, outcome: str, now: float) -> None:
        """What the node that was told says; see ``Tried``."""
        move = self._moves.get(call)
        if move is None:
            return
        if outcome == "over":
            self.done(call)
        elif outcome == "in_use":
            move.due_at, move.target = now + self.look_s, ""
        elif outcome == "failed":
            move.due_at, move.target = now + min(5.0, self.look_s * move.n_tries), ""
        if move.n_tries >= self.max_tries:
            self.done(call)

    def target_gone(self, node: str, now: float) -> None:
        """A node that was told to take calls is gone: they are due now."""
        for move in self._moves.values():
            if move.target == node:
                move.due_at, move.target = now, ""
