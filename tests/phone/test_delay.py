"""How long it takes until a caller hears themselves."""

from __future__ import annotations

import numpy as np
import pytest

from mediaserver.carrier.plan import at_rate, speech
from mediaserver.phone.delay import EchoDelay
from telephony_codecs import Int16Array, codec


def feed(delay: EchoDelay, said: Int16Array, heard: Int16Array, rate_hz: int) -> None:
    """As a call does, 20 ms of each at a time."""
    n = rate_hz // 50
    for at in range(0, len(said), n):
        delay.said(said[at : at + n])
        delay.heard(heard[at : at + n])


def later(samples: Int16Array, seconds: float, rate_hz: int) -> Int16Array:
    return np.pad(samples, (round(seconds * rate_hz), 0))[: len(samples)]


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 24_000, 48_000])
@pytest.mark.parametrize("delay_s", [0.0, 0.02, 0.3, 1.2])
def test_an_echo_is_found(rate_hz: int, delay_s: float) -> None:
    """Its delay is right to a millisecond, at every rate of a call."""
    said = at_rate(speech(), rate_hz)[: 5 * rate_hz]
    delay = EchoDelay(rate_hz, rate_hz)
    feed(delay, said, later(said, delay_s, rate_hz), rate_hz)
    found = delay.look()
    assert found is not None
    assert abs(found - delay_s) < 0.001


def test_an_echo_through_a_codec_half_as_loud_is_one() -> None:
    """µ-law twice and half the loudness change nothing."""
    said = at_rate(speech(), 8000)[:40_000]
    decoded = codec("PCMU").decoder().decode(codec("PCMU").encoder().encode(said))
    delay = EchoDelay(8000, 8000)
    feed(delay, said, later(decoded // 2, 0.1, 8000), 8000)
    found = delay.look()
    assert found is not None
    assert abs(found - 0.1) < 0.001


def test_what_is_no_echo_has_no_delay() -> None:
    """Silence, other speech, a call that has just begun."""
    said = at_rate(speech(), 8000)[:32_000]
    other = at_rate(speech(), 8000)[32_000:64_000]
    for heard in (np.zeros_like(said), other, said[:0]):
        delay = EchoDelay(8000, 8000)
        assert delay.look() is None
        feed(delay, said, heard, 8000)
        assert delay.look() is None
