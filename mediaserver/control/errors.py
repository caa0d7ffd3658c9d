"""Errors of commands: a wrong argument, an error answer from Telnyx, or a network failure."""

from __future__ import annotations

from dataclasses import dataclass

from mediaserver.errors import MediaServerError
from mediaserver.logs import shown


class ControlError(MediaServerError):
    """Root of every error of the control client."""


class InvalidFieldError(ControlError, ValueError):
    """A field of a command cannot be sent; nothing was sent.

    Attributes:
        field: the name of the field, as the REST interface spells it.
        allowed: what it may hold, in words.
    """

    def __init__(self, field: str, allowed: str) -> None:
        super().__init__(field, allowed)
        self.field = field
        self.allowed = allowed

    def __str__(self) -> str:
        # The value stays out: it may be a token or a person's number.
        return f"{self.field}: must be {self.allowed}"


@dataclass(frozen=True)
class Problem:
    """One entry of Telnyx's list of errors; fields that Telnyx left out are empty."""

    code: str = ""
    title: str = ""
    detail: str = ""
    pointer: str = ""


class ApiError(ControlError):
    """Telnyx answered with an error.

    Attributes:
        status: the HTTP status.
        problem: the first error of the body; its fields are empty where the body had none.
        problems: all of them.
        request_id: Telnyx's name for the request, or None.
        command_id: of the command, the same on every try.
        retry_after_s: the least wait the answer asked for, or None.
    """

    def __init__(
        self,
        status: int,
        problems: tuple[Problem, ...] = (),
        *,
        request_id: str | None = None,
        command_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(status, problems)
        self.status = status
        self.problems = problems
        self.problem: Problem = problems[0] if problems else Problem()
        self.request_id = request_id
        self.command_id = command_id
        self.retry_after_s = retry_after_s

    @property
    def code(self) -> str:
        """Telnyx's error code, such as "90018"; empty if the body had none."""
        return self.problem.code

    @property
    def title(self) -> str:
        """Telnyx's short name for the error."""
        return self.problem.title

    @property
    def detail(self) -> str:
        """Telnyx's sentence about the error."""
        return self.problem.detail

    @property
    def pointer(self) -> str:
        """The field of the request that the error is about, as a JSON pointer."""
        return self.problem.pointer

    def __str__(self) -> str:
        what = ": ".join(shown(part, 300) for part in (self.title, self.detail) if part)
        code = f"code {shown(self.code)}" if self.code else ""
        parts = [f"HTTP {self.status}", code, what]
        where = f"({shown(self.pointer)})" if self.pointer else ""
        request = f"[request {shown(self.request_id)}]" if self.request_id else ""
        return " ".join(part for part in (*parts, where, request) if part)


class BadRequestError(ApiError):
    """Any other error answer below 500: Telnyx did not accept the request."""


class AuthenticationError(ApiError):
    """401: the API key is missing, wrong or revoked."""


class PermissionDeniedError(ApiError):
    """403: the key may not do this."""


class NotFoundError(ApiError):
    """404, or 422 with code 90015: no such call or resource."""


class UnprocessableError(ApiError):
    """422: the call is not in a state for this command, or a field was not accepted."""


class RateLimitError(ApiError):
    """429: too many requests, and no time left to wait."""


class ServerError(ApiError):
    """5xx: Telnyx failed, and went on failing for as long as it was tried."""


class NetworkError(ControlError):
    """Telnyx did not answer; whether the command was carried out is unknown.

    Attributes:
        reason: what the network said, without addresses of ours or secrets.
        sent: False if the request surely never left.
        command_id: of the command.
    """

    def __init__(self, reason: str, *, sent: bool, command_id: str | None = None) -> None:
        super().__init__(reason, sent)
        self.reason = reason
        self.sent = sent
        self.command_id = command_id

    def __str__(self) -> str:
        return f"no answer: {shown(self.reason, 300)}" + ("" if self.sent else " (not sent)")


class CommandTimeoutError(NetworkError):
    """The command's deadline passed before an answer came."""


class UnreadableReplyError(ControlError):
    """Telnyx accepted the command, but its answer lacks the value that is needed from it."""


_BY_STATUS: dict[int, type[ApiError]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    422: UnprocessableError,
    429: RateLimitError,
}


_NO_SUCH_CALL = "90015"
"""Comes with 422: it is about the call all the same, not about its state."""


def error_class(status: int, code: str = "") -> type[ApiError]:
    """The error class for an HTTP status that is not a success, and Telnyx's first code."""
    if status >= 500:
        return ServerError
    if status == 422 and code == _NO_SUCH_CALL:
        return NotFoundError
    return _BY_STATUS.get(status, BadRequestError)
