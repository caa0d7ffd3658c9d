"""What became of the audio for the caller: heard, cleared, marks given back. No clock in here."""

from __future__ import annotations

from typing import NamedTuple

from mediaserver.carrier.record import Record
from mediaserver.carrier.turns import Heard
from mediaserver.phone.messages import MAX_SHOWN

QUIET_S = 0.3
"""A stretch of speech is over when nothing was heard for so long."""
MAX_NEWS = 50


class Entry(NamedTuple):
    """One line of the ledger.

    Attributes:
        at_s: when, in seconds since the call began; for ``heard``, when it ended.
        what: ``heard``, ``mark``, ``cleared`` (a mark returned without being reached), ``clear``,
            ``key`` or ``error`` (one that Telnyx would have reported).
        text: the mark's name, the key, or what was wrong.
        for_s: how long it was heard; for ``clear``, how much audio was removed.
    """

    at_s: float
    what: str
    text: str = ""
    for_s: float = 0.0


class Ledger:
    """Follows the record of one call.

    **Call ``news`` again and again: each entry comes once.**

    Attributes:
        unheard_s: audio that was cleared before it was heard.
        clears: how often that was asked for.
    """

    def __init__(self, record: Record, heard: Heard) -> None:
        self._record = record
        self._heard = heard
        self._n_marks = self._n_keys = self._n_complaints = self._n_stretches = 0
        self.unheard_s: float = 0.0
        self.clears: int = 0

    def news(self, now: float) -> list[Entry]:
        """Return what came since the last time, in order; of a flood the last entries."""
        entries = [*self._stretches(now), *self._marks(), *self._clears()]
        record = self._record
        entries += [Entry(now, "key", key) for key in record.dtmf[self._n_keys :]]
        self._n_keys = len(record.dtmf)
        new = record.complaints[self._n_complaints :]
        self._n_complaints += len(new)
        entries += [
            Entry(now, "error", f"{code}: {detail}"[:MAX_SHOWN]) for code, detail in new[-MAX_NEWS:]
        ]
        return sorted(entries, key=lambda entry: entry.at_s)[-MAX_NEWS:]

    def _stretches(self, now: float) -> list[Entry]:
        new = [
            Entry(to_s, "heard", for_s=to_s - from_s)
            for from_s, to_s in self._heard.stretches[self._n_stretches :]
            if to_s + QUIET_S <= now
        ]
        self._n_stretches += len(new)
        return new

    def _marks(self) -> list[Entry]:
        new = self._record.marks[self._n_marks :]
        self._n_marks += len(new)
        return [
            Entry(at_s, "cleared" if cleared else "mark", name[:MAX_SHOWN])
            for at_s, name, cleared in new[-MAX_NEWS:]
        ]

    def _clears(self) -> list[Entry]:
        ear = self._record.intake.ear
        new = ear.cuts[self.clears :]
        self.clears += len(new)
        self.unheard_s += sum(cut.n_samples for cut in new) / ear.rate_hz
        return [
            Entry(cut.at_s, "clear", for_s=cut.n_samples / ear.rate_hz) for cut in new[-MAX_NEWS:]
        ]
