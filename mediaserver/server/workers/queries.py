"""Questions to all workers at once, each of which is answered or given up."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from typing import Any

from mediaserver.server.workers.messages import Query, QueryAnswer
from mediaserver.server.workers.process import WorkerProcess

# One that has not answered by then hangs, or is too busy to be waited for.
ANSWER_WITHIN_S = 1.0


class Queries:
    """Asks workers what they know.

    Args:
        count: counts the answers that did not come.
    """

    def __init__(self, count: Callable[[str], None]) -> None:
        self.count = count
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[bytes]] = {}

    async def ask(
        self,
        workers: Iterable[WorkerProcess],
        what: str,
        argument: str = "",
        only: int | None = None,
    ) -> list[tuple[int, bytes]]:
        """What these workers know by this word, with their index, in its order.

        One that does not answer within ``ANSWER_WITHIN_S`` is left out, and counted. ``only``:
        ask the one of this index.
        """
        ready = (w for w in workers if w.is_ready and only in (None, w.index))
        asked = sorted(ready, key=lambda worker: worker.index)
        answers = await asyncio.gather(*(self._ask(worker, what, argument) for worker in asked))
        pairs = zip(asked, answers, strict=True)
        return [(worker.index, body) for worker, body in pairs if body is not None]

    def answered(self, answer: QueryAnswer) -> None:
        """From a worker."""
        waiting = self._waiting.get(answer.number)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer.body)

    async def _ask(self, worker: WorkerProcess, what: str, argument: str) -> bytes | None:
        number = next(self._numbers)
        waiting: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        gone = asyncio.ensure_future(worker.gone.wait())
        try:
            if not worker.channel.is_full:
                worker.channel.send(Query(number, what, argument))
                either: set[asyncio.Future[Any]] = {waiting, gone}
                await asyncio.wait(
                    either,
                    timeout=ANSWER_WITHIN_S,
                    return_when=asyncio.FIRST_COMPLETED,
                )
            if waiting.done():
                return waiting.result()
            self.count("unanswered_queries")
            return None
        finally:
            gone.cancel()
            waiting.cancel()
            del self._waiting[number]
