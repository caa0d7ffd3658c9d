"""Ports for servers in processes of their own, which must be told one beforehand."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket

# Below what Linux gives out by itself: a port from there could be given to somebody else, in
# a test that runs beside this one, before its server has it.
_LOWEST, _HIGHEST = 12_000, 32_000
# Test processes side by side begin at different places, and none takes a port twice.
_begin = random.Random().randrange(_LOWEST, _HIGHEST)  # not the seeded one: it is every process's
_ports = itertools.chain(range(_begin, _HIGHEST), range(_LOWEST, _begin))


def free_port() -> int:
    """A port that nobody listens on, and that nobody else is going to be given."""
    for port in _ports:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise RuntimeError("no port is free")


def free_fork_ports(n: int) -> int:
    """The first of ``n`` UDP ports in a row that nobody has."""
    while True:
        first = free_port()
        with contextlib.suppress(OSError), contextlib.ExitStack() as probes:
            for port in range(first, first + n):
                probe = probes.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                probe.bind(("127.0.0.1", port))
            return first
