"""Whether a command is tried again, and after how long. Pure: it computes, and does not wait.

Rules: 408, 409, 429, 5xx and network errors are tried again with exponential back-off and
full jitter. No try starts later than 50 s after the first, because Telnyx knows a repeated
``command_id`` for about 60 s. If Telnyx asks for a wait, the next try comes no earlier; if that
is too long, the error is final at once. ``dial`` is tried again only if it surely had no effect.

Source: protocol.md 3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from mediaserver.control.errors import ApiError, CommandTimeoutError, ControlError, NetworkError

LAST_TRY_S = 50.0
"""No try later than this after the first."""

_RETRIED = frozenset({408, 409, 429})


@dataclass(frozen=True)
class RetryPolicy:
    """How patient a client is.

    Attributes:
        deadline_s: a command succeeds or fails at the latest this long after it began.
        try_s: time limit of one try.
        max_tries: tries in all, the first included.
        base_s: the longest wait after the first try; it doubles with each.
        cap_s: the longest wait that back-off alone leads to.
    """

    deadline_s: float = 30.0
    try_s: float = 10.0
    max_tries: int = 8
    base_s: float = 0.5
    cap_s: float = 8.0

    def wait_s(
        self,
        error: ControlError,
        n_tries: int,
        elapsed_s: float,
        draw: Callable[[], float],
        *,
        only_if_unsent: bool = False,
    ) -> float | None:
        """Seconds to wait before the next try, or None if the error is final.

        Args:
            error: of the try that just failed.
            n_tries: how many tries there were.
            elapsed_s: since the first began.
            draw: gives a number in [0, 1); the jitter.
            only_if_unsent: the command must not be carried out twice (``dial``).
        """
        if n_tries >= self.max_tries or not is_retryable(error, only_if_unsent=only_if_unsent):
            return None
        wait_s = draw() * min(self.cap_s, self.base_s * 2.0 ** (n_tries - 1))
        if isinstance(error, ApiError) and error.retry_after_s is not None:
            # On top of what was asked for: whoever was limited together comes back spread.
            wait_s = error.retry_after_s + min(wait_s, self.base_s)
        ends_s = min(self.deadline_s, LAST_TRY_S)
        return wait_s if elapsed_s + wait_s < ends_s else None


def is_retryable(error: ControlError, *, only_if_unsent: bool = False) -> bool:
    """Whether the same command may be sent again after this error."""
    if isinstance(error, CommandTimeoutError):
        return False
    if isinstance(error, NetworkError):
        return not (only_if_unsent and error.sent)
    if not isinstance(error, ApiError):
        return False
    if only_if_unsent:
        return error.status == 429
    return error.status in _RETRIED or error.status >= 500


def asked_wait_s(status: int, headers: Mapping[str, str]) -> float | None:
    """The least wait an answer asks for, in seconds; None if it asks for none.

    ``Retry-After`` counts on every status, in seconds or as a date beside the answer's own
    ``Date``; ``x-ratelimit-reset`` on 429 only, because other answers carry it routinely.
    """
    waits = [_retry_after_s(headers.get("retry-after"), headers.get("date"))]
    if status == 429:
        waits.append(_seconds(headers.get("x-ratelimit-reset")))
    asked = [wait_s for wait_s in waits if wait_s is not None]
    return max(asked, default=None)


def _retry_after_s(value: str | None, date: str | None) -> float | None:
    seconds = _seconds(value)
    if seconds is not None or value is None or date is None:
        return seconds
    try:
        wait = parsedate_to_datetime(value) - parsedate_to_datetime(date)
    except (ValueError, TypeError):  # TypeError: one of them names no time zone
        return None
    return max(0.0, wait.total_seconds())


def _seconds(value: str | None) -> float | None:
    """A plain decimal number; signs, exponents, ``nan`` and other digits are no number here."""
    text = (value or "").strip()
    if not text.isascii() or not text.replace(".", "", 1).isdigit():
        return None
    return float(text)
