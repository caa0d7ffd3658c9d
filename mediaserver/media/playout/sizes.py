"""How long messages are, and how far ahead of the far end they go."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from telephony_codecs import Encoder

LIVE_LEAD_S = 0.08
"""How far live audio may go ahead, or four of its messages if that is more."""
MIN_MESSAGE_S = 0.02
# Sums of durations in floats: a rounding error must not cost a message its turn.
EPSILON_S = 1e-6
# How long before the far end runs dry a rest is sent: a tick late and a jolt on the way.
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
        live_slack_s: a live message goes when the far end runs dry in so much or less.
        live_room_s: the same where newer audio has just come: as far ahead as live audio may.
        clip_slack_s: the same of other audio.
        margin_s: how long before the far end runs dry a rest goes.
    """

    least: int
    least_s: float
    most: int
    live: int
    clip: int
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


@cache  # one object for all calls of a format, so that it stays warm
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
        live_slack_s=max(live_lead_s - 2 * live_s, 0) + EPSILON_S,
        live_room_s=max(live_lead_s - live_s, 0) + EPSILON_S,
        clip_slack_s=clip_slack_s,
        margin_s=min(_MARGIN_S, clip_slack_s),
    )
