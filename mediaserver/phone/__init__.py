"""A telephone in the browser: its microphone and loudspeaker are in a call of the fake Telnyx."""

from __future__ import annotations

from mediaserver.phone.server import DEFAULT_PORT, PhoneServer

__all__ = ["DEFAULT_PORT", "PhoneServer"]
