"""An incoming call that is reported twice is answered once."""

from __future__ import annotations

import asyncio

from mediaserver.control.events import CallInitiated
from tests.control.test_end_to_end import world
from tests.server.workers.crews import soon


async def test_two_events_of_one_call() -> None:
    """With different event ids: the commands bear the same ids, and one stream comes."""
    async with world() as w:
        call = w.fake.ring(from_="+1", to="+2")
        await w.until_event("streaming.started")
        first = next(event for event in w.events if event.event_type == "call.initiated")
        assert isinstance(first, CallInitiated)
        again = CallInitiated(
            id="another id",
            event_type="call.initiated",
            call_control_id=call.call_control_id,
            direction="incoming",
        )
        assert w.server.webhooks is not None
        before = len(w.fake.commanded)
        w.server.webhooks.dispatch(again)
        await soon(lambda: len(w.fake.commanded) >= before + 2)
        await asyncio.sleep(0.2)
        ids = {
            name: {c.body["command_id"] for c in w.fake.commanded if c.command == name}
            for name in ("answer", "streaming_start")
        }
        assert all(len(each) == 1 for each in ids.values())
        assert ids["answer"] != ids["streaming_start"]
        assert sum(event.event_type == "streaming.started" for event in w.events) == 1
