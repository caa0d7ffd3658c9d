"""The outbound half of a call in mp3 mode: whole clips as MP3 files, one message a second.

Telnyx plays the files of this mode in order and refuses more than one message a second. Between
two files there is a short gap: MP3 adds about 50 ms of silence at the beginning and at the end of
each. By so much `heard` may be ahead until a mark comes back.
"""

from __future__ import annotations

from mediaserver.errors import ConfigurationError
from mediaserver.media.frames import Int16Array
from mediaserver.media.playout.ledger import Play
from mediaserver.media.playout.playout import Playout
from mediaserver.media.playout.sink import PlayoutSink
from telephony_codecs import CodecError, codec

MESSAGE_EVERY_S = 1.05
"""Time between two messages: one second is required, the rest is for jitter."""


class Mp3Playout(Playout):
    """A `Playout` for mp3 mode: it plays whole clips.

    Each play is one MP3 file, or several of 30 s. Streamed and live audio is refused: it needs
    mode ``rtp``.
    """

    plays_clips_only = True

    def __init__(self, sink: PlayoutSink, *, rate_hz: int = 24000, bitrate_kbps: int = 64) -> None:
        """Encode at this rate; ConfigurationError where that is not possible."""
        try:
            encoder = codec("MP3").encoder(rate_hz, bitrate=bitrate_kbps)
        except CodecError as error:
            raise ConfigurationError(str(error)) from error
        super().__init__(encoder, sink, lead_s=None)
        self._direct = self._is_express = False  # every play goes through the queue
        self._message_at = float("-inf")

    def play(self, samples: Int16Array, rate_hz: int, now: float, *, live: bool = False) -> Play:
        """Queue one clip as `Playout.play`; ConfigurationError if it is live."""
        if live:
            raise ConfigurationError("mp3 mode plays whole clips; live audio needs mode rtp")
        return super().play(samples, rate_hz, now)

    def play_live(self, samples: Int16Array, rate_hz: int, now: float) -> None:
        """Raise ConfigurationError: live audio is never a whole file."""
        self.play(samples, rate_hz, now, live=True)

    def open(self, rate_hz: int, now: float, *, live: bool = False) -> Play:
        """Raise ConfigurationError: a file is sent as a whole."""
        raise ConfigurationError("mp3 mode plays whole clips; streamed audio needs mode rtp")

    def _has_message(self) -> bool:
        return self._backlog.n_ready > 0 or super()._has_message()

    def _send_at(self) -> float:
        return self._message_at

    def _make_ready(self, now: float) -> int:
        backlog = self._backlog
        backlog.fill(self._sizes.most, self._sizes.least, joined=False)
        if backlog.n_ready < self._sizes.most:
            # The clip has ended, and the next one does not join it.
            backlog.flush()
        self._message_at = now + MESSAGE_EVERY_S
        return max(min(backlog.n_ready, self._sizes.most), self._sizes.least)
