"""Webhooks that arrive at one node and belong to another: forwarded once, or kept here."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

import msgspec

from mediaserver.cluster.link import LinkError
from mediaserver.cluster.messages import Forward
from mediaserver.control import WebhookReceiver
from mediaserver.control.events import Event
from mediaserver.logs import LimitedLog, shown

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

# So long whoever has the call is looked for; then the event is handled here.
WITHIN_S = 8.0
# So long it is waited until a call that is being moved has arrived.
MOVED_WITHIN_S = 60.0
# Where no agent is there, nobody can be asked.
ALONE_WITHIN_S = 1.0
AGAIN_S = 0.1

HERE, THERE, ON_ITS_WAY = b"here", b"there", b"on its way"


class Forwarder:
    """Takes events of calls that are not here, and gives each to the node that has the call.

    Events of one call stay in their order. One whose call nobody has is dispatched here.

    Args:
        webhooks: what Telnyx reports here.
        is_here: whether a call is held here.
        ask: asks the agent; raises LinkError.
        seen: told of each event once, wherever its call is.
    """

    def __init__(
        self,
        webhooks: WebhookReceiver,
        is_here: Callable[[str], bool],
        ask: Callable[[bytes], Awaitable[bytes]],
        seen: Callable[[Event], None],
    ) -> None:
        self._webhooks = webhooks
        self._is_here = is_here
        self._ask = ask
        self._seen = seen
        self._own: set[str] = set()
        self._waiting: dict[str, deque[tuple[Event, float]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        webhooks.forward_to(self._takes)

    def close(self) -> None:
        """Forward no more."""
        for task in self._tasks:
            task.cancel()

    def receive(self, event: Event) -> None:
        """Another node has verified this; duplicates are dropped here."""
        if self._webhooks.receive_forwarded(event):
            self._dispatch(event)

    def _takes(self, event: Event) -> bool:
        """Whether the event goes elsewhere, or may."""
        if event.id in self._own:
            return False
        self._seen(event)
        call = event.call_control_id
        if call is None or event.event_type == "call.initiated":
            return False
        if self._is_here(call) and call not in self._waiting:
            return False
        arrived = event, asyncio.get_running_loop().time()
        if call in self._waiting:
            self._waiting[call].append(arrived)
            return True
        self._waiting[call] = deque([arrived])
        task = asyncio.create_task(self._forward_all(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _forward_all(self, call: str) -> None:
        waiting = self._waiting[call]
        try:
            while waiting:
                went = await self._went(call, *waiting[0])
                event, _ = waiting.popleft()
                if not went:
                    self._dispatch(event)
        finally:
            del self._waiting[call]

    async def _went(self, call: str, event: Event, arrived_at: float) -> bool:
        """Whether another node has taken the event."""
        try:
            encoded = msgspec.json.encode(event)
        except (RecursionError, ValueError):  # a payload nested too deep
            return False
        body = msgspec.msgpack.encode(Forward(call, event.event_type, encoded))
        loop = asyncio.get_running_loop()
        limit_s = ALONE_WITHIN_S
        while not self._is_here(call):
            try:
                answer = await self._ask(body)
                if answer != ON_ITS_WAY:
                    return answer == THERE
                why, limit_s = "the call is still being moved", MOVED_WITHIN_S
            except LinkError as exc:
                why = str(exc)
                if why != "no agent":
                    limit_s = max(limit_s, WITHIN_S)
            if loop.time() - arrived_at > limit_s:
                text = "a webhook of call %s stays here: %s"
                limited.warning("webhooks not forwarded", text, shown(call), why, call=call)
                return False
            await asyncio.sleep(AGAIN_S)
        return False

    def _dispatch(self, event: Event) -> None:
        self._own.add(event.id)
        try:
            self._webhooks.dispatch(event)
        finally:
            self._own.discard(event.id)
