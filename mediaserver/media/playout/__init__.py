"""What goes into one call: queued, paced, encoded, and what the caller heard of it."""

from __future__ import annotations

from mediaserver.media.playout.ledger import Outcome, Play, PlayoutSink
from mediaserver.media.playout.mp3 import Mp3Playout
from mediaserver.media.playout.playout import AudioError, Playout

__all__ = ["AudioError", "Mp3Playout", "Outcome", "Play", "Playout", "PlayoutSink"]
