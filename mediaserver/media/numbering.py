"""Chunk numbers held against time: whether a track's numbers can be right.

A live track brings a second of audio in a second. Numbers that make less of it (most chunks
would be dropped as seen before) or more (as much would be concealed as came) are none: some
senders number nothing, or count something else. Rules, for one track:

1. Only what is not simply the next chunk is looked at, so right numbers cost nothing.
2. A spell begins with such a chunk and is judged `SPELL_S` later, by what its audio and time
   amount to. A silence of `QUIET_S` begins a new one: what follows a stall comes at no pace.
3. *Standing still*: chunks were dropped, and their numbers make too little audio, even with
   what they say is missing.
4. *Running ahead*: numbers were missing, though there is as much audio as time, and more than
   a backlog explains.

A network that repeats each chunk, or loses every other one, is neither.
"""

from __future__ import annotations

from typing import Literal

Fault = Literal["standing still", "running ahead"]

SPELL_S = 0.6
QUIET_S = 0.2
# Shares of the spell's time: how much must have been dropped, or be missing, and how much
# audio is all that there can be. Far from what any loss or repetition makes of right numbers.
_WRONG = 0.3
_TOO_LITTLE = 0.6
_ALL = (0.8, 1.25)


class NumberWatch:
    """Judges the numbers of one track.

    **Call `seen` for each chunk that is not the next; between, `missed` for each missing one.**

    Attributes:
        fault: what is wrong with the numbers; None while they can be right.
    """

    __slots__ = ("_behind_s", "_came_s", "_dropped_s", "_missed_s", "_seen_at", "_since", "fault")

    def __init__(self) -> None:
        self._since = self._seen_at = float("-inf")
        self._came_s = 0.0
        self._behind_s = 0.0
        self._dropped_s = 0.0
        self._missed_s = 0.0
        self.fault: Fault | None = None

    def seen(self, now: float, came_s: float, behind_s: float, dropped_s: float) -> None:
        """Note a chunk.

        Args:
            now: seconds, monotonic.
            came_s: audio that the track has brought, in all, without what was concealed.
            behind_s: how far the track's place is behind time: a backlog may follow.
            dropped_s: audio dropped with this chunk.
        """
        if now - self._seen_at > QUIET_S:
            self._begin(now, came_s, behind_s)
        self._seen_at = now
        self._dropped_s += dropped_s
        spell_s = now - self._since
        if spell_s >= SPELL_S:
            self._judge(spell_s, came_s - self._came_s)
            self._begin(now, came_s, behind_s)

    def missed(self, missed_s: float) -> None:
        """Note audio that was missing, by the numbers."""
        self._missed_s += missed_s

    def _begin(self, now: float, came_s: float, behind_s: float) -> None:
        self._since = now
        self._behind_s = max(behind_s, 0.0)
        self._came_s = came_s
        self._dropped_s = self._missed_s = 0.0

    def _judge(self, spell_s: float, came_s: float) -> None:
        least, most = (share * spell_s for share in _ALL)
        enough = _WRONG * spell_s
        in_all_s = came_s + self._dropped_s
        numbered_s = came_s + self._missed_s
        if numbered_s < _TOO_LITTLE * spell_s and self._dropped_s >= enough:
            # What was dropped was the track itself, then, and no repetition of it.
            if least <= in_all_s <= most:
                self.fault = "standing still"
        elif numbered_s >= spell_s + self._behind_s + enough and least <= came_s <= most:
            self.fault = "running ahead"
