"""What systemd and a server it runs say to each other; elsewhere all of this does nothing.

Source: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3).
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import MutableMapping

from mediaserver.errors import ConfigurationError
from mediaserver.logs import LimitedLog

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

FIRST_FD = 3


def listening_sockets(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """The sockets that were handed to this process; taken out of the environment.

    Raises:
        ConfigurationError: one of them is no TCP socket that listens.
    """
    pid, n = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not n.isdigit():
        return []
    found = []
    for fd in range(FIRST_FD, FIRST_FD + int(n)):
        try:
            each = socket.socket(fileno=fd)
            listens = bool(each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        except OSError as exc:
            raise ConfigurationError(f"LISTEN_FDS: descriptor {fd}: {exc.strerror}") from exc
        if not listens or each.family not in (socket.AF_INET, socket.AF_INET6):
            each.close()
            raise ConfigurationError(f"LISTEN_FDS: descriptor {fd} is no TCP socket that listens")
        each.set_inheritable(False)
        found.append(each)
    return found


def notify(*lines: str) -> None:
    """Tell systemd, if it is there, such as ``READY=1``."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = f"\0{address[1:]}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        try:
            out.sendto("\n".join(lines).encode(), address)
        except OSError as exc:
            limited.warning("systemd deaf", "systemd cannot be told %s: %s", lines[0], exc)


def watchdog_period_s() -> float | None:
    """How often systemd wants a sign of life; None: never."""
    pid, usec = os.environ.get("WATCHDOG_PID"), os.environ.get("WATCHDOG_USEC", "")
    if not usec.isdigit() or pid not in (None, str(os.getpid())):
        return None
    return int(usec) / 1e6


async def signs_of_life() -> None:
    """Say so for ever, from the loop: a server whose loop hangs says nothing, and is replaced."""
    period_s = watchdog_period_s()
    while period_s is not None:
        notify("WATCHDOG=1")
        await asyncio.sleep(period_s / 3)
