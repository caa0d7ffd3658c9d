"""What a child does in its own process, whatever its kind.

**Call ``begin``, then ``first_message``; then work, with a ``Channel`` and ``Heartbeats``.**
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from mediaserver.processes.channel import Channel, receive_blocking, send_blocking
from mediaserver.processes.messages import Failed, Heartbeat, Hello

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=msgspec.Struct)

# Of the lag of one beat, in the next one: a loop that is often late is not late at each beat.
LAG_KEPT = 0.75
LAST_WORDS_S = 1.0


class _Pulse:
    """When the loop of this process last showed that it runs, in monotonic seconds."""

    at = time.monotonic()


_PULSE = _Pulse()


def begin(fd: int, version: int) -> socket.socket:
    """This side of the channel, ``Hello`` said; signals are left to the parent from now on."""
    # The terminal signals the whole group: what it means is for the parent to say. Handlers,
    # for SIG_IGN would be inherited by programs that this one starts.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    # The parent asks for this before it kills a child that hangs: in which line does it?
    if sys.stderr is not None:
        faulthandler.register(signal.SIGUSR1)
    end = socket.socket(fileno=fd)
    end.set_inheritable(False)
    with contextlib.suppress(OSError):  # the parent is gone: ``first_message`` says so
        send_blocking(end, Hello(version))
    return end


def first_message(end: socket.socket, type_: type[M]) -> M:
    """What the parent begins with, waited for.

    Raises:
        EOFError: the parent is gone, or wants no child like this.
        msgspec.MsgspecError: what came is no ``type_``.
    """
    message: M = receive_blocking(end, type_)
    return message


def fail(end: socket.socket, reason: str) -> None:
    """Tell the parent why this process cannot work; for before there is a channel."""
    # A file's name may hold octets that are no text.
    reason = reason.encode("utf-8", "backslashreplace").decode()
    with contextlib.suppress(OSError):
        send_blocking(end, Failed(reason))


def end_with_parent(end: socket.socket, within_s: float, name: str) -> None:
    """From now on, end this process if it hangs while its parent is gone: nobody else would.

    Args:
        end: this side of the channel.
        within_s: how long it may then go without a heartbeat, though nobody hears them.
        name: what it is, for its last words.
    """
    fd = end.fileno()
    threading.Thread(target=_outlive, args=(fd, within_s, name), daemon=True).start()


def _outlive(fd: int, within_s: float, name: str) -> None:
    poll = select.poll()
    poll.register(fd, 0)  # only the hang-up is reported
    poll.poll()
    gone_at = time.monotonic()
    while (left_s := max(gone_at, _PULSE.at) + within_s - time.monotonic()) > 0:
        time.sleep(left_s)
    text = "%s: hangs without its parent, gives up"
    about = {"extra": {"event": "ended_by_force"}}
    # In a thread: what hangs may hold the log's lock.
    last_words = threading.Thread(target=logger.error, args=(text, name), kwargs=about, daemon=True)
    last_words.start()
    last_words.join(LAST_WORDS_S)
    os._exit(1)


class Heartbeats:
    """Shows the parent that the loop runs.

    Args:
        channel: the way to the parent.
        every_s: between two of them.
        take_counts: what was counted since it was last called.
    """

    def __init__(
        self, channel: Channel, every_s: float, take_counts: Callable[[], Mapping[str, int]] = dict
    ) -> None:
        self._channel = channel
        self._every_s = every_s
        self._take_counts = take_counts
        self._next: asyncio.TimerHandle | None = None
        self._due: float | None = None
        self._lag_s = 0.0

    def start(self) -> None:
        """Send one now, and then regularly; a parent that reads nothing is spared more of them."""
        now = _PULSE.at = time.monotonic()
        if self._due is not None:
            self._lag_s = max(now - self._due, LAG_KEPT * self._lag_s)
        self._due = now + self._every_s
        self._next = asyncio.get_running_loop().call_later(self._every_s, self.start)
        if self._channel.is_flushed:
            self._channel.send(Heartbeat(self._take_counts(), self._lag_s))

    def stop(self) -> None:
        """Send no more."""
        if self._next is not None:
            self._next.cancel()
