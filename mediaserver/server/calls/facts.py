"""What is known of a call: the one value that its session and all its views read."""

from __future__ import annotations

import time

import msgspec

from mediaserver.observer import StreamRequest
from mediaserver.server.calls.audio.formats import Formats
from mediaserver.wire.messages import Start


class CallFacts:
    """What ``start`` said, and what was made of it; renewed when another socket takes over.

    Args:
        call_id: Telnyx's ``call_control_id``, or what stands in for it.
        start: the message that began the stream.
        formats: codec and rate each way.
        request: what to ask for to have such a stream again.

    Attributes:
        started_at: unix seconds.
    """

    def __init__(
        self, call_id: str, start: Start, formats: Formats, request: StreamRequest
    ) -> None:
        self.call_id = call_id
        self.started_at = time.time()
        self.takeovers = 0
        self.start = start
        self.formats = formats
        self.request = request

    def renew(self, start: Start, formats: Formats) -> None:
        """Another socket brought another ``start``; the chain stays, and so what selected it."""
        self.takeovers += 1
        self.start = start
        self.formats = formats
        self.request = msgspec.structs.replace(
            self.request,
            send_codec=formats.send_codec,
            send_rate=formats.send_rate,
            send_mode=formats.send_mode,
        )
