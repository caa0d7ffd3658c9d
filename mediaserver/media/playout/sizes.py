"""How long messages are, and how far ahead of the peer's playout they are sent."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from telephony_codecs import Encoder

LIVE_LEAD_S = 0.16
"""How far live audio may go ahead, or four of its messages if that is more.

What came late waits there and not here, so that a second stall finds the peer with something to
play. It is less than the usual ``backlog_s``: what is too late is dropped here, the oldest first.
"""
IN_TIME_S = 0.04
"""While the peer has no more left than this, or two messages, live audio is not late."""
MIN_MESSAGE_S = 0.02
# Durations are summed as floats: a rounding error must not delay a message.
EPSILON_S = 1e-6
# A remainder is sent so long before an underrun: time for a late tick and for jitter.
_MARGIN_S = 0.04


@dataclass(frozen=True, slots=True)
class Sizes:
    """Message lengths in samples at the encoder's rate, and leads in seconds.

    Attributes:
        least: shortest message: 20 ms, in whole units of the encoder.
        least_s: the same in seconds.
        most: longest.
        live: of live audio.
        clip: of other audio.
        in_time_s: live audio is not late while the peer has so much left to play, or less.
        live_slack_s: a live message is sent when it has so much left, or less.
        live_room_s: the same if newer audio has just come: then as much as live audio may have.
        clip_slack_s: the same for other audio.
        margin_s: a remainder is sent so long before the peer has nothing left.
    """

    least: int
    least_s: float
    most: int
    live: int
    clip: int
    in_time_s: float
    live_slack_s: float
    live_room_s: float
    clip_slack_s: float
    margin_s: float

    @classmethod
    def of(
        cls, encoder: Encoder, lead_s: float | None, message_s: float, clip_message_s: float
    ) -> Sizes:
        """Return the sizes for an encoder; ``lead_s`` None: no limit, 30 s a message."""
        unit = encoder.unit_samples
        most = encoder.max_samples // unit * unit
        return _sizes(encoder.rate_hz, unit, most, lead_s, message_s, clip_message_s)


@cache  # one object for all calls of a format: it stays in the CPU's cache
def _sizes(
    rate_hz: int,
    unit: int,
    most: int,
    lead_s: float | None,
    message_s: float,
    clip_message_s: float,
) -> Sizes:
    least = -(-rate_hz // 50 // unit) * unit

    def whole(seconds: float) -> int:
        """A message of about this length that the encoder can take."""
        return max(min(round(seconds * rate_hz) // least * least, most), least)

    clip_s = 30.0 if lead_s is None else min(clip_message_s, max(lead_s / 2, MIN_MESSAGE_S))
    live, clip = whole(message_s), whole(clip_s)
    lead = float("inf") if lead_s is None else lead_s
    live_s = live / rate_hz
    live_lead_s = min(max(LIVE_LEAD_S, 4 * live_s), lead)
    clip_slack_s = max(lead - clip / rate_hz, 0) + EPSILON_S
    return Sizes(
        least=least,
        least_s=least / rate_hz,
        most=most,
        live=live,
        clip=clip,
        in_time_s=min(max(IN_TIME_S, 2 * live_s), max(live_lead_s - 2 * live_s, 0)) + EPSILON_S,
        live_slack_s=max(live_lead_s - 2 * live_s, 0) + EPSILON_S,
        live_room_s=max(live_lead_s - live_s, 0) + EPSILON_S,
        clip_slack_s=clip_slack_s,
        margin_s=min(_MARGIN_S, clip_slack_s),
    )
