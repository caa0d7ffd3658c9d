"""Follows calls, and makes the record of each that has ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from time import monotonic

import msgspec

from mediaserver.history.records import CallRecord, HangUp, WebhookSeen, record_of
from mediaserver.logs import MASKED, Numbers
from mediaserver.observer import CallSummary, StreamRequest

# So long behind a call's last news a webhook still completes its record; and so long one may
# come before the call's media, which is as long as it may ring.
KEEP_S = 900.0
MOST_CALLS = 20_000
MOST_WEBHOOKS = 100
MOST_CHARACTERS = 128


class _Known:
    """What is known of one call.

    Attributes:
        touched_at: monotonic seconds of the last news.
        opened_at: unix seconds of its first socket; None: the call is not live.
        request: the options with which its stream was requested.
        record: the record of its last stream that has ended.
    """

    def __init__(self) -> None:
        self.touched_at = monotonic()
        self.opened_at: float | None = None
        self.request: StreamRequest | None = None
        self.webhooks: list[WebhookSeen] = []
        self.hang_up: HangUp | None = None
        self.record: CallRecord | None = None


class CallRecorder:
    """Makes a record of each call that ends, and adds what Telnyx reports later.

    Args:
        put: stores a record; it replaces an earlier one with the same key.
        numbers: how telephone numbers are kept.
    """

    def __init__(self, put: Callable[[CallRecord], None], numbers: Numbers = MASKED) -> None:
        self._put = put
        self._numbers = numbers
        self._known: dict[str, _Known] = {}

    def opened(self, call_id: str, request: StreamRequest) -> None:
        """A call has its socket, for the first time or again."""
        known = self._touch(call_id)
        known.opened_at = known.opened_at or time.time()
        known.request = request

    def closed(self, summary: CallSummary) -> None:
        """A call's media is over."""
        known = self._touch(summary.call_id)
        if not summary.started_at:  # lost with its worker, which knew it
            summary = _guessed(summary, known)
        known.opened_at = None
        ended_at = summary.started_at + summary.duration_s or time.time()
        self._record(known, record_of(summary.hidden(self._numbers), ended_at))

    def reported(self, call_id: str, event_type: str, hang_up: HangUp | None = None) -> None:
        """Telnyx reports about a call; ``hang_up``: what its ``call.hangup`` says."""
        known = self._touch(call_id)
        if len(known.webhooks) < MOST_WEBHOOKS:
            known.webhooks.append(WebhookSeen(event_type[:MOST_CHARACTERS], time.time()))
        known.hang_up = hang_up or known.hang_up
        if known.record is not None and known.opened_at is None:
            self._record(known, known.record)

    def _record(self, known: _Known, record: CallRecord) -> None:
        known.record = msgspec.structs.replace(
            record, webhooks=tuple(known.webhooks), hang_up=known.hang_up
        )
        self._put(known.record)

    def _touch(self, call_id: str) -> _Known:
        """What is known of a call, as the newest; what is too old is forgotten."""
        known = self._known.pop(call_id, None) or _Known()
        known.touched_at = monotonic()
        self._known[call_id] = known
        for oldest in list(self._known)[:2]:
            other = self._known[oldest]
            is_old = monotonic() - other.touched_at > KEEP_S or len(self._known) > MOST_CALLS
            if is_old and other is not known:
                del self._known[oldest]
                if other.opened_at is not None:  # it lives: behind the others
                    self._known[oldest] = other
        return known


def _guessed(summary: CallSummary, known: _Known) -> CallSummary:
    """With what this process knows of a call whose process has gone."""
    request, began_at = known.request, known.opened_at
    if began_at is not None:
        summary = msgspec.structs.replace(
            summary, started_at=began_at, duration_s=time.time() - began_at
        )
    if request is not None:
        summary = msgspec.structs.replace(
            summary,
            send_codec=request.send_codec,
            send_rate_hz=request.send_rate,
            send_mode=request.send_mode,
        )
    return summary
