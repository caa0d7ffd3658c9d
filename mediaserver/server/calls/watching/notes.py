"""What is noted of a call while it lives, beside its audio's figures, for its summary."""

from __future__ import annotations

from collections import Counter

MOST_NAMES = 64
"""Of hints, errors and commands each: what a peer or bot makes up is not kept for ever."""


class Notes:
    """Hints, errors and commands of one call, and who held up whom.

    Attributes:
        hints: in words, by name; the first of each.
        errors: ``error`` messages from Telnyx, by their code.
        commands: given over REST by its processors, by name.
        spoken_s: looks, one a second, at which the caller was heard.
        has_played: at one of them something but silence of ours had been sent.
        held_up_s: seconds for which other calls' processors held up the process.
        held_up_by: which one did for the longest time.
        holds_up_s: seconds for which its own processors did.
    """

    def __init__(self) -> None:
        self.hints: dict[str, str] = {}
        self.errors: Counter[str] = Counter()
        self.commands: Counter[str] = Counter()
        self.spoken_s: float = 0.0
        self.has_played: bool = False
        self.held_up_s: float = 0.0
        self.held_up_by: str = ""
        self.holds_up_s: float = 0.0
        self._longest_s = 0.0

    def hint(self, name: str, text: str) -> None:
        """Something looks wrong."""
        if len(self.hints) < MOST_NAMES:
            self.hints.setdefault(name, text)

    def error(self, code: int | None) -> None:
        """Telnyx refused a message."""
        _count(self.errors, "unknown" if code is None else str(code))

    def command(self, method: str) -> None:
        """A processor commanded the phone call."""
        _count(self.commands, method)

    def looked(self, *, is_heard: bool, has_played: bool) -> None:
        """A second has gone by."""
        self.spoken_s += is_heard
        self.has_played = self.has_played or has_played

    def held_up(self, by: str, seconds: float) -> None:
        """A processor of another call held up the process."""
        self.held_up_s += seconds
        if seconds > self._longest_s:
            self._longest_s, self.held_up_by = seconds, by

    def holds_up(self, seconds: float) -> None:
        """One of its own held up the process."""
        self.holds_up_s += seconds


def _count(counts: Counter[str], name: str) -> None:
    if name in counts or len(counts) < MOST_NAMES:
        counts[name] += 1
