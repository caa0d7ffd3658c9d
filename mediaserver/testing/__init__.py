"""For tests: stand-ins of speech services on this machine. See docs/testing.md."""

from __future__ import annotations

from mediaserver.testing.realtime import RealtimeService, Truncation
from mediaserver.testing.stand_in import StandIn
from mediaserver.testing.synthesis import SynthesisService, hum
from mediaserver.testing.transcription import TranscriptionService

__all__ = [
    "RealtimeService",
    "StandIn",
    "SynthesisService",
    "TranscriptionService",
    "Truncation",
    "hum",
]
