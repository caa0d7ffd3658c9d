"""What works on this machine, and how to get what does not."""

from __future__ import annotations

from typing import NamedTuple

from telephony_codecs.errors import CodecUnavailableError
from telephony_codecs.registry import CODECS, Registry


class Availability(NamedTuple):
    """One direction of one codec on this machine.

    Attributes:
        codec: wire name.
        direction: ``"decode"`` or ``"encode"``.
        available: it works here.
        reason: what is missing; empty where it works.
        remedy: how to get it, or what to use instead; empty where it works.
    """

    codec: str
    direction: str
    available: bool
    reason: str = ""
    remedy: str = ""


def status(registry: Registry = CODECS) -> list[Availability]:
    """Return what each codec can do here, two entries a codec, by making one of each."""
    found = []
    for name in registry.names():
        codec = registry.codec(name)
        for direction, make in (("decode", codec.decoder), ("encode", codec.encoder)):
            try:
                make()
            except CodecUnavailableError as error:
                found.append(Availability(name, direction, False, error.reason, error.remedy))
            else:
                found.append(Availability(name, direction, True))
    return found
