"""The fake Telnyx's forks: a call's RTP, copied to UDP addresses."""

from __future__ import annotations

from mediaserver.carrier.fork.sender import ForkedTrack, send_fork, send_tracks

__all__ = ["ForkedTrack", "send_fork", "send_tracks"]
