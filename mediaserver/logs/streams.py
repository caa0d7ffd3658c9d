"""Which stream a call of this process has now, so that a log line about the call can name it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_STREAMS: dict[str, str] = {}


def call_streams(call_id: str, stream_id: str | None) -> None:
    """A call of this process has a stream, for the first time or another one."""
    if stream_id is not None:
        _STREAMS[call_id] = stream_id


def call_over(call_id: str) -> None:
    """The call has ended."""
    _STREAMS.pop(call_id, None)


def extra_of(
    event: str, call_id: str | None, fields: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What a record of ours has beside its text: ``extra`` for a logger.

    Args:
        event: its stable name.
        call_id: of the call that it is about.
        fields: what else a machine may want to read of it.
    """
    extra: dict[str, Any] = {"event": event}
    if call_id is not None:
        extra["call_id"] = call_id
        extra["stream_id"] = _STREAMS.get(call_id)
    if fields is not None:
        extra["fields"] = fields
    return extra
