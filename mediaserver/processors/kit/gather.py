"""Digits that the caller presses, gathered behind a prompt."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any, Literal

from mediaserver.errors import CallEndedError
from mediaserver.processors.api import AudioSource, Call, Event, PlayEnd, Stop

GatherEnd = Literal["digits", "terminator", "timeout", "ended"]
KEYS = "0123456789*#ABCD"


class Digits(str):
    """The keys that the caller pressed, without the terminator; a ``str``.

    Attributes:
        reason: why no more keys were taken. ``digits``: there are as many as were wanted.
            ``terminator``: a key that ends the digits was pressed. ``timeout``: no further key
            came in time. ``ended``: the call is over.
    """

    __slots__ = ("reason",)
    reason: GatherEnd

    def __new__(cls, pressed: str, reason: GatherEnd) -> Digits:
        """The digits, and why there are no more."""
        made = super().__new__(cls, pressed)
        made.reason = reason
        return made


async def gather(
    call: Call,
    prompt: AudioSource | None = None,
    rate: int | None = None,
    *,
    digits: int | None = None,
    terminator: str = "#",
    timeout_s: float = 5.0,
    between_s: float = 3.0,
    barge_in: bool = True,
    fresh: bool = False,
) -> Digits:
    """Play a prompt, and wait for digits; those pressed before the prompt count as well.

    Args:
        call: the caller's.
        prompt: what ``call.play`` takes; None: nothing is played.
        rate: of an array or raw bytes, in Hz.
        digits: how many are wanted; None: until the terminator, or until it takes too long.
        terminator: keys, any of which ends the digits; empty: there is no such key.
        timeout_s: longest time from the end of the prompt to the first key.
        between_s: longest time from one key to the next.
        barge_in: a key clears what is playing; if a key was pressed before, the prompt is not
            played. Otherwise the prompt is heard to its end.
        fresh: discard the keys that were pressed before.

    Raises:
        CallEndedError: the call was already over, and the keys pressed before were not enough.
        ValueError: a number of digits, a time or a terminator is not valid.
    """
    wanted = _Wanted(call.pressed, digits, terminator, timeout_s, between_s)
    if fresh:
        call.pressed.clear()
    reason = await _gather(call, wanted, prompt, rate, barge_in=barge_in)
    return Digits(wanted.pressed, reason)


class _Wanted:
    """Which digits are wanted, and those there are."""

    def __init__(
        self,
        queue: deque[str],
        n_digits: int | None,
        terminator: str,
        timeout_s: float,
        between_s: float,
    ) -> None:
        if n_digits is not None and n_digits < 1:
            raise ValueError(f"digits is 1 or more, not {n_digits}")
        if not set(terminator) <= set(KEYS):
            raise ValueError(f"a terminator has the keys {KEYS}, not {terminator!r}")
        if not (timeout_s > 0 and between_s > 0):
            raise ValueError("timeout_s and between_s are more than 0")
        self._queue = queue
        self._n_digits = n_digits
        self._terminator = terminator
        self._timeout_s = timeout_s
        self._between_s = between_s
        self.pressed: str = ""

    @property
    def patience_s(self) -> float:
        """How long the next key may take."""
        return self._between_s if self.pressed else self._timeout_s

    def take(self) -> GatherEnd | None:
        """Take the keys that were pressed, as far as they are wanted; why no more are."""
        while self._queue:
            key = self._queue.popleft()
            if key in self._terminator:
                return "terminator"
            self.pressed += key
            if len(self.pressed) == self._n_digits:
                return "digits"
        return None


async def _gather(
    call: Call,
    wanted: _Wanted,
    prompt: AudioSource | None,
    rate: int | None,
    *,
    barge_in: bool,
) -> GatherEnd:
    """Play the prompt if need be, and take the keys; why there are no more."""
    events = call.events()
    reason = wanted.take()
    if reason is not None and (barge_in or prompt is None):
        return reason
    heard: asyncio.Future[PlayEnd] | None = None
    if prompt is not None and not (barge_in and wanted.pressed):
        heard = asyncio.ensure_future((await call.play(prompt, rate)).finished())
    try:
        return await _collect(call, wanted, events, heard, reason, barge_in=barge_in)
    finally:
        if heard is not None:
            heard.cancel()


async def _collect(
    call: Call,
    wanted: _Wanted,
    events: AsyncIterator[Event],
    heard: asyncio.Future[PlayEnd] | None,
    reason: GatherEnd | None,
    *,
    barge_in: bool,
) -> GatherEnd:
    """Wait until there are as many digits as wanted, and for the prompt where it is to be heard."""
    due = monotonic() + wanted.patience_s
    following = asyncio.ensure_future(_next(events))
    try:
        while reason is None or not (heard is None or heard.done()):
            waiting: set[asyncio.Future[Any]] = {following}
            if heard is not None and not heard.done():
                waiting.add(heard)
            is_playing = len(waiting) == 2
            limit_s = None if is_playing else max(due - monotonic(), 0.0)
            done, _ = await asyncio.wait(
                waiting, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                return "timeout"
            n_before = len(wanted.pressed)
            if following in done:
                if following.result() is None:
                    return reason or "ended"
                following = asyncio.ensure_future(_next(events))
                reason = reason or wanted.take()
            if len(wanted.pressed) > n_before or heard in done:
                due = monotonic() + wanted.patience_s
            if is_playing and barge_in and (reason or wanted.pressed):
                await call.clear()
                heard = None
        return reason
    finally:
        following.cancel()


async def _next(events: AsyncIterator[Event]) -> Event | None:
    """The next event; None if the call ends.

    Raises:
        CallEndedError: it had ended before.
    """
    async for event in events:
        return None if isinstance(event, Stop) else event
    raise CallEndedError("the call has ended")
