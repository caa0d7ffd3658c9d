"""Records for tests."""

from __future__ import annotations

from typing import Any

from mediaserver.history.records import CallRecord, record_of
from mediaserver.observer import CallSummary


def summary(call_id: str, began_at: float = 1000.0, **figures: Any) -> CallSummary:
    given = {"reason": "stop", "codec": "PCMU", "duration_s": 10.0, "frames_in": 500}
    return CallSummary(
        call_id=call_id,
        started_at=began_at,
        **{"peak_dbfs": -10.0, **given, **figures},
    )


def record(call_id: str, ended_at: float = 1010.0, **figures: Any) -> CallRecord:
    return record_of(summary(call_id, ended_at - 10.0, **figures), ended_at)
