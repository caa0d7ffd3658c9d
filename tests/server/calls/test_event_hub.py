"""Events to whoever reads them, and to nobody who does not any more."""

from __future__ import annotations

import gc

from mediaserver.processors.api import Dtmf, Stop
from mediaserver.server.calls.event_hub import EVENTS_LIMIT, PRESSED_LIMIT, EventHub


async def test_a_reader_that_is_given_up_is_forgotten() -> None:
    """It queues no more; what it was too slow for stays counted."""
    hub = EventHub()
    hub.started()
    kept, given_up = hub.subscribe(), hub.subscribe()
    for n in range(EVENTS_LIMIT + 5):
        hub.publish(Dtmf(str(n)))
    assert (hub.queued, hub.dropped) == (EVENTS_LIMIT, 10)
    del given_up
    gc.collect()
    kept.waiting()
    hub.publish(Dtmf("1"))
    assert (hub.queued, hub.dropped) == (1, 10)
    hub.publish(Stop("stop"))
    hub.close()
    assert [event async for event in kept] == [Dtmf("1"), Stop("stop")]
    assert [event async for event in hub.subscribe()] == []


async def test_keys_are_kept_for_whoever_gathers_them() -> None:
    """The last ones, oldest first, whether or not somebody reads events."""
    hub = EventHub()
    for n in range(PRESSED_LIMIT + 5):
        hub.publish(Dtmf(str(n)))
    assert list(hub.pressed) == [str(n) for n in range(5, PRESSED_LIMIT + 5)]
