"""How audio is cut into plays never shows on the wire, in any codec."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mediaserver.media.frames import Int16Array
from mediaserver.media.playout import Playout
from telephony_codecs import CodecUnavailableError, Encoder, codec, names

Tone = Callable[..., Int16Array]
CASES = [(name, rate_hz) for name in names() if name != "MP3" for rate_hz in codec(name).rates_hz]


class Wire:
    def __init__(self) -> None:
        self.payloads: list[bytes] = []

    def send_media(self, payload: bytes) -> None:
        self.payloads.append(payload)

    def send_mark(self, name: str) -> None:
        pass

    def send_clear(self) -> None:
        pass


def make_encoder(name: str, rate_hz: int) -> Encoder:
    try:
        return codec(name).encoder(rate_hz)
    except CodecUnavailableError as error:
        pytest.skip(str(error))


def send(encoder: Encoder, pieces: list[Int16Array], rate_hz: int, lead_s: float | None) -> Wire:
    """Play the pieces at once, let virtual time pass to the end."""
    wire = Wire()
    playout = Playout(encoder, wire, lead_s=lead_s)
    for piece in pieces:
        playout.play(piece, rate_hz, 0.0)
    now = 0.0
    while playout.next_at is not None:
        now = max(now, playout.next_at)
        playout.tick(now)
    return wire


def content(name: str, rate_hz: int, wire: Wire) -> list[bytes] | bytes:
    """What must be equal: packets, frames or octets, whatever messages they came in."""
    if name == "OPUS":
        return wire.payloads
    if name == "AMR-WB":
        decoder = codec(name).decoder(rate_hz)
        return b"".join(decoder.decode(payload).tobytes() for payload in wire.payloads)
    return b"".join(wire.payloads)


def speech_like(rate_hz: int) -> Int16Array:
    """A gliding tone in noise: nothing in it repeats."""
    t = np.arange(round(0.75 * rate_hz)) / rate_hz
    rng = np.random.default_rng(7)
    audio = 8000 * np.sin(2 * np.pi * (200 + 900 * t) * t) + 300 * rng.standard_normal(len(t))
    out: Int16Array = np.rint(audio).astype(np.int16)
    return out


@pytest.mark.parametrize("in_hz", [None, 24000])
@pytest.mark.parametrize(("name", "rate_hz"), CASES)
def test_a_clip_in_pieces_equals_the_whole(name: str, rate_hz: int, in_hz: int | None) -> None:
    """One array, 20 ms arrays, random pieces: equal payloads but for the last message."""
    encoder = make_encoder(name, rate_hz)
    in_hz = in_hz or encoder.rate_hz
    audio = speech_like(in_hz)
    audio = audio[: len(audio) - 37]
    rng = np.random.default_rng(3)
    cuts = np.sort(rng.integers(0, len(audio), 25))
    ways = [[audio], np.split(audio, range(in_hz // 50, len(audio), in_hz // 50))]
    ways += [np.split(audio, cuts)]
    wires = [send(make_encoder(name, rate_hz), way, in_hz, 0.2) for way in ways]
    heard = [content(name, rate_hz, wire) for wire in wires]
    assert heard[0] == heard[1] == heard[2]
    # The resampler's delay and the padding, nothing else, is added.
    n_sent = sum(len(payload) for payload in wires[0].payloads) if name == "L16" else 0
    if n_sent:
        assert 0 <= n_sent / 2 / rate_hz - len(audio) / in_hz < 0.025


@pytest.mark.parametrize(("name", "rate_hz"), CASES)
def test_every_message_keeps_to_its_codecs_limits(name: str, rate_hz: int) -> None:
    """Whatever the lead, a message is a multiple of the unit, 20 ms at least, never too long."""

    class Checked:
        def __init__(self, inner: Encoder) -> None:
            self.codec, self.rate_hz = inner.codec, inner.rate_hz
            self.delay_samples = inner.delay_samples
            self.unit_samples, self.max_samples = inner.unit_samples, inner.max_samples
            self.inner = inner
            self.sizes: list[int] = []

        def encode(self, samples: Int16Array) -> bytes:
            self.sizes.append(len(samples))
            return self.inner.encode(samples)

        def silence(self, n_samples: int) -> bytes:
            return self.inner.silence(n_samples)

        def reset(self) -> None:
            self.inner.reset()

    for lead_s in (0.2, None):
        encoder = Checked(make_encoder(name, rate_hz))
        send(encoder, [speech_like(encoder.rate_hz)[:-11]], encoder.rate_hz, lead_s)
        assert all(n % encoder.unit_samples == 0 for n in encoder.sizes)
        assert min(encoder.sizes) >= encoder.rate_hz // 50
        assert max(encoder.sizes) <= encoder.max_samples


@pytest.mark.parametrize(("name", "rate_hz"), CASES)
def test_after_a_clear_the_wire_is_as_new(name: str, rate_hz: int) -> None:
    """No history of encoder or resampler crosses a clear, in any codec."""
    encoder = make_encoder(name, rate_hz)
    clip = speech_like(24000)
    wire = Wire()
    playout = Playout(encoder, wire)
    playout.play(clip, 24000, 0.0)
    playout.tick(0.1)
    assert playout.clear(0.15)[0].state == "cleared"
    wire.payloads.clear()
    playout.play(clip[5000:], 24000, 1.0)
    now = 1.0
    while playout.next_at is not None:
        now = max(now, playout.next_at)
        playout.tick(now)
    fresh = send(make_encoder(name, rate_hz), [clip[5000:]], 24000, 0.2)
    assert wire.payloads == fresh.payloads
