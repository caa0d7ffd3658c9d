"""The lines that the fake prints about what it does, without secrets.

A line never holds a header, a token, a client state or a text of the user's. Of a URL it has
scheme, host and port: path and query may hold a token.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

Tell = Callable[[str], None]
"""Takes one line, without its end."""

_SHOWN = (
    *("from", "to", "direction", "digits", "stream_track", "stream_codec"),
    *("stream_bidirectional_mode", "stream_bidirectional_codec"),
    *("stream_bidirectional_sampling_rate", "stream_bidirectional_target_legs"),
    *("transcription_engine", "rx", "tx"),
)
_AT_MOST = 400


def silent(_: str) -> None:
    """Say nothing."""


def shown_url(url: str) -> str:
    """The part of a URL that may be shown."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError:
        return "an unreadable URL"
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"


def request_line(method: str, path: str, body: Any, status: int, answer: bytes) -> str:
    """What was asked for, and what was answered; a refusal with its code and reason."""
    fields = body if isinstance(body, dict) else {}
    shown = [f"{name}={fields[name]}" for name in _SHOWN if name in fields]
    if isinstance(url := fields.get("stream_url"), str):
        shown.append(f"stream_url={shown_url(url)}/…")
    asked = " ".join([f"{method} {path}", *shown])
    return line(f"{asked} → {status}{_reason(answer) if status >= 400 else ''}")


def line(text: str) -> str:
    """The text as one line of printable characters, cut where it is very long."""
    plain = "".join(char if char.isprintable() else "?" for char in text)
    return plain if len(plain) <= _AT_MOST else f"{plain[:_AT_MOST]}…"


def _reason(answer: bytes) -> str:
    error = json.loads(answer)["errors"][0]
    return f" {error['code']} {error['detail']}"
