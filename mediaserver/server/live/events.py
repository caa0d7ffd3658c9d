"""A call's events in words, for those who look at it. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from mediaserver.processors.api import Event, Hint, SpeechStarted, SpeechStopped, Webhook

_LEFT_OUT = ("occurred_at", "heard")
_KINDS = {
    "Dtmf": "dtmf",
    "StreamError": "error",
    "Stop": "end",
    "Draining": "draining",
    "Reconnected": "reconnected",
    "Hint": "hint",
    "LimitReached": "limit",
    "ProcessorRestarted": "restarted",
    "Interrupted": "interrupted",
    "Beep": "beep",
    "OperatorMessage": "operator",
}


def event_of(event: Event, now: float) -> tuple[float, str, str]:
    """When it was, what it is, and more of it; ``now`` is the call's time."""
    if isinstance(event, SpeechStarted):
        return event.at, "speech starts", ""
    if isinstance(event, SpeechStopped):
        return event.at, "speech ends", f"{event.duration:.1f} s"
    if isinstance(event, Webhook):
        return now, *_reported(event.event)
    return now, _KINDS.get(type(event).__name__, "event"), _text(event)


def _reported(event: Any) -> tuple[str, str]:
    """A webhook: what was said, of a transcription; else its type."""
    if event.event_type == "call.transcription":
        fields = msgspec.to_builtins(event)
        who = "bot: " if fields.get("transcription_track") == "outbound" else ""
        return "transcript", f"{who}{fields.get('transcript') or ''}"
    return "webhook", event.event_type


def _text(event: Any) -> str:
    """Its fields, without those that are empty; one alone without its name."""
    if isinstance(event, Hint):
        return event.text
    fields = [(name, getattr(event, name)) for name in event.__struct_fields__]
    told = [(n, v) for n, v in fields if v not in (None, "", ()) and n not in _LEFT_OUT]
    if len(told) == 1 and isinstance(told[0][1], str):
        return told[0][1]
    if type(event).__name__ in ("Dtmf", "StreamError"):
        return " ".join(str(value) for _, value in told)
    return ", ".join(f"{name} {_short(value)}" for name, value in told)


def _short(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
