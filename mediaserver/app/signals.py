"""SIGTERM and SIGINT: the first asks for the end, the second ends the process soon.

SIGHUP asks for a reload, unless the process has a terminal: then it says that this is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

from mediaserver.logs import LimitedLog

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

# After the second signal, for all that can end by itself.
END_WITHIN_S = 1.3
_NUMBERS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Hears signals, also while users' code does not let the loop go on.

    **Call ``listen``; then wait for ``stop``, then for ``now``; then call ``close``.** From the
    second signal on the process has ``END_WITHIN_S``; then a thread of its own ends it. So it
    ends whatever keeps it: a handler that swallows its cancellation, code that blocks the loop,
    a thread, an exit hook. Only code that holds Python's lock all the time keeps it.

    Args:
        abort: called, in another thread, before the process is ended so.

    Attributes:
        stop: set by the first signal.
        now: set by the second.
    """

    def __init__(self, abort: Callable[[], None]) -> None:
        self.stop: asyncio.Event = asyncio.Event()
        self.now: asyncio.Event = asyncio.Event()
        self._abort = abort
        self._loop = asyncio.get_running_loop()
        self._n = 0
        # Its put() may be called by a signal's handler, in the middle of anything.
        self._second: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._former: dict[int, Any] = {}
        self._reload: Callable[[], Coroutine[Any, Any, None]] | None = None
        self._reloading: set[asyncio.Task[None]] = set()

    def listen(self, reload: Callable[[], Coroutine[Any, Any, None]] | None = None) -> None:
        """Hear signals from now on; in the main thread only. SIGHUP: what ``reload`` does."""
        if reload is not None and sys.platform != "win32" and not _has_terminal():
            self._reload = reload
            self._former[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._hung_up)
        threading.Thread(target=self._outlive, name="second signal", daemon=True).start()
        for number in _NUMBERS:
            # Not the loop's own: those wait for the loop, which users' code may block.
            self._former[number] = signal.signal(number, self._signalled)

    def close(self) -> None:
        """Hear them no more. What the second one began goes on."""
        for number, former in self._former.items():
            signal.signal(number, former)
        self._former.clear()
        self._second.put(False)

    def end(self, now: bool) -> None:
        """As if the first signal had come; ``now``: the second."""
        self.stop.set()
        if now:
            self.now.set()
            self._second.put(True)

    def _hung_up(self, *_: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._begin_reload)

    def _begin_reload(self) -> None:
        assert self._reload is not None
        task = self._loop.create_task(self._reload())
        self._reloading.add(task)
        task.add_done_callback(self._reloading.discard)

    def _signalled(self, *_: object) -> None:
        self._n += 1
        if self._n == 2:
            self._second.put(True)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe((self.stop if self._n == 1 else self.now).set)

    def _outlive(self) -> None:
        """In a thread of its own: wait for the second signal, and end the process."""
        if not self._second.get():
            return
        with contextlib.suppress(RuntimeError, ValueError, OSError):  # there is no stderr
            # Should this thread itself get no turn any more.
            faulthandler.dump_traceback_later(END_WITHIN_S + 0.4, exit=True)
        time.sleep(END_WITHIN_S)
        text = "the process does not end by itself: it is ended, here is where it stands"
        limited.each(logging.ERROR, "ended by force", text)
        with contextlib.suppress(RuntimeError, ValueError, OSError):
            faulthandler.dump_traceback()
        self._abort()
        os._exit(1)


def _has_terminal() -> bool:
    """Whether SIGHUP means that the terminal is gone."""
    try:
        return os.isatty(0)
    except OSError:
        return False
