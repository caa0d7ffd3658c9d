"""What goes wrong with a speech service, as types."""

from __future__ import annotations

from mediaserver.errors import MediaServerError


class ServiceError(MediaServerError):
    """A speech service cannot be used, and this call has to go on without it.

    Attributes:
        service: its name.
        why: what happened, in words.
    """

    def __init__(self, service: str, why: str) -> None:
        super().__init__(f"{service}: {why}")
        self.service = service
        self.why = why


class ServiceDownError(ServiceError):
    """No connection, or no answer, for longer than a caller is to wait."""


class ServiceRefusedError(ServiceError):
    """It refuses us: a wrong key, a wrong model; trying again would not help."""
