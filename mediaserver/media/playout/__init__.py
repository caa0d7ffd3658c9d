"""What goes into one call: queued, paced, encoded, and what the caller heard of it."""

from __future__ import annotations

from mediaserver.media.playout.ledger import Cause, Outcome, Play
from mediaserver.media.playout.mp3 import Mp3Playout
from mediaserver.media.playout.playout import Playout
from mediaserver.media.playout.sink import DetachedSink, PlayoutSink
from mediaserver.media.playout.tally import NOTHING_SENT, Tally

__all__ = [
    "NOTHING_SENT",
    "Cause",
    "DetachedSink",
    "Mp3Playout",
    "Outcome",
    "Play",
    "Playout",
    "PlayoutSink",
    "Tally",
]
