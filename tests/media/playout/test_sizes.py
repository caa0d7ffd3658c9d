"""How long messages are, and how far ahead they go, as numbers.

Sizes are made once for each set of settings; the sets here are used nowhere else.
"""

from __future__ import annotations

import pytest

from mediaserver.media.playout.sizes import EPSILON_S, Sizes
from telephony_codecs import codec


def sizes(name: str, lead_s: float | None, message_s: float = 0.02, **options: object) -> Sizes:
    return Sizes.of(codec(name).encoder(**options), lead_s, message_s, 0.1)


def test_a_call_in_pcmu() -> None:
    """Messages of 20 ms live and 100 ms else; live audio goes 160 ms ahead, clips the lead."""
    found = sizes("PCMU", 0.21)
    assert (found.least, found.least_s, found.most) == (160, 0.02, 240_000)
    assert (found.live, found.clip) == (160, 800)
    assert found.in_time_s == pytest.approx(0.04 + EPSILON_S, abs=1e-9)
    assert found.live_slack_s == pytest.approx(0.12 + EPSILON_S, abs=1e-9)
    assert found.live_room_s == pytest.approx(0.14 + EPSILON_S, abs=1e-9)
    assert found.clip_slack_s == pytest.approx(0.11 + EPSILON_S, abs=1e-9)
    assert found.margin_s == 0.04


def test_without_a_lead_a_clip_is_one_message() -> None:
    """Thirty seconds fit in one, and it may always go."""
    found = sizes("L16", None, 0.021)
    assert (found.clip, found.most) == (480_000, 480_000)
    assert found.clip_slack_s == float("inf")
    assert found.margin_s == 0.04


@pytest.mark.parametrize(("lead_s", "clip_s"), [(0.15, 0.06), (0.05, 0.02), (0.01, 0.02)])
def test_a_short_lead_makes_short_messages(lead_s: float, clip_s: float) -> None:
    """A clip's message is half the lead at most, in whole 20 ms, and never below 20 ms."""
    found = sizes("PCMA", lead_s, 0.022)
    assert found.clip == round(clip_s * 8000)
    assert found.clip_slack_s == pytest.approx(max(lead_s - clip_s, 0) + EPSILON_S, abs=1e-9)
    assert found.margin_s == min(0.04, found.clip_slack_s)


def test_long_live_messages_go_four_of_them_ahead() -> None:
    """Messages of 60 ms: 240 ms ahead, where the lead allows it."""
    assert sizes("PCMU", 1.01, 0.06).live == 480
    assert sizes("PCMU", 1.01, 0.06).live_slack_s == pytest.approx(0.12 + EPSILON_S, abs=1e-9)
    assert sizes("PCMU", 0.11, 0.06).live_slack_s == EPSILON_S


def test_an_encoder_of_one_frame_length_sets_it() -> None:
    """OPUS in frames of 60 ms: each message is one, however short or long it is asked to be."""
    for message_s in (0.02, 0.5):
        found = sizes("OPUS", 0.23, message_s, frame_ms=60)
        assert (found.least, found.live, found.clip, found.most) == (960, 960, 960, 960)


def test_calls_of_one_format_share_their_sizes() -> None:
    """The same settings give the same object."""
    assert sizes("PCMU", 0.24) is sizes("PCMU", 0.24)
