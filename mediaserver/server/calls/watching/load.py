"""How the processors of a call keep up."""

from __future__ import annotations

from typing import NamedTuple


class RunnerLoad(NamedTuple):
    """How processors keep up; see ``CallSummary``."""

    dropped_frames: int = 0
    dropped_events: int = 0
    queued_frames: int = 0
    queued_events: int = 0
    budget_overruns: int = 0
    unsent_s: float = 0.0  # live audio that did not get from a processor host to its call

    def joined(self, other: RunnerLoad) -> RunnerLoad:
        """What both have dropped, and the longer of their queues."""
        return RunnerLoad(
            self.dropped_frames + other.dropped_frames,
            self.dropped_events + other.dropped_events,
            max(self.queued_frames, other.queued_frames),
            max(self.queued_events, other.queued_events),
            self.budget_overruns + other.budget_overruns,
            self.unsent_s + other.unsent_s,
        )
