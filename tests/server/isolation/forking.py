"""A spawner whose hosts do as they are told over their links; run in a process of its own."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import socket
import time

from mediaserver.processes import inside
from mediaserver.server.isolation.messages import VERSION
from mediaserver.server.isolation.spawner import Spawner

MEMORY_BYTES = 256 << 20
GRACE_S = 0.2


def host(number: int, end: socket.socket, stderr: int) -> None:
    """One host: each octet is an order; the end of the link ends it."""
    while order := end.recv(1):
        match order:
            case b"?":
                end.sendall(json.dumps(_facts(number)).encode() + b"\n")
            case b"x":
                os._exit(3)
            case b"r":
                raise RuntimeError("a host's own fault")
            case b"s":
                ctypes.string_at(0)
            case b"h":
                while True:
                    pass
            case b"p":
                _print(end, stderr)
            case b"i":
                time.sleep(600)


def _print(end: socket.socket, stderr: int) -> None:
    """Flood stdout by print, stderr as a C library would; one line to the real one."""
    for n in range(20_000):
        print("a printed line", n)
        os.write(2, b"a library's line\n")
    os.write(stderr, b"a line of the log\n")
    end.sendall(b"!")


def _facts(number: int) -> dict[str, object]:
    limits = ("RLIMIT_NOFILE", "RLIMIT_CORE", "RLIMIT_AS")
    return {
        "number": number,
        "pid": os.getpid(),
        "nice": os.nice(0),
        "limits": {name: resource.getrlimit(getattr(resource, name)) for name in limits},
    }


def main(fd: int, forks: int = 1000, failing: int = 1_000_000) -> None:
    """Serve; after so many forks, so many more fail."""
    end = inside.begin(fd, VERSION)
    fork, left = os.fork, iter(range(forks))
    fails = iter(range(failing))

    def limited() -> int:
        if next(left, None) is None and next(fails, None) is not None:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return fork()

    os.fork = limited
    Spawner(end, MEMORY_BYTES, GRACE_S, host).run()
