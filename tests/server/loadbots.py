"""Filters that hold up the event loop."""

from __future__ import annotations

import time

from mediaserver.media.frames import Frame
from mediaserver.processors.api import Call, Filter


class Slow(Filter):
    """Takes 80 ms for every fifth frame: the loop is late, but does not fall behind."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self._n = 0

    def process(self, frame: Frame) -> Frame:
        self._n += 1
        if self._n % 5 == 0:
            time.sleep(0.08)
        return frame


class Spin(Filter):
    """Works for 4 ms a frame: five such calls leave a loop no time."""

    def process(self, frame: Frame) -> Frame:
        end_s = time.thread_time() + 0.004
        while time.thread_time() < end_s:
            pass
        return frame
