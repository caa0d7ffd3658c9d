"""What every kind of child and its parent say to each other.

A kind has messages of its own beside these: frozen ``msgspec`` structs with a tag, like all
of them.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Hello(msgspec.Struct, frozen=True, tag=True):
    """From a child, first of all: which version of its kind's messages it speaks.

    Parents and children of any version read it, so its fields and its name never change.
    """

    version: int


class Ready(msgspec.Struct, frozen=True, tag=True):
    """From a child: it works."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """From a child: it cannot work, and why."""

    reason: str


class Heartbeat(msgspec.Struct, frozen=True, tag=True):
    """From a child, regularly: its loop runs, and what it has counted since the last one.

    Attributes:
        counts: by name.
        lag_s: by how much its loop was late for this, or for those before, which fade; None
            where it was sent out of turn.
    """

    counts: Mapping[str, int] = {}
    lag_s: float | None = None


class Shutdown(msgspec.Struct, frozen=True, tag=True):
    """To a child: end now; ``hurry``: it is killed if it does not do so soon."""

    hurry: bool = False


FromChild = Hello | Ready | Failed | Heartbeat
