"""Feed random and mutated payloads to every decoder.

Each payload must give int16 audio no longer than its codec allows, or PayloadError; then
the decoder must still play a good payload, and, reset, play it as a new one would.

    python benchmarks/fuzz_codecs.py --count 1000000

What this does NOT show
  - audio quality;
  - payloads that only a guided fuzzer would find;
  - memory that a C library reads out of bounds without a crash.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.parts import command
from telephony_codecs import CodecUnavailableError, Decoder, Int16Array, PayloadError, codec
from telephony_codecs.amrwb import Packing, pack
from telephony_codecs.amrwb_framing import FRAME_BITS

SPEECH_LIKE_HZ = (140.0, 420.0, 980.0)
CHECK_EVERY = 500


@dataclass
class Target:
    """One decoder under test.

    Attributes:
        name: codec and options.
        make: gives a new decoder.
        seeds: good payloads.
        allowed: payload length to the most samples it may give.
    """

    name: str
    make: Callable[[], Decoder]
    seeds: list[bytes]
    allowed: Callable[[int], int]
    outcomes: dict[str, int] = field(default_factory=dict)


def tone(rate_hz: int, n_samples: int) -> Int16Array:
    """Return something voiced that a speech codec has work with."""
    turns = np.outer(SPEECH_LIKE_HZ, np.arange(n_samples)) / rate_hz
    audio: Int16Array = (4000 * np.sin(2 * np.pi * turns).sum(axis=0)).astype(np.int16)
    return audio


def amrwb_seeds(rng: random.Random, packing: Packing) -> list[bytes]:
    """Return payloads of random bits in legal frames: any bits are a legal frame."""
    seeds = []
    for n_frames in (1, 1, 1, 2, 3):
        frames = []
        for kind in rng.choices(list(FRAME_BITS), k=n_frames):
            n_bits = FRAME_BITS[kind]
            padding = -n_bits % 8
            bits = rng.getrandbits(n_bits) << padding if n_bits else 0
            frames.append(bytes([kind << 3 | 4]) + bits.to_bytes((n_bits + padding) // 8, "big"))
        seeds.append(pack(frames, packing))
    return seeds


def encoded_seeds(name: str, rate_hz: int, **options: object) -> list[bytes]:
    """Return ten consecutive payloads of a tone."""
    encoder = codec(name).encoder(rate_hz, **options)
    n = encoder.unit_samples if name == "OPUS" else rate_hz // 50
    audio = tone(rate_hz, 10 * n)
    return [encoder.encode(audio[i : i + n]) for i in range(0, 10 * n, n)]


def targets(rng: random.Random) -> list[Target]:
    """Return every decoder in every way of configuring it that reads payloads differently."""

    def target(
        name: str, rate_hz: int, seeds: list[bytes], *, per: float = 0.0, **options: str
    ) -> Target:
        cap = int(0.12 * rate_hz) if name == "OPUS" else 30 * rate_hz

        def allowed(n_octets: int) -> int:
            return min(cap, int(n_octets * per)) if per else cap

        label = " ".join([name, str(rate_hz), *options.values()])
        return Target(label, lambda: codec(name).decoder(rate_hz, **options), seeds, allowed)

    found = [
        target("PCMU", 8000, encoded_seeds("PCMU", 8000), per=1),
        target("PCMA", 8000, encoded_seeds("PCMA", 8000), per=1),
        target("G722", 16000, encoded_seeds("G722", 16000), per=2),
        target("L16", 16000, encoded_seeds("L16", 16000), per=0.5, byte_order="auto"),
        target("L16", 8000, encoded_seeds("L16", 8000), per=0.5, byte_order="big"),
    ]
    for rate_hz in codec("OPUS").rates_hz:
        seeds = encoded_seeds("OPUS", rate_hz, fec=True, packet_loss_perc=20, bitrate=24000)
        seeds += encoded_seeds("OPUS", rate_hz, application="audio", frame_ms=10)
        seeds += encoded_seeds("OPUS", rate_hz, frame_ms=120)
        found.append(target("OPUS", rate_hz, seeds))
    for packing in ("be", "oa", "storage"):
        seeds = amrwb_seeds(rng, packing)
        # The shortest frame, no data, takes 6 bits of a payload.
        found.append(target("AMR-WB", 16000, seeds, per=320 * 8 / 6, packing=packing))
        found.append(target("AMR-WB", 16000, seeds, per=320 * 8 / 6, packing="auto"))
    return found


def mutate(rng: random.Random, seed: bytes) -> bytes:
    """Return a good payload with a few things wrong."""
    data = bytearray(seed)
    for _ in range(rng.randint(1, 4)):
        # Twice as likely to leave the length alone: many codecs refuse any other at once.
        way = rng.choice((0, 0, 0, 1, 1, 2, 3, 4))
        at = rng.randrange(len(data) + 1)
        if way == 0 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif way == 1 and data:
            data[at % len(data)] = rng.randrange(256)
        elif way == 2:
            del data[at:]
        elif way == 3:
            data[at:at] = rng.randbytes(rng.randint(1, 20))
        else:
            data += data[at:]
    return bytes(data)


def some_payload(rng: random.Random, seeds: list[bytes]) -> bytes:
    """Return random octets (rarely very many), a mutated payload, or a good one."""
    way = rng.random()
    if way < 0.001:
        return rng.randbytes(rng.choice((60_000, 240_001, 960_002, 1_000_000)))
    if way < 0.35:
        return rng.randbytes(rng.randint(0, 400))
    if way < 0.9:
        return mutate(rng, rng.choice(seeds))
    return rng.choice(seeds)


def feed(target: Target, decoder: Decoder, payload: bytes) -> str:
    """Decode one payload, hold the result to the contract, and name the outcome."""
    try:
        samples = decoder.decode(payload)
    except PayloadError:
        return "refused"
    assert samples.dtype == np.int16, target.name
    assert samples.ndim == 1, target.name
    assert not samples.flags.writeable, target.name
    assert len(samples) <= target.allowed(len(payload)), (target.name, payload.hex())
    return "played"


def feed_loss(rng: random.Random, decoder: Decoder, payload: bytes) -> None:
    """Conceal, or recover by whatever comes next, and check the length."""
    n_samples = rng.choice((1, 80, 160, 321, 960, 6000))
    if rng.random() < 0.5:
        assert len(decoder.conceal(n_samples)) == n_samples
    else:
        assert len(decoder.recover(payload, n_samples)) == n_samples


def run(target: Target, rng: random.Random, n_payloads: int) -> None:
    """Feed one decoder, checking every so often that it still plays as a new one does."""
    decoder = target.make()
    good = target.seeds[0]
    expected = target.make().decode(good)
    for i in range(n_payloads):
        payload = some_payload(rng, target.seeds)
        if rng.random() < 0.02:
            feed_loss(rng, decoder, payload)
        outcome = feed(target, decoder, payload)
        target.outcomes[outcome] = target.outcomes.get(outcome, 0) + 1
        if i % CHECK_EVERY == CHECK_EVERY - 1:
            assert len(decoder.decode(good)) == len(expected), target.name
            decoder.reset()
            assert np.array_equal(decoder.decode(good), expected), target.name


def main() -> int:
    """Run all targets; a broken promise ends it with the payload."""
    parser = command.parser(__doc__, {"count": 150})
    parser.add_argument("--count", type=int, default=1_000_000, help="payloads in all")
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers")
    arguments = parser.parse_args()
    command.print_opening(__doc__)
    rng = random.Random(arguments.seed)
    listed = targets(rng)
    for target in listed:
        begin = time.perf_counter()
        try:
            run(target, rng, -(-arguments.count // len(listed)))
        except CodecUnavailableError as error:
            print(f"{target.name:22} skipped: {error}")
            continue
        took = time.perf_counter() - begin
        print(f"{target.name:22} {target.outcomes} in {took:.1f} s", flush=True)
    total = sum(sum(t.outcomes.values()) for t in listed)
    print(f"{total} payloads, no broken promise")
    return 0


if __name__ == "__main__":
    sys.exit(main())
