"""What goes into one call: queued, paced, encoded, and what the caller heard of it."""

from __future__ import annotations

from mediaserver.media.playout.ledger import NOTHING_SENT, Outcome, Play, PlayoutSink, Tally
from mediaserver.media.playout.mp3 import Mp3Playout
from mediaserver.media.playout.playout import Playout

__all__ = ["NOTHING_SENT", "Mp3Playout", "Outcome", "Play", "Playout", "PlayoutSink", "Tally"]
