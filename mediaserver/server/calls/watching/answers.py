"""What a process that carries calls can be asked for; see ``Service.ask``."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from mediaserver.server.calls.registry import CallRegistry

Answers = dict[str, Callable[[], bytes]]


def answers_of(calls: CallRegistry) -> Answers:
    """By each word what answers it, as octets; nothing here may wait."""

    def count_calls() -> bytes:
        return msgspec.msgpack.encode(len(calls.sessions))

    def live_calls() -> bytes:
        sessions = calls.sessions.values()
        return msgspec.msgpack.encode([(each.state, calls.summary_of(each)) for each in sessions])

    return {"n_calls": count_calls, "calls": live_calls}
