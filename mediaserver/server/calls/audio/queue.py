"""A bounded queue from the media path to one reader; when it is full the oldest is dropped."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class DropOldest(Generic[T]):
    """An async iterator over what ``push`` was given; it ends after ``close``, when it is empty.

    Args:
        limit: how many items may wait; beyond that the oldest are dropped.

    Attributes:
        dropped: how many items were dropped.
    """

    def __init__(self, limit: int) -> None:
        self._items: deque[T] = deque()
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self.dropped: int = 0

    @property
    def n_waiting(self) -> int:
        """How many items wait."""
        return len(self._items)

    def push(self, item: T) -> None:
        """Append ``item``; never waits."""
        if self._closed:
            return
        items = self._items
        if len(items) >= self._limit:
            items.popleft()
            self.dropped += 1
        items.append(item)
        if self._waiter is not None:
            self._wake()

    def waiting(self) -> list[T]:
        """Take all that waits now."""
        items = list(self._items)
        self._items.clear()
        return items

    def close(self) -> None:
        """No more items come."""
        self._closed = True
        self._wake()

    def __aiter__(self) -> DropOldest[T]:
        return self

    async def __anext__(self) -> T:
        while not self._items:
            if self._closed:
                raise StopAsyncIteration
            # There is one reader, so a waiter that a cancelled read left behind can be replaced.
            self._waiter = self._loop.create_future()
            await self._waiter
        return self._items.popleft()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
