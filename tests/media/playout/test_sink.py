"""Each call of a playout sends one message to its sink."""

from __future__ import annotations

import numpy as np

from mediaserver.media.playout import Playout
from mediaserver.media.playout.sink import PlayoutSink
from telephony_codecs import codec


class Written:
    """What was sent, by kind."""

    def __init__(self) -> None:
        self.kinds: list[str] = []

    def send_media(self, payload: bytes) -> None:
        assert len(payload) == 160
        self.kinds.append("media")

    def send_mark(self, name: str) -> None:
        assert name
        self.kinds.append("mark")

    def send_clear(self) -> None:
        self.kinds.append("clear")


def test_a_sink_has_three_messages() -> None:
    """Audio with its mark behind it, then the end of it."""
    written = Written()
    sink: PlayoutSink = written
    playout = Playout(codec("PCMU").encoder(8000), sink)
    playout.play(np.zeros(160, np.int16), 8000, 0.0)
    playout.clear(0.001)
    assert written.kinds == ["media", "mark", "clear"]
