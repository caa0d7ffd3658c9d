"""The commands that have a phone, in processes of their own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

WITHIN_S = 30.0


class Served:
    """A command in a process of its own.

    Args:
        arguments: of ``mediaserver``.

    Attributes:
        began_s: when it was started, on the monotonic clock.
        phone_url: where the page is.
        lines: what it has said.
    """

    def __init__(self, *arguments: str) -> None:
        self.began_s = time.monotonic()
        self.lines: list[str] = []
        self._is_told = False
        self._process = subprocess.Popen(
            [str(Path(sys.executable).parent / "mediaserver"), *arguments],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "DISPLAY": "", "WAYLAND_DISPLAY": ""},
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.phone_url = self.wait_for(r"mediaserver phone on (http://[^\s\"]+)")

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.lines.append(line)

    def wait_for(self, pattern: str) -> str:
        """Return the group of the first line that fits."""
        deadline = time.monotonic() + WITHIN_S
        is_over = False
        while not is_over and time.monotonic() < deadline:
            is_over = not self._reader.is_alive()  # then all that was said is there
            for line in list(self.lines):
                if found := re.search(pattern, line):
                    return found[1]
            time.sleep(0.02)
        self.end()
        raise AssertionError(f"{pattern!r} was never said: {self.lines}")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._is_told = True
        self._process.send_signal(number)

    def end(self) -> int:
        """Terminate it, unless a signal ends it already: a second one is another word; its code."""
        if not self._is_told:
            self._process.terminate()
        try:
            code = self._process.wait(WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._reader.join(WITHIN_S)
        # Else whoever stands in for it is there still; to close what is read would wait for that.
        assert not self._reader.is_alive(), self.lines
        assert self._process.stderr is not None
        self._process.stderr.close()
        return code


@contextlib.contextmanager
def served(*flags: str, phone_port: int = 0) -> Iterator[Served]:
    """A server with its phone; at the end it is terminated, and ends well."""
    ports = ("--port", "0", "--phone-port", str(phone_port))
    server = Served("serve", "--phone", *ports, *flags)
    try:
        yield server
    finally:
        code = server.end()
    assert code == 0, server.lines
