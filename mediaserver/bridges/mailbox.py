"""A queue between a service and a handler that reads at its own pace."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")
MAX_WAITING = 1000


class Mailbox(AsyncIterator[ItemT], Generic[ItemT]):
    """An async iterator over what is put in; it ends behind ``close()``.

    Attributes:
        dropped: items that went because ``MAX_WAITING`` newer ones waited.
    """

    def __init__(self) -> None:
        self.dropped: int = 0
        self._waiting: deque[ItemT] = deque()
        self._changed = asyncio.Event()
        self._closed = False

    def put(self, item: ItemT) -> None:
        """Add an item; the oldest goes where too many wait."""
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(item)
        self._changed.set()

    def close(self) -> None:
        """Nothing more comes."""
        self._closed = True
        self._changed.set()

    async def __anext__(self) -> ItemT:
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        return self._waiting.popleft()
