"""What the calls say, in each codec, and how long a reply is."""

from __future__ import annotations

import base64
import functools
from typing import NamedTuple

import numpy as np

from mediaserver.bench.load.wire import Form
from mediaserver.carrier import CallPlan
from mediaserver.carrier.measure import compare
from mediaserver.carrier.plan import Audio, at_rate
from mediaserver.carrier.script import voices
from telephony_codecs import CodecError, Int16Array, codec

EXACT = ("PCMU", "PCMA", "L16")
"""Codecs whose audio comes back as it was sent, bit for bit, from an echo in the same codec."""
LEAST_SNR_DB = 3.0
"""Speech that went through two lossy codecs is still this like what was sent; another is not."""
_MINUS_ZERO, _ZERO = b"\x7f", b"\xff"
# Milliseconds of a frame, by the four ranges of configurations in an Opus packet (RFC 6716, 3.1).
_SILK, _HYBRID, _CELT = (10, 20, 40, 60), (10, 20), (2.5, 5, 10, 20)


class Voice(NamedTuple):
    """One codec's part of the load.

    Attributes:
        form: what ``start`` says.
        payloads: 20 ms each, which calls repeat.
        payloads_base64: the same.
        returns: codec of the replies.
        rate_hz: and its audio's rate.
        is_exact: they hold the very octets that were sent.
    """

    form: Form
    payloads: tuple[bytes, ...]
    payloads_base64: tuple[bytes, ...]
    returns: str
    rate_hz: int
    is_exact: bool

    def length_ms(self, payload: bytes) -> float:
        """How much audio a reply holds."""
        if self.returns == "OPUS":
            return opus_ms(payload)
        if self.returns == "L16":
            return len(payload) * 500 / self.rate_hz
        return len(payload) / 8  # G.711 and G.722 alike: 64 kbit/s

    def unlike(self, first: int, returned: list[bytes]) -> str | None:
        """What is wrong with replies to the payloads from number ``first`` on; None: nothing."""
        decoder = codec(self.form.encoding).decoder(self.form.rate_hz)
        sent = [self.payloads[(first + n) % len(self.payloads)] for n in range(len(returned))]
        try:
            back = _decoded(codec(self.returns).decoder(self.rate_hz), returned)
        except CodecError as error:
            return f"a reply is no {self.returns}: {error}"
        said = Audio(_decoded(decoder, sent), decoder.rate_hz)
        likeness = compare(at_rate(said, self.rate_hz), back, self.rate_hz)
        if likeness.snr_db is not None and likeness.snr_db < LEAST_SNR_DB:
            return f"what came back is not what was said: {likeness.snr_db:.1f} dB alike"
        return None


def _decoded(decoder: object, payloads: list[bytes]) -> Int16Array:
    return np.concatenate([np.zeros(0, np.int16), *(decoder.decode(each) for each in payloads)])  # type: ignore[attr-defined]  # a Decoder


@functools.cache
def voice(name: str) -> Voice:
    """Return what calls of ``CODEC`` or ``CODEC>CODEC`` (from the caller, back to them) say.

    Raises:
        CodecError: this machine lacks a codec, or there is none of that name.
    """
    there, _, back = name.partition(">")
    if not back and there == "AMR-WB":
        back = "G722"  # the cheaper of the two that any machine can encode
    plan = CallPlan(codec=there, send_codec=back or None)
    codec(plan.out_codec).encoder(plan.out_rate_hz)
    (payloads,) = (lap for track, lap in voices(plan).items() if track == "inbound")
    if there == "PCMU":
        # Minus zero has no linear value of its own: an echo through linear PCM gives back zero.
        payloads = tuple(each.replace(_MINUS_ZERO, _ZERO) for each in payloads)
    payloads = payloads[:-1]  # the last one may be padded, or short
    form = Form(there, plan.in_rate_hz, plan.start_parameters)
    same = (there, plan.in_rate_hz) == (plan.out_codec, plan.out_rate_hz)
    in_base64 = tuple(base64.b64encode(each) for each in payloads)
    exact = same and there in EXACT
    return Voice(form, payloads, in_base64, plan.out_codec, plan.out_rate_hz, exact)


def opus_ms(packet: bytes) -> float:
    """How much audio an Opus packet holds, by its first octets; an empty one holds none."""
    if not packet:
        return 0.0
    config, code = packet[0] >> 3, packet[0] & 3
    if config < 12:
        frame_ms: float = _SILK[config % 4]
    elif config < 16:
        frame_ms = _HYBRID[config % 2]
    else:
        frame_ms = _CELT[config % 4]
    n_frames = (packet[1] & 63 if len(packet) > 1 else 0) if code == 3 else min(code + 1, 2)
    return frame_ms * n_frames
