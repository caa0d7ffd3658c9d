"""Wakes a thread when a loop has not said in time that it is alive, and leaves it asleep else.

On Linux by a timer of the kernel's, so that the thread never takes the interpreter's lock while
all is well; elsewhere the thread looks each time the moment has come.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from time import monotonic
from typing import Protocol

_MONOTONIC, _CLOEXEC = 1, 0o2000000
_EXPIRED_BYTES = 8


class _Spec(ctypes.Structure):
    """``struct itimerspec``: interval and first time, each in seconds and nanoseconds."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("first_s", ctypes.c_long),
        ("first_ns", ctypes.c_long),
    )


class Overdue(Protocol):
    """What a thread waits for. **Call ``arm`` again and again; ``close`` at the end.**"""

    def arm(self, in_s: float) -> None:
        """Wake the thread then, unless it is armed anew before; in the place of an earlier time."""

    def wait(self) -> bool:
        """In the thread: wait until the time has come; False: it is closed."""

    def close(self) -> None:
        """Wake the thread for the last time."""


class KernelTimer:
    """By ``timerfd``; an ``Overdue``.

    Raises:
        OSError: there is none, or no descriptor is left.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._is_closed = False
        self._fd: int = self._libc.timerfd_create(_MONOTONIC, _CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")

    def arm(self, in_s: float) -> None:
        """See ``Overdue``."""
        if not self._is_closed:
            self._set(in_s)

    def wait(self) -> bool:
        """See ``Overdue``."""
        with contextlib.suppress(OSError):
            os.read(self._fd, _EXPIRED_BYTES)
        if self._is_closed:
            os.close(self._fd)  # here, where nobody else can have got its number meanwhile
        return not self._is_closed

    def close(self) -> None:
        """See ``Overdue``."""
        if not self._is_closed:
            self._is_closed = True
            self._set(0.0)

    def _set(self, in_s: float) -> None:
        whole, part = divmod(max(in_s, 1e-9), 1.0)
        spec = _Spec(0, 0, int(whole), max(1, int(part * 1e9)))
        self._libc.timerfd_settime(self._fd, 0, ctypes.byref(spec), None)


class Looking:
    """By looking at the clock; an ``Overdue``."""

    def __init__(self) -> None:
        self._at = float("inf")
        self._over = threading.Event()
        self._armed = threading.Event()

    def arm(self, in_s: float) -> None:
        """See ``Overdue``."""
        self._at = monotonic() + in_s
        self._armed.set()

    def wait(self) -> bool:
        """See ``Overdue``."""
        self._armed.wait()
        while not self._over.is_set():
            left_s = self._at - monotonic()
            if left_s <= 0:
                self._armed.clear()
                return True
            self._over.wait(left_s)
        return False

    def close(self) -> None:
        """See ``Overdue``."""
        self._over.set()
        self._armed.set()


def overdue() -> Overdue:
    """The best that this system has."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            return KernelTimer()
    return Looking()
