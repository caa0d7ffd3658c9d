"""Typed events of one call, to everybody who asked for them."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable

from mediaserver.processors.api import Dtmf, Event
from mediaserver.server.calls.audio.queue import DropOldest

# What a subscriber may be behind; the oldest goes.
EVENTS_LIMIT = 1000
PRESSED_LIMIT = 100


class EventHub:
    """Publishes events; those of the time before the handlers ran are kept for them."""

    def __init__(self) -> None:
        self._pressed: deque[str] | None = None  # most calls have none
        # Events that nobody reads any more go with the last reference to them.
        self._subscribers: list[weakref.ref[DropOldest[Event]]] = []
        self._followers: tuple[Callable[[Event], object], ...] = ()
        self._early: list[Event] | None = []
        self._closed = False
        self._dropped = 0

    @property
    def pressed(self) -> deque[str]:
        """See ``Call.pressed``."""
        if self._pressed is None:
            self._pressed = deque(maxlen=PRESSED_LIMIT)
        return self._pressed

    @property
    def dropped(self) -> int:
        """Events that subscribers were too slow for."""
        return self._dropped

    @property
    def queued(self) -> int:
        """Events that wait for the slowest subscriber."""
        return max((queue.n_waiting for queue in self._living()), default=0)

    def subscribe(self) -> DropOldest[Event]:
        """Events from now on, until ``close``."""
        queue: DropOldest[Event] = DropOldest(EVENTS_LIMIT)
        for event in self._early or ():
            queue.push(event)
        if self._closed:
            queue.close()
        else:
            self._subscribers = [ref for ref in self._subscribers if ref() is not None]
            self._subscribers.append(weakref.ref(queue))
        return queue

    def follow(self, follower: Callable[[Event], object]) -> None:
        """Have each event told to whoever looks at the call from outside."""
        self._followers = (*self._followers, follower)

    def follow_no_more(self, follower: Callable[[Event], object]) -> None:
        """Tell it nothing any more."""
        self._followers = tuple(each for each in self._followers if each != follower)

    def publish(self, event: Event) -> None:
        """Give ``event`` to every subscriber."""
        if isinstance(event, Dtmf):
            self.pressed.append(event.digit)
        for follower in self._followers:
            follower(event)
        if self._early is not None:
            self._early.append(event)
        for queue in self._living():
            n_dropped = queue.dropped
            queue.push(event)
            self._dropped += queue.dropped - n_dropped

    def started(self) -> None:
        """Every handler has run until its first wait: who wants events has subscribed."""
        self._early = None

    def close(self) -> None:
        """No more events come."""
        self._closed = True
        for queue in self._living():
            queue.close()
        self._subscribers = []

    def _living(self) -> list[DropOldest[Event]]:
        return [queue for ref in self._subscribers if (queue := ref()) is not None]
