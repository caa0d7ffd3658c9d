"""A periodic timer finer than the event loop's millisecond (Linux timerfd).

With millisecond timers the frames of 150 calls leave in bursts of seven or eight, and a server
handles a burst in one wake-up. Frames from a real carrier come one by one, and cost more.
"""

from __future__ import annotations

import ctypes
import os
import time

_libc = ctypes.CDLL(None, use_errno=True)
_ABSOLUTE = 1


class _Timespec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class _Period(ctypes.Structure):
    _fields_ = [("interval", _Timespec), ("first", _Timespec)]


def open_timer(first_s: float, interval_s: float) -> int:
    """A file descriptor readable at ``first_s`` (monotonic clock) and each interval behind it.

    Read it (8 bytes) to arm it again; close it when done.

    Raises:
        OSError: the kernel refused.
    """
    timer = _checked(_libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC))
    period = _Period(_timespec(interval_s), _timespec(first_s))
    _checked(_libc.timerfd_settime(timer, _ABSOLUTE, ctypes.byref(period), None))
    return timer


def _timespec(at_s: float) -> _Timespec:
    return _Timespec(*divmod(round(at_s * 1e9), 1_000_000_000))


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
