"""A handler on a call of the fake Telnyx, in this process, with a caller who can speak."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from mediaserver import Call, processor
from mediaserver.app import MediaServer
from mediaserver.bridges import Limits
from mediaserver.carrier import FakeCall
from mediaserver.testing.calls import Caller, called

QUICK = Limits(connect_s=2.0, give_up_s=0.8, answer_s=0.8, first_wait_s=0.05, close_s=0.5)


class OnCall(NamedTuple):
    """A call, and what its handler came to.

    Attributes:
        server: that carries it.
        call: Telnyx's side.
        caller: who speaks in it.
        outcome: what the handler returned, or raised.
    """

    server: MediaServer
    call: FakeCall
    caller: Caller
    outcome: asyncio.Future[object]

    def counted(self, name: str) -> int:
        """A counter of the server."""
        return self.server.service.counters[name]

    async def result(self) -> object:
        """What the handler came to."""
        return await asyncio.wait_for(asyncio.shield(self.outcome), 20)


@asynccontextmanager
async def on_call(handle: Callable[[Call], Awaitable[object]]) -> AsyncIterator[OnCall]:
    """A call whose handler is ``handle``; what that raises is its outcome."""
    outcome: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    @processor
    async def handler(call: Call) -> None:
        try:
            outcome.set_result(await handle(call))
        except Exception as error:
            outcome.set_exception(error)
            outcome.exception()  # a test need not ask for it

    async with called(handler) as caller:
        yield OnCall(caller.server, caller.call, caller, outcome)
        assert caller.server.service.counters["processor_errors"] == 0
