"""What a server's observer was told, whether the calls are here or in workers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import pytest

from mediaserver.app.relations import Relations
from mediaserver.observer import CallSummary, ReportedEvent, StreamRequest


class Followed:
    """Reports by call, in the order in which they came.

    Attributes:
        requests: what a restart would ask for; one entry for each socket of the call.
        lost: how often the call lost its socket.
        summaries: one entry for each end.
    """

    def __init__(self) -> None:
        self.requests: dict[str, list[StreamRequest]] = defaultdict(list)
        self.lost: dict[str, int] = defaultdict(int)
        self.summaries: dict[str, list[CallSummary]] = defaultdict(list)

    def summary(self, call_id: str) -> CallSummary:
        """The one summary of a call."""
        (summary,) = self.summaries[call_id]
        return summary


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch) -> Followed:
    """Listens to every server that the test starts; what it tells others stays as it is."""
    noted = Followed()

    class Recorder(Relations):
        def opened(
            self, call_id: str, request: StreamRequest, webhook: Callable[[ReportedEvent], None]
        ) -> None:
            noted.requests[call_id].append(request)
            super().opened(call_id, request, webhook)

        def lost(self, call_id: str) -> None:
            noted.lost[call_id] += 1
            super().lost(call_id)

        def closed(self, summary: CallSummary) -> None:
            noted.summaries[summary.call_id].append(summary)
            super().closed(summary)

    monkeypatch.setattr("mediaserver.app.server.Relations", Recorder)
    return noted
