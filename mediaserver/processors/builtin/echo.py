"""Built-in ``echo``: callers hear themselves."""

from __future__ import annotations

from mediaserver.media.frames import Frame
from mediaserver.processors.api import Call, Filter


class Echo(Filter):
    """Plays every frame back as it comes; a filter, so that a frame costs no task switch."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self._play = call.play_live

    def process(self, frame: Frame) -> Frame:
        """Send the caller's own audio back; pass the frame on."""
        if frame.track == "inbound":
            play = self._play  # hot path: bound once, see docs/architecture.md
            play(frame.samples, frame.rate)
        return frame
