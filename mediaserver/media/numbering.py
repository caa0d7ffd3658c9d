"""Whether a track's chunk numbers can be right, by comparing audio with time.

A live track brings one second of audio per second. Some senders do not number their chunks, or
count something else. By such numbers there would be less audio than time (most chunks would be
dropped as duplicates) or more (much would be concealed that was never sent). Rules, for one track:

1. Only a chunk that is not simply the next one is looked at, so right numbers cost nothing.
2. A spell begins with such a chunk, and is judged `SPELL_S` later by the audio and the time in it.
   A silence of `QUIET_S` begins a new spell, because audio after a stall comes faster than time.
3. *Standing still*: chunks were dropped, and by their numbers there is too little audio, even with
   those that the numbers say are missing.
4. *Running ahead*: numbers were missing, though as much audio came as time passed, and more is
   missing than a backlog explains.

A network that repeats each chunk, or loses every other one, causes neither.
"""

from __future__ import annotations

from typing import Literal

Fault = Literal["standing still", "running ahead"]

SPELL_S = 0.6
QUIET_S = 0.2
# Shares of the spell's time: how much audio must be dropped or missing; below what share there is
# too little; between which shares all audio came. Loss or repetition of rightly numbered chunks
# stays far from these.
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
