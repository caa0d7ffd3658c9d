"""Where a server that drains waits for the one that listens in its place.

A Unix socket whose name is made of the address that the server listened on. It is in Linux'
abstract name space: there is no file, so none is left behind. Both sides look whose process the
other is: only one of the same user is spoken to.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import socket
import struct
import sys
from collections.abc import Callable, Sequence

from mediaserver.logs import LimitedLog

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

AVAILABLE = sys.platform == "linux"
AGAIN_S = 0.25
_CREDENTIALS = struct.Struct("3i")


def name_of(sockets: Sequence[socket.socket]) -> str:
    """The name for whoever listens, or listened, on these."""
    addresses = sorted(repr(each.getsockname()[:2]) for each in sockets)
    digest = hashlib.sha256("\n".join(addresses).encode()).hexdigest()
    return f"\0mediaserver-{os.getuid()}-{digest[:32]}"


def knock(name: str) -> socket.socket | None:
    """The way to a server that drains; None if nobody waits there."""
    if not AVAILABLE:
        return None
    end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        end.settimeout(1.0)
        end.connect(name)
    except OSError:
        end.close()
        return None
    if not _is_ours(end):
        end.close()
        return None
    end.setblocking(False)
    return end


class Rendezvous:
    """Waits until one has come, then is closed: the next one asks that one.

    From its making on it is found, unless one before it waits there still.

    Args:
        name: see ``name_of``.
        came: called with the connection.
    """

    def __init__(self, name: str, came: Callable[[socket.socket], None]) -> None:
        self._name = name
        self._came = came
        self._waiting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._waiting.setblocking(False)
        self._is_found = self._bind()
        self._task = asyncio.create_task(self._wait())

    def close(self) -> None:
        """Wait no more."""
        self._task.cancel()

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.closing(self._waiting):
            while not self._is_found:
                await asyncio.sleep(AGAIN_S)
                self._is_found = self._bind()
            while True:
                end, _ = await loop.sock_accept(self._waiting)
                if _is_ours(end):
                    break
                end.close()
        self._came(end)

    def _bind(self) -> bool:
        try:
            self._waiting.bind(self._name)
            self._waiting.listen(4)
        except OSError:
            return False
        return True


def _is_ours(end: socket.socket) -> bool:
    """Whether the other side's process is of this user."""
    option = getattr(socket, "SO_PEERCRED", 17)
    _, user, _ = _CREDENTIALS.unpack(end.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size))
    if user == os.getuid():
        return True
    limited.warning(
        "strangers refused", "a process of user %d asked for this server's calls: refused", user
    )
    return False
