"""What a process that carries calls can be asked for; see ``Service.ask``."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping

import msgspec

from mediaserver.figures.figures import Measured
from mediaserver.server.calls.registry import CallRegistry

SNAPSHOT = "snapshot"
"""What a call's processors keep in ``call.state`` for its next life, at another node."""

Answers = Mapping[str, Callable[[str], bytes]]


def answer(answers: Answers, what: str, argument: str) -> bytes:
    """The answer to a word; empty: there is no such word."""
    found = answers.get(what)
    return b"" if found is None else found(argument)


def answers_of(calls: CallRegistry) -> Answers:
    """By each word what answers it, as octets; nothing here may wait."""
    numbers = itertools.count()

    def figures(_: str) -> bytes:
        measured = Measured(os.getpid(), next(numbers), calls.figures.now(calls.runners))
        return msgspec.msgpack.encode(measured)

    def live_calls(_: str) -> bytes:
        sessions = calls.sessions.values()
        return msgspec.msgpack.encode([(each.phase, calls.summary_of(each)) for each in sessions])

    def snapshots(_: str) -> bytes:
        kept = ((each.call_id, each.state.get(SNAPSHOT)) for each in calls.sessions.values())
        found = {call: text for call, text in kept if isinstance(text, str)}
        return msgspec.msgpack.encode(found)

    return {"figures": figures, "calls": live_calls, "snapshots": snapshots}
