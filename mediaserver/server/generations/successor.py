"""The process of the next generation: started with the same command, and told about."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import MutableMapping

from mediaserver.server.generations import rendezvous

OLDER_VARIABLE = "MEDIASERVER_OLDER_FD"
# What systemd said to this process alone.
_OF_THIS_PROCESS = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_PID")


def spawn(end: socket.socket) -> subprocess.Popen[bytes]:
    """Start this program again, as it was started, with one end of a socket pair.

    Code and files are read anew; the environment is the one of this process.

    Raises:
        OSError: the system starts no more processes.
    """
    env = {name: value for name, value in os.environ.items() if name not in _OF_THIS_PROCESS}
    env[OLDER_VARIABLE] = str(end.fileno())
    return subprocess.Popen([sys.executable, *sys.orig_argv[1:]], env=env, pass_fds=[end.fileno()])


def older_of(environ: MutableMapping[str, str]) -> socket.socket | None:
    """The way to the generation that started this process; taken out of the environment."""
    fd = environ.pop(OLDER_VARIABLE, None)
    if fd is None:
        return None
    end = socket.socket(fileno=int(fd))
    end.set_inheritable(False)
    return end


def outcome_address(pid: int) -> str:
    """Where one who has asked this process for a reload hears of its outcome."""
    name = f"mediaserver-reload-{pid}"
    return f"\0{name}" if rendezvous.AVAILABLE else os.path.join(tempfile.gettempdir(), name)


def tell_outcome(text: str) -> None:
    """Say what a reload came to, to whoever waits for it; ``ok PID``, or what went wrong."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.setblocking(False)
        with contextlib.suppress(OSError):  # nobody waits for it
            out.sendto(text.encode(), outcome_address(os.getpid()))
