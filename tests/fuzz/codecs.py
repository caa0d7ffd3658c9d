"""AMR-WB's packings, and every decoder."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from telephony_codecs import CodecUnavailableError, Decoder, Int16Array, PayloadError, codec
from telephony_codecs import amrwb_framing as framing
from telephony_codecs.amrwb_framing import FRAME_BITS, PACKINGS, Packing, pack, unpack
from tests.fuzz.harness import Target, more_work

MOST_PAYLOADS = 8


# AMR-WB framing.


class CountedInt(int):
    """A number whose shifts are counted as the words they move: no call shows them."""

    def __rshift__(self, n: int) -> int:
        more_work(self.bit_length() // 64)
        return int(self) >> n


framing.int = CountedInt  # type: ignore[attr-defined]  # found there before Python's own


def without_padding(frame: bytes) -> bytes:
    """A frame with zeros behind its speech bits."""
    n_padding = -FRAME_BITS[framing.frame_type(frame)] % 8
    return frame[:-1] + bytes([frame[-1] >> n_padding << n_padding]) if n_padding else frame


def packings(data: bytes) -> bool:
    """In each packing frames or a refusal; frames packed again are the payload."""
    taken = False
    for packing in PACKINGS:
        try:
            frames = unpack(data, packing)
        except PayloadError:
            continue
        taken = True
        assert 0 < len(frames) <= framing.MAX_FRAMES
        for frame in frames:
            kind = framing.frame_type(frame)
            assert len(frame) == 1 + framing.frame_octets(kind)
            assert not frame[0] & 0x83
        if packing == "storage" or data[0] >> 4 == framing.NO_REQUEST:
            assert pack(frames, packing) == data
        # Only bandwidth-efficient payloads have no padding in their frames.
        frames = [without_padding(frame) for frame in frames]
        for other in PACKINGS:
            assert unpack(pack(frames, other), other) == frames
    with suppress(PayloadError):
        framing.read_storage(framing.STORAGE_MAGIC + data)
    return taken


AMRWB_FRAMING = Target(packings, calls=2000, calls_per_octet=100.0, octets_per_octet=800.0)


# Decoders.


def tone(rate_hz: int, n_samples: int) -> Int16Array:
    turns = np.outer((140.0, 420.0, 980.0), np.arange(n_samples)) / rate_hz
    audio: Int16Array = (4000 * np.sin(2 * np.pi * turns).sum(axis=0)).astype(np.int16)
    return audio


def encoded(name: str, rate_hz: int, packing: Packing) -> bytes:
    """A good payload; of AMR-WB any bits are a frame."""
    if name == "AMR-WB":
        n_bits = FRAME_BITS[2]
        bits = random.Random(1).getrandbits(n_bits) << (-n_bits % 8)
        return pack([bytes([2 << 3 | 4]) + bits.to_bytes(32, "big")], packing)
    return codec(name).encoder(rate_hz).encode(tone(rate_hz, rate_hz // 50))


class OneDecoder:
    """A decoder in one way of configuring it.

    Args:
        name: of the codec.
        rate_hz: of its audio.
        per_octet: most samples that an octet of a payload may give.
        most: most samples that a payload may give.
        options: of the decoder.
    """

    def __init__(
        self, name: str, rate_hz: int, per_octet: float, most: int, **options: Any
    ) -> None:
        self.label = " ".join([name, str(rate_hz), *options.values()])
        self.make: Callable[[], Decoder] = lambda: codec(name).decoder(rate_hz, **options)
        self.per_octet, self.most = per_octet, most
        packing = options.get("packing", "be")
        self.good = encoded(name, rate_hz, "be" if packing == "auto" else packing)
        self.expected = self.make().decode(self.good)

    def feed(self, payloads: list[bytes], loss: int) -> bool:
        """Each is played or refused; behind all of it a good one is played as by a new one."""
        decoder, taken = self.make(), True
        for payload in payloads:
            n_lost = loss * 7 % 1000
            if loss & 1:
                assert len(decoder.conceal(n_lost)) == n_lost
            elif loss & 2:
                assert len(decoder.recover(payload, n_lost)) == n_lost
            taken &= self._decode(decoder, payload)
        assert len(decoder.decode(self.good)) == len(self.expected)
        decoder.reset()
        assert np.array_equal(decoder.decode(self.good), self.expected)
        return taken

    def _decode(self, decoder: Decoder, payload: bytes) -> bool:
        try:
            samples = decoder.decode(payload)
        except PayloadError:
            return False
        assert samples.dtype == np.int16
        assert samples.ndim == 1
        assert not samples.flags.writeable
        assert len(samples) <= min(self.most, self.per_octet * len(payload))
        return True


def every_decoder() -> list[OneDecoder]:
    """All that this machine has, in every configuration that reads payloads differently."""
    found = []
    for name, rate_hz, per_octet, most, options in (
        ("PCMU", 8000, 1, 240_000, {}),
        ("PCMA", 8000, 1, 240_000, {}),
        ("G722", 16000, 2, 480_000, {}),
        ("L16", 16000, 0.5, 480_000, {"byte_order": "auto"}),
        ("L16", 8000, 0.5, 240_000, {"byte_order": "big"}),
        # A packet of one octet may hold two frames of 60 ms in which nothing is.
        *(("OPUS", hz, 0.12 * hz, round(0.12 * hz), {}) for hz in codec("OPUS").rates_hz),
        # The shortest frame, no data, takes 6 bits.
        *(
            ("AMR-WB", 16000, 320 * 8 / 6, 480_000, {"packing": packing})
            for packing in ("auto", *PACKINGS)
        ),
    ):
        try:
            found.append(OneDecoder(name, rate_hz, per_octet, most, **options))
        except CodecUnavailableError as error:
            print(error)
    return found


DECODERS_HERE = every_decoder()


def payloads_of(data: bytes) -> list[bytes]:
    """Payloads, each behind its length in one octet; 255: all that is left."""
    found = []
    while data and len(found) < MOST_PAYLOADS:
        n = len(data) if data[0] == 255 else data[0]
        found.append(data[1 : 1 + n])
        data = data[1 + n :]
    return found


def decoders(data: bytes) -> bool:
    """The first octet chooses a decoder, the second what is lost."""
    if len(data) < 2:
        return False
    chosen = DECODERS_HERE[data[0] % len(DECODERS_HERE)]
    return chosen.feed(payloads_of(data[2:]), data[1])


DECODERS = Target(decoders, calls=4000, calls_per_octet=60.0, kib=4096, octets_per_octet=4000.0)
