"""Log lines about what comes from outside: few of each kind.

What a stranger can cause as often as they like (a refused socket, a wrong parameter) is logged
through a ``LimitedLog``. Text that came from outside goes through ``shown`` first.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Iterator, Mapping
from time import monotonic
from typing import Any, TypedDict, Unpack

from mediaserver.logs.streams import extra_of
from mediaserver.logs.texts import shown

BURST = 10
PERIOD_S = 10.0


def event_name(kind: str) -> str:
    """The stable name that the lines of a kind have for machines: ``streams_refused``."""
    return kind.lower().replace(" ", "_").replace(".", "_")


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


class About(TypedDict, total=False):
    """What a line may have beside its text.

    Attributes:
        call: the id of the call that it is about, whole.
        fields: what else a machine may want to read of it.
        exc_info: as for any logger.
    """

    call: str | None
    fields: Mapping[str, Any] | None
    exc_info: Any


_ALL: weakref.WeakSet[LimitedLog] = weakref.WeakSet()


class LimitedLog:
    """A logger that writes few lines of a kind, and then how many more there were.

    The kind also gives the line its event name; see ``event_name``.

    Args:
        logger: where they go.
        limit: how many are few.
    """

    def __init__(self, logger: logging.Logger, limit: LineLimit | None = None) -> None:
        self._logger = logger
        self._limit = limit or LineLimit()
        # Of each kind: its level, and the call that its lines are about, if it is one.
        self._last: dict[str, tuple[int, str | None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = 0.0
        _ALL.add(self)

    def info(self, kind: str, text: str, *args: object, **about: Unpack[About]) -> None:
        """A line of this kind that is no trouble."""
        if self._lets(logging.INFO, kind, about):
            self._write(logging.INFO, kind, text, args, about)

    def warning(self, kind: str, text: str, *args: object, **about: Unpack[About]) -> None:
        """A warning of this kind.

        Args:
            kind: what the line is about, in the plural: "streams refused". Never from outside.
            text: for ``args``, as for any logger.
        """
        if self._lets(logging.WARNING, kind, about):
            self._write(logging.WARNING, kind, text, args, about)

    def error(self, kind: str, text: str, *args: object, **about: Unpack[About]) -> None:
        """An error of this kind."""
        if self._lets(logging.ERROR, kind, about):
            self._write(logging.ERROR, kind, text, args, about)

    def log(self, level: int, kind: str, text: str, *args: object, **about: Unpack[About]) -> None:
        """A line of this kind, of any level."""
        if self._lets(level, kind, about):
            self._write(level, kind, text, args, about)

    def each(self, level: int, kind: str, text: str, *args: object, **about: Unpack[About]) -> None:
        """A line that is always written: of the server's own doing, or one a call."""
        self._write(level, kind, text, args, about)

    def take(self, level: int, kind: str, call: str | None = None) -> bool:
        """Whether one more line of this kind may be written; else it is counted."""
        now = monotonic()
        self._tell(now)
        _, former = self._last.get(kind, (level, call))
        self._last[kind] = level, call if call == former else None
        if self._limit.take(kind, now):
            return True
        self._wake(now)
        return False

    def _lets(self, level: int, kind: str, about: About) -> bool:
        return self._logger.isEnabledFor(level) and self.take(level, kind, about.get("call"))

    def _write(
        self, level: int, kind: str, text: str, args: tuple[object, ...], about: About
    ) -> None:
        extra = extra_of(event_name(kind), about.get("call"), about.get("fields"))
        exc_info = about.get("exc_info")
        self._logger.log(level, text, *args, exc_info=exc_info, extra=extra, stacklevel=3)

    def forget(self) -> None:
        """Begin anew, with nothing written."""
        self._limit = LineLimit()
        self._wakes_at = 0.0
        if self._timer is not None:
            self._timer.cancel()

    def _tell(self, now: float) -> None:
        for kind, n in self._limit.over(now):
            level, call = self._last.pop(kind)
            extra = extra_of(event_name(kind), call, {"left_out": n})
            about = "" if call is None else f"call {shown(call)}: "
            self._logger.log(level, "%s%s: and %d more", about, kind, n, extra=extra)

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


class LinesASecond(logging.Filter):
    """Lets so many lines a second through; how many were left out, the next one says.

    What a plugin floods its log with would else fill the server's. The server's own lines do not
    count: they have limits of their own, and say what is wrong with the plugin. One may be the
    filter of several handlers: each line counts once.
    """

    def __init__(self, lines_a_second: int) -> None:
        super().__init__()
        self._most = lines_a_second
        self._second = 0
        self._n = 0
        self._last: logging.LogRecord | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """See ``logging.Filter``."""
        if record.name.startswith("mediaserver.") and record.name != "mediaserver.call":
            return True
        if record is not self._last:
            self._last = record
            self._count(record)
        return self._n <= self._most

    def _count(self, record: logging.LogRecord) -> None:
        second = int(record.created)
        if second != self._second:
            left_out, self._second, self._n = self._n - self._most, second, 0
            if left_out > 0:
                record.msg = f"{record.msg} (and {left_out} lines before it)"
        self._n += 1


def forget_all() -> None:
    """Let every ``LimitedLog`` begin anew; for tests, which share a process."""
    for log in _ALL:
        log.forget()
