"""Which worker has which call.

A call stays with its worker while it is live there, or while one of its sockets is being handed
over to it. So a second socket of the call comes to the same session. The entry of one call:

    event                       entry
    a socket is handed over     made, or kept; one more socket pending
    the hand-over is done       one socket less pending
    the call has opened         live
    the call is over            not live
    its worker is gone          not live; pending sockets go to another worker

An entry that is not live and has no pending socket is removed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from mediaserver.observer import ReportedEvent
from mediaserver.server.workers.process import WorkerProcess


class PlacedCall:
    """A call, and the worker that has it.

    Attributes:
        call_id: its id.
        worker: who has it.
        n_pending: how many of its sockets are being handed over to the worker.
        is_live: the worker has reported that it opened, and not that it is over.
        is_lost: it has lost its socket, and has no new one yet.
    """

    def __init__(self, call_id: str, worker: WorkerProcess, count: Callable[[str], None]) -> None:
        self.call_id = call_id
        self.worker = worker
        self.n_pending = 0
        self.is_live = False
        self.is_lost = False
        self.count = count

    def webhook_received(self, event: ReportedEvent) -> None:
        """Telnyx reports about this call: tell its worker."""
        if not self.worker.tell(self.call_id, event):
            self.count("webhook_not_told")


class Directory:
    """All calls of the workers.

    Args:
        count: called with the name of a counter to add one to.
        gone: called with the id of a call whose entry was removed.
    """

    def __init__(self, count: Callable[[str], None], gone: Callable[[str], None]) -> None:
        self.count = count
        self._gone = gone
        self._calls: dict[str, PlacedCall] = {}
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        """Calls that have a place."""
        return len(self._calls)

    def __contains__(self, call_id: str) -> bool:
        return call_id in self._calls

    @property
    def n_live(self) -> int:
        """Calls that are open."""
        return sum(call.is_live for call in self._calls.values())

    @property
    def n_lost(self) -> int:
        """Of these, the ones without a socket."""
        return sum(call.is_lost for call in self._calls.values())

    def live(self) -> list[str]:
        """The ids of calls that are open."""
        return [call.call_id for call in self._calls.values() if call.is_live]

    async def emptied(self) -> None:
        """Wait until no call is left."""
        await self._idle.wait()

    def worker_of(self, call_id: str) -> WorkerProcess | None:
        """Who has the call; None if nobody has."""
        call = self._calls.get(call_id)
        return None if call is None else call.worker

    def handed_over(self, call_id: str, worker: WorkerProcess) -> None:
        """A socket of the call is on its way to its worker."""
        call = self._calls.get(call_id)
        if call is None:
            call = self._calls[call_id] = PlacedCall(call_id, worker, self.count)
            self._idle.clear()
        elif call.worker.gone.is_set():
            self.moved(call_id, worker)
        call.n_pending += 1

    def landed(self, call_id: str) -> None:
        """The worker has dealt with the socket; its call is open, or was refused."""
        self._calls[call_id].n_pending -= 1
        self.forget(call_id)

    def opened(self, call_id: str) -> PlacedCall:
        """The call has a socket, for the first time or again."""
        call = self._calls[call_id]
        call.is_live, call.is_lost = True, False
        return call

    def lost(self, call_id: str) -> None:
        """The call has lost its socket."""
        self._calls[call_id].is_lost = True

    def closed(self, call_id: str) -> None:
        """The call is over."""
        call = self._calls[call_id]
        call.is_live = call.is_lost = False
        self.forget(call_id)

    def may_move(self, call_id: str, n: int) -> bool:
        """Whether nothing of the call is where its worker is, but ``n`` sockets on their way."""
        call = self._calls[call_id]
        return not call.is_live and call.n_pending == n

    def moved(self, call_id: str, worker: WorkerProcess) -> None:
        """What is on its way goes to another worker."""
        call = self._calls[call_id]
        call.worker.call_over(call_id)
        call.worker = worker

    def worker_gone(self, worker: WorkerProcess, on_their_way: Counter[str]) -> list[str]:
        """The ids of the live calls that went with a worker.

        Its entries go, but for those with sockets on their way to it: so many by call.
        """
        lost = []
        for call in [call for call in self._calls.values() if call.worker is worker]:
            was_live = call.is_live
            call.is_live = call.is_lost = False
            call.n_pending = on_their_way[call.call_id]
            if not call.n_pending:
                self.forget(call.call_id)
            if was_live:
                lost.append(call.call_id)
        return lost

    def forget(self, call_id: str) -> None:
        """Take a call out, if nothing is left of it; one that is not there is over, too."""
        call = self._calls.get(call_id)
        if call is not None:
            if call.is_live or call.n_pending:
                return
            del self._calls[call_id]
            call.worker.call_over(call_id)
        self._gone(call_id)
        if not self._calls:
            self._idle.set()
