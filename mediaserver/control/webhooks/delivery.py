"""What a receiver remembers, bounded: events seen, and events whose call is not there yet.

Pure; time is an argument, monotonic seconds.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

import msgspec

from mediaserver.control.events import Event

Callback = Callable[[Event], None]


class SeenIds:
    """Remembers event ids for some time, so that no event is accepted twice.

    An event that was signed no later than a forgotten one counts as seen, too. So a replay is
    refused even if somebody sets the clock by which deliveries are checked for freshness.

    Args:
        keep_s: how long an id is remembered.
        max_ids: how many at most; the oldest are forgotten first.
    """

    def __init__(self, keep_s: float, max_ids: int = 200_000) -> None:
        self._keep_s = keep_s
        self._max_ids = max_ids
        self._seen_at: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._forgotten = float("-inf")

    def __len__(self) -> int:
        return len(self._seen_at)

    def is_new(self, event_id: str, now: float, signed_at: float) -> bool:
        """Whether the id is seen for the first time; from now on it is not.

        ``signed_at``: seconds of the sender's clock.
        """
        while self._seen_at:
            oldest, (at, its_signed_at) = next(iter(self._seen_at.items()))
            if now - at < self._keep_s and len(self._seen_at) < self._max_ids:
                break
            self._forgotten = max(self._forgotten, its_signed_at)
            del self._seen_at[oldest]
        if event_id in self._seen_at or signed_at <= self._forgotten:
            return False
        self._seen_at[event_id] = now, signed_at
        return True


class CallEvents:
    """Brings events to live calls, even if an event comes before its call.

    Events of a call that nobody has attached to are kept. The first one to attach gets them, in
    the order in which they came.

    Args:
        keep_s: how long an event waits for its call.
        max_calls: for how many calls events are kept; the one kept longest is dropped first.
        max_events: how many events are kept per call; the oldest is dropped first.
        max_legs: for how many legs the call is remembered; the oldest is dropped first.
    """

    def __init__(
        self,
        keep_s: float = 60.0,
        max_calls: int = 1024,
        max_events: int = 64,
        max_legs: int = 50_000,
    ) -> None:
        self._max_legs = max_legs
        self._keep_s = keep_s
        self._max_calls = max_calls
        self._max_events = max_events
        self._attached: dict[str, list[Callback]] = {}
        self._waiting: OrderedDict[str, deque[tuple[float, Event]]] = OrderedDict()
        self._call_of_leg: OrderedDict[str, str] = OrderedDict()

    def joined(self, event: Event) -> Event:
        """The event with its call's id, where only the leg is named (``call.recording.saved``).

        Which leg is of which call is learned from the events that name both.
        """
        leg, call = event.call_leg_id, event.call_control_id
        if leg is None:
            return event
        if call is None:
            return msgspec.structs.replace(event, call_control_id=self._call_of_leg.get(leg))
        self._call_of_leg[leg] = call
        self._call_of_leg.move_to_end(leg)
        if len(self._call_of_leg) > self._max_legs:
            self._call_of_leg.popitem(last=False)
        return event

    def callbacks(self, event: Event, now: float) -> list[Callback]:
        """Who is attached to the event's call; if nobody is, the event is kept."""
        call = event.call_control_id
        if call is None:
            return []
        callbacks = self._attached.get(call)
        if callbacks is None:
            self._keep(call, event, now)
            return []
        return list(callbacks)

    def attach(self, call_control_id: str, callback: Callback, now: float) -> list[Event]:
        """Have a callback called with the call's events; gives those that came before."""
        self._attached.setdefault(call_control_id, []).append(callback)
        waiting = self._waiting.pop(call_control_id, ())
        return [event for at, event in waiting if now - at < self._keep_s]

    def detach(self, call_control_id: str, callback: Callback) -> None:
        """End an attachment; one that is not there is no error."""
        callbacks = self._attached.get(call_control_id, [])
        if callback in callbacks:
            callbacks.remove(callback)
        if not callbacks:
            self._attached.pop(call_control_id, None)

    def _keep(self, call: str, event: Event, now: float) -> None:
        while self._waiting:
            oldest, events = next(iter(self._waiting.items()))
            if now - events[-1][0] < self._keep_s and len(self._waiting) < self._max_calls:
                break
            del self._waiting[oldest]
        self._waiting.setdefault(call, deque(maxlen=self._max_events)).append((now, event))
        self._waiting.move_to_end(call)
