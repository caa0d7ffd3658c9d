"""Log lines about what comes from outside: few of each kind.

What a stranger can cause as often as they like (a refused socket, a wrong parameter) is logged
through a ``LimitedLog``. Text that came from outside goes through ``shown`` first.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Iterator
from time import monotonic
from typing import Any

MAX_SHOWN = 128
"""Characters that are shown of one text; Telnyx' own ids are shorter."""
BURST = 10
PERIOD_S = 10.0


def shown(text: object, most: int = MAX_SHOWN) -> str:
    """``text`` on one line: what does not print is escaped, what is too long is cut.

    Whoever logs, prints or labels something that came from outside (ids, header values,
    parameters, error texts) shows it by this. Plain ids come out as they are.

    Args:
        text: a text, or what ``str`` makes one of.
        most: how many characters of it.
    """
    given = text if isinstance(text, str) else str(text)
    if len(given) <= most and given.isprintable():
        return given
    kept = given[:most]
    escaped = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in kept)
    # Escapes are longer than what they stand for.
    cut = len(given) > len(kept) or len(escaped) > most
    return f"{escaped[:most]}… ({len(given)} characters)" if cut else escaped


class LineLimit:
    """How many lines of each kind may be written: the first few of each period.

    **Call ``over`` and then ``take`` before each line; and ``over`` again at ``next_at``.**

    Args:
        burst: lines of a kind in a period, ``BURST`` if None; what is more is counted.
        period_s: its length, from the first line of a kind on.
    """

    def __init__(self, burst: int | None = None, period_s: float = PERIOD_S) -> None:
        self._burst = BURST if burst is None else burst
        self._period_s = period_s
        # By kind: when its period ends, and how many lines came. Kinds are words of the
        # program's own, so there are few.
        self._kinds: dict[str, tuple[float, int]] = {}

    @property
    def next_at(self) -> float | None:
        """When ``over`` next has something to tell."""
        return min((end for end, n in self._kinds.values() if n > self._burst), default=None)

    def take(self, kind: str, now: float) -> bool:
        """Whether one more line of this kind may be written; else it is counted."""
        end, n = self._kinds.get(kind, (now + self._period_s, 0))
        self._kinds[kind] = end, n + 1
        return n < self._burst

    def over(self, now: float) -> Iterator[tuple[str, int]]:
        """Kinds whose period is over, with the number of lines that were left out; each once."""
        for kind, (end, n) in list(self._kinds.items()):
            if now >= end:
                del self._kinds[kind]
                if n > self._burst:
                    yield kind, n - self._burst


_ALL: weakref.WeakSet[LimitedLog] = weakref.WeakSet()


class LimitedLog:
    """A logger that writes few lines of a kind, and then how many more there were.

    Args:
        logger: where they go.
        limit: how many are few.
    """

    def __init__(self, logger: logging.Logger, limit: LineLimit | None = None) -> None:
        self._logger = logger
        self._limit = limit or LineLimit()
        self._levels: dict[str, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = 0.0
        _ALL.add(self)

    def warning(self, kind: str, text: str, *args: object) -> None:
        """A warning of this kind.

        Args:
            kind: what the line is about, in the plural: "streams refused". Never from outside.
            text: for ``args``, as for any logger.
        """
        self.log(logging.WARNING, kind, text, *args)

    def error(self, kind: str, text: str, *args: object, exc_info: Any = None) -> None:
        """An error of this kind."""
        self.log(logging.ERROR, kind, text, *args, exc_info=exc_info)

    def log(self, level: int, kind: str, text: str, *args: object, exc_info: Any = None) -> None:
        """A line of this kind, of any level."""
        now = monotonic()
        self._tell(now)
        self._levels[kind] = level
        if self._limit.take(kind, now):
            self._logger.log(level, text, *args, exc_info=exc_info)
        else:
            self._wake(now)

    def forget(self) -> None:
        """Begin anew, with nothing written."""
        self._limit = LineLimit()
        self._wakes_at = 0.0
        if self._timer is not None:
            self._timer.cancel()

    def _tell(self, now: float) -> None:
        for kind, n in self._limit.over(now):
            self._logger.log(self._levels[kind], "%s: and %d more", kind, n)

    def _wake(self, now: float) -> None:
        """Tell of what was left out when its period is over, though nothing more may come."""
        at = self._limit.next_at
        if at is None or now < self._wakes_at:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # of a thread: the next line tells
            return
        self._wakes_at = at
        self._timer = loop.call_later(at - now, self._woken)

    def _woken(self) -> None:
        now = max(monotonic(), self._wakes_at)
        self._tell(now)
        self._wakes_at = 0.0
        self._wake(now)


def forget_all() -> None:
    """Let every ``LimitedLog`` begin anew; for tests, which share a process."""
    for log in _ALL:
        log.forget()


def address(peername: object) -> str:
    """A peer's address, from what a transport says of it: ``192.0.2.7:5060``."""
    match peername:
        case (str(host), int(port), *_):
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return "an unknown address"
