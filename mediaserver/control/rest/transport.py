"""One try of a command: an HTTP request that is never cancelled half-way.

If an httpx call is cancelled at the wrong moment, its pool loses a connection for good. So every
request runs in a task of its own, which is not cancelled before the client is closed. Code that is
cancelled, or has no time left, just stops waiting for the task.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

from mediaserver.control.errors import NetworkError

MAX_REPLY_BYTES = 1 << 20
_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


class TryTimeoutError(NetworkError):
    """This try took too long; the command may have time for another."""


@dataclass(frozen=True)
class Reply:
    """What came back: status, headers by lower-case name, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass
class _Try:
    """State shared between the request's task and whoever waits for it."""

    method: str
    path: str
    content: bytes = field(repr=False)
    limit_s: float
    is_abandoned: bool = False
    may_be_sent: bool = False


class Transport:
    """Sends requests over a connection pool, which loses no connection if its users are cancelled.

    Args:
        http: the pool; closed with the transport.
        max_at_once: how many requests may run at once. Others wait; if meanwhile nobody waits for
            one any more, it is not sent.
    """

    def __init__(self, http: httpx.AsyncClient, *, max_at_once: int) -> None:
        self._http = http
        self._slots = asyncio.Semaphore(max_at_once)
        self._running: set[asyncio.Task[Reply]] = set()
        self._is_closed = False

    async def send(self, method: str, path: str, content: bytes, limit_s: float) -> Reply:
        """Send one request and give its reply, of whatever status.

        Raises:
            NetworkError: no reply.
            TryTimeoutError: none within ``limit_s`` seconds.
        """
        if self._is_closed:
            raise NetworkError("the client is closed", sent=False)
        attempt = _Try(method, path, content, limit_s)
        task = asyncio.create_task(self._run(attempt))
        self._running.add(task)
        task.add_done_callback(self._forget)
        try:
            await asyncio.wait({task}, timeout=limit_s)
        finally:
            attempt.is_abandoned = True
        if not task.done():
            raise TryTimeoutError(f"none within {limit_s:.3g} s", sent=attempt.may_be_sent)
        if task.cancelled():
            raise NetworkError("the client was closed", sent=attempt.may_be_sent)
        return task.result()

    async def aclose(self, grace_s: float = 2.0) -> None:
        """Let requests under way finish for a moment, then close the pool."""
        self._is_closed = True
        if self._running:
            await asyncio.wait(set(self._running), timeout=grace_s)
        for task in self._running:
            task.cancel()  # the pool goes with it, so no slot is missed
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._http.aclose()

    async def _run(self, attempt: _Try) -> Reply:
        async with self._slots:
            if attempt.is_abandoned:
                raise NetworkError("nobody waits for it any more", sent=False)
            attempt.may_be_sent = True
            try:
                return await self._exchange(attempt)
            except httpx.HTTPError as error:
                is_late = isinstance(error, httpx.TimeoutException)
                kind = TryTimeoutError if is_late else NetworkError
                raise kind(_reason(error), sent=not isinstance(error, _NOT_SENT)) from error

    async def _exchange(self, attempt: _Try) -> Reply:
        ends = time.monotonic() + attempt.limit_s
        body = bytearray()
        request = self._http.stream(
            attempt.method,
            attempt.path,
            content=attempt.content,
            headers={"content-type": "application/json"},
            timeout=httpx.Timeout(attempt.limit_s),
        )
        async with request as response:
            async for chunk in response.aiter_bytes():
                body += chunk
                # httpx limits each read, not the whole: a dripping server would hold the slot.
                if len(body) > MAX_REPLY_BYTES or time.monotonic() > ends:
                    raise NetworkError("reply too long or too slow", sent=True)
            return Reply(response.status_code, response.headers, bytes(body))

    def _forget(self, task: asyncio.Task[Reply]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # seen: nobody may be waiting for it any more


def _reason(error: httpx.HTTPError) -> str:
    """One line about a failure; texts of other kinds may quote what was sent."""
    name = type(error).__name__
    return f"{name}: {error}" if isinstance(error, httpx.ConnectError) else name
