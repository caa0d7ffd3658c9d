"""Faults on demand in the fake Telnyx's REST side, and its rate limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass
class RestFault:
    """One kind of fault, for a number of requests.

    Attributes:
        kind: ``status``: answered with ``status`` at once, nothing is done; ``slow``: done
            after ``delay_s``; ``cut``: the connection ends, nothing is done; ``cut_after``:
            the connection ends, but the command was carried out.
        command: which command it hits; None: any.
        times: how many more requests.
        status: for ``status``.
        code: Telnyx's error code for it.
        headers: added to the answer, such as ``retry-after``.
        delay_s: for ``slow``.
    """

    kind: Literal["status", "slow", "cut", "cut_after"]
    command: str | None = None
    times: int = 1
    status: int = 503
    code: str = "10007"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0


@dataclass
class RestFaults:
    """The faults that wait for requests."""

    pending: list[RestFault] = field(default_factory=list)

    def add(self, fault: RestFault) -> None:
        """Add a fault behind those that wait."""
        self.pending.append(fault)

    def take(self, command: str) -> RestFault | None:
        """The fault for this request, which then counts one request less."""
        for fault in self.pending:
            if fault.command in (None, command) and fault.times > 0:
                fault.times -= 1
                return fault
        return None


@dataclass
class RateLimit:
    """A number of requests in a window of time; time is an argument, in seconds.

    Attributes:
        limit: requests per window.
        window_s: its length.
    """

    limit: int = 1000
    window_s: float = 1.0
    _began: float = float("-inf")
    _used: int = 0

    def take(self, now: float) -> bool:
        """Whether one more request fits."""
        if now - self._began >= self.window_s:
            self._began, self._used = now, 0
        self._used += 1
        return self._used <= self.limit

    def headers(self, now: float) -> dict[str, str]:
        """The rate-limit headers of an answer."""
        reset_s = max(0.0, self._began + self.window_s - now)
        return {
            "x-ratelimit-limit": str(self.limit),
            "x-ratelimit-remaining": str(max(0, self.limit - self._used)),
            "x-ratelimit-reset": str(max(1, round(reset_s))),
        }
