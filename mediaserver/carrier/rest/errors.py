"""The fake's refusals, with the statuses and codes of protocol.md 3."""

from __future__ import annotations

from typing import Any


class RefusalError(Exception):
    """A command is answered with an error.

    Attributes:
        status: HTTP status.
        code: Telnyx's code.
        title: Telnyx's name for it.
        detail: a sentence.
        pointer: the field it is about, or empty.
    """

    def __init__(
        self, status: int, code: str, title: str, detail: str = "", *, pointer: str = ""
    ) -> None:
        super().__init__(status, code, title)
        self.status = status
        self.code = code
        self.title = title
        self.detail: str = detail or f"{title}."
        self.pointer = pointer

    @property
    def body(self) -> dict[str, Any]:
        """The body of the answer."""
        return error_body(self.code, self.title, self.detail, self.pointer)


def error_body(code: str, title: str, detail: str, pointer: str = "") -> dict[str, Any]:
    """An error body as Telnyx writes it."""
    error: dict[str, Any] = {"code": code, "title": title, "detail": detail, "meta": {}}
    if pointer:
        error["source"] = {"pointer": pointer}
    return {"errors": [error]}


def unauthorized() -> RefusalError:
    """401: no key, or a wrong one."""
    return RefusalError(401, "10009", "Authentication failed")


def no_such_resource() -> RefusalError:
    """404: no such path."""
    return RefusalError(404, "10005", "Resource not found")


def no_such_call() -> RefusalError:
    """422, and not 404: the call id is not one of ours."""
    return RefusalError(422, "90015", "Invalid Call Control ID", pointer="/call_control_id")


def call_ended() -> RefusalError:
    """422: the call is over."""
    return RefusalError(422, "90018", "Call has already ended")


def not_answered() -> RefusalError:
    """422: the call is not answered yet."""
    return RefusalError(422, "90034", "Call not answered yet")


def not_forked() -> RefusalError:
    """422: there is no fork to stop."""
    return RefusalError(422, "90031", "Call not forked")


def streaming_in_use() -> RefusalError:
    """422: the call streams or forks already."""
    return RefusalError(422, "90045", "Streaming in use")


def streaming_not_in_use() -> RefusalError:
    """422: there is no stream to stop."""
    return RefusalError(422, "90048", "Streaming not in use")


def recording_needs_transcription() -> RefusalError:
    """422: a recording that ends after silence cannot start while the call is transcribed."""
    return RefusalError(422, "90053", "Recording with timeout_secs while transcribing")


def already_transcribing() -> RefusalError:
    """422: the call is transcribed."""
    return RefusalError(422, "90054", "Already transcribing")


def transcription_in_use() -> RefusalError:
    """422: a recording that ends after silence runs, and needs the transcription."""
    return RefusalError(422, "90055", "Transcription is used by a recording")


def invalid_client_state() -> RefusalError:
    """422: client_state is no base64."""
    return RefusalError(422, "90017", "Invalid client_state", pointer="/client_state")


MISSING, NOT_IN_ENUM, OUT_OF_RANGE = "10004", "10032", "10033"
MALFORMED = "10015"
"""Documented for a bad connection_id; which code other malformed values have is our guess."""

NOT_E164 = "10016"
"""Source: Telnyx' list of API error codes; that dial answers with it is our guess."""

_TITLES = {
    MISSING: "Missing required parameter",
    NOT_IN_ENUM: "Value not in the enumeration",
    OUT_OF_RANGE: "Value out of range",
    MALFORMED: "Invalid parameter",
    NOT_E164: "Phone number must be in +E.164 format",
}


def missing(field: str) -> RefusalError:
    """422: a field is not there."""
    return invalid(field, "given", MISSING)


def invalid(field: str, allowed: str, code: str = MALFORMED) -> RefusalError:
    """422: a field holds what it may not."""
    detail = f"{field} must be {allowed}"
    return RefusalError(422, code, _TITLES[code], detail, pointer=f"/{field}")


def rate_limited() -> RefusalError:
    """429: too many requests."""
    return RefusalError(429, "10011", "Too many requests")
