"""A telephone in the browser: a page whose microphone and ear are those of a fake Telnyx call."""

from __future__ import annotations

from mediaserver.phone.server import DEFAULT_PORT, PhoneServer

__all__ = ["DEFAULT_PORT", "PhoneServer"]
