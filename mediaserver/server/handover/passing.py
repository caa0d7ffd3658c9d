"""What is said of a socket that goes to an older generation of the server, and who has those."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from mediaserver.server.admission import NoOlderCalls, OlderCalls


class PassedOn(msgspec.Struct, frozen=True, tag=True):
    """With a socket: a stream whose ``start`` was just read, and names an older call.

    Attributes:
        call_id: what the call is known by.
        path: the upgrade request's, without the token.
        query: the upgrade request's, without the token.
        token: what it presented; None: nothing.
        start: the ``start`` message as it came.
        violations: messages that were refused so far, by kind.
        behind: octets that were read behind ``start``.
        has_ponged: the peer has answered a ping.
    """

    call_id: str
    path: str
    query: Mapping[str, str]
    token: str | None
    start: bytes
    violations: Mapping[str, int]
    behind: bytes
    has_ponged: bool = False


class OlderGenerations(OlderCalls, Protocol):
    """The calls of older generations, and the way there."""

    def pass_on(self, passed: PassedOn, fd: int) -> None:
        """Give a socket to the generation that has its call; ``fd`` is closed here."""


class NoOlderGenerations(NoOlderCalls):
    """What a server has whose calls are all its own."""

    def pass_on(self, passed: PassedOn, fd: int) -> None:
        """Never called: there are no calls."""
        raise AssertionError
