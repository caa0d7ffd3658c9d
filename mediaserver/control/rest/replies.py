"""Telnyx's answers: the data of a good one, the error made of a bad one."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from mediaserver.control.errors import ApiError, Problem, error_class
from mediaserver.control.rest.retry import asked_wait_s
from mediaserver.control.rest.transport import Reply

_MAX_TEXT_CHARS = 500
_PER_CALL_TOKEN = re.compile(r"t1\.[\w-]{32}\.[\w-]{43}")


def data_of(reply: Reply) -> dict[str, Any]:
    """The ``data`` object of a successful answer; empty where it is not to be had."""
    data = _object(reply.body).get("data")
    return data if isinstance(data, dict) else {}


def items_of(reply: Reply) -> list[dict[str, Any]]:
    """The objects in the ``data`` list of a successful answer."""
    data = _object(reply.body).get("data")
    return [item for item in data if isinstance(item, dict)] if isinstance(data, list) else []


def api_error(reply: Reply, command_id: str, secrets: tuple[str, ...]) -> ApiError:
    """The error for an answer that is no success.

    Args:
        reply: of any status but 2xx; its body may be anything.
        command_id: of the command.
        secrets: texts to blot out, should the answer quote them.
    """
    listed = _object(reply.body).get("errors")
    entries = listed if isinstance(listed, list) else []
    problems = tuple(_problem(entry, secrets) for entry in entries if isinstance(entry, dict))
    return error_class(reply.status, problems[0].code if problems else "")(
        reply.status,
        problems,
        request_id=_line(reply.headers.get("x-request-id"), secrets) or None,
        command_id=command_id,
        retry_after_s=asked_wait_s(reply.status, reply.headers),
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError, ValueError):  # also octets that are no UTF-8
        return {}
    return value if isinstance(value, dict) else {}


def _problem(entry: dict[str, Any], secrets: tuple[str, ...]) -> Problem:
    source = entry.get("source")
    return Problem(
        code=_line(entry.get("code"), secrets),
        title=_line(entry.get("title"), secrets),
        detail=_line(entry.get("detail") or entry.get("description"), secrets),
        pointer=_line(source.get("pointer") if isinstance(source, dict) else None, secrets),
    )


def _line(value: object, secrets: tuple[str, ...]) -> str:
    """A text of Telnyx's as one line of bounded length, without secrets."""
    if not isinstance(value, str | int):
        return ""
    text = " ".join(str(value).split())
    for secret in secrets:
        text = text.replace(secret, "[redacted]")
    return _PER_CALL_TOKEN.sub("[redacted]", text)[:_MAX_TEXT_CHARS]
