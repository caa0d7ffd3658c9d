"""The exception tree: one root, the blame in the type."""

from __future__ import annotations


class MediaServerError(Exception):
    """Root of every error this package raises on purpose."""


class ConfigurationError(MediaServerError):
    """A setting, flag or processor name of ours cannot be used; one clear line."""


class AudioFormatError(MediaServerError, ValueError):
    """Audio that cannot be played: not one-dimensional int16, or a rate there is not."""


class CallEndedError(MediaServerError):
    """The call is over, so it can no longer be played to or commanded."""


class ListenOnlyError(MediaServerError):
    """The call is forked: it can be heard, and nothing can be sent into it."""


LISTEN_ONLY = "this call is forked: it can be heard, and nothing can be sent into it"


class PeerError(MediaServerError):
    """The far end broke a rule of the protocol."""
