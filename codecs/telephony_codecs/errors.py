"""What may go wrong in a codec, by whose fault it is: the peer's, the caller's, the platform's."""

from __future__ import annotations


class CodecError(Exception):
    """Root of everything this library raises on purpose."""


class PayloadError(CodecError):
    """The peer's fault: a payload that is not what its codec allows.

    The decoder that raised it stays usable.

    Attributes:
        codec: wire name of the codec.
        reason: what is wrong, without any of the payload's content.
    """

    def __init__(self, codec: str, reason: str) -> None:
        super().__init__(codec, reason)
        self.codec = codec
        self.reason = reason

    def __str__(self) -> str:
        return f"malformed {self.codec} payload: {self.reason}"


class AudioFormatError(CodecError, ValueError):
    """The caller's fault: audio, a rate or an option that the codec cannot take.

    Attributes:
        reason: what was wrong and what is accepted.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class UnknownCodecError(CodecError, KeyError):
    """No codec of that name is registered.

    Attributes:
        name: what was asked for.
        known: the names there are.
    """

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(name, known)
        self.name = name
        self.known = known

    def __str__(self) -> str:
        return f"unknown codec {self.name!r}; known: {', '.join(self.known)}"


class CodecUnavailableError(CodecError):
    """The codec is known, but this platform lacks what one direction needs.

    Attributes:
        codec: wire name of the codec; ``"clips"`` for files and their conversion.
        direction: what cannot be done, as ``"decode"`` or ``"encode"``.
        reason: what is missing.
        remedy: how to get it, or what to use instead.
    """

    def __init__(self, codec: str, direction: str, reason: str, remedy: str) -> None:
        super().__init__(codec, direction, reason, remedy)
        self.codec = codec
        self.direction = direction
        self.reason = reason
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.codec}: cannot {self.direction} here: {self.reason}; {self.remedy}"
