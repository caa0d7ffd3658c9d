"""RFC 4867's packings: literals, round trips, and everything cut or changed."""

from __future__ import annotations

import random

import pytest

from telephony_codecs import PayloadError
from telephony_codecs.amrwb_framing import (
    FRAME_BITS,
    MAX_FRAMES,
    PACKINGS,
    Packing,
    frame_type,
    likely_packings,
    pack,
    read_storage,
    unpack,
)
from tests.telephony_codecs.audio import VECTORS

every_packing = pytest.mark.parametrize("packing", PACKINGS)
# Octets of speech by mode 0 to 8, comfort noise, lost, no data: RFC 4867, 3.6 and 5.3.
OCTETS = {0: 17, 1: 23, 2: 32, 3: 36, 4: 40, 5: 46, 6: 50, 7: 58, 8: 60, 9: 5, 14: 0, 15: 0}


def stored_frames() -> list[bytes]:
    """Return the frames of the speech vector."""
    return read_storage((VECTORS / "speech_12650.awb").read_bytes())


def random_frame(rng: random.Random, kind: int) -> bytes:
    """Return a frame of random quality and bits; any bits are a legal frame."""
    head = kind << 3 | rng.randrange(2) << 2
    padding = 8 * OCTETS[kind] - FRAME_BITS[kind]
    bits = rng.getrandbits(FRAME_BITS[kind]) << padding if OCTETS[kind] else 0
    return bytes([head]) + bits.to_bytes(OCTETS[kind], "big")


def random_frames(rng: random.Random, n_frames: int) -> list[bytes]:
    """Return frames of random types."""
    return [random_frame(rng, kind) for kind in rng.choices(list(OCTETS), k=n_frames)]


def test_a_20_ms_payload_at_12_65_looks_as_reported() -> None:
    """33 octets beginning with 0xF1: no mode requested, one frame, type 2 (protocol.md 2)."""
    payload = pack(stored_frames()[:1], "be")
    assert len(payload) == 33
    assert payload[0] == 0xF1


def test_bits_lie_where_rfc_4867_puts_them() -> None:
    """A comfort-noise frame (type 9, good) by hand, in all three packings."""
    frame = bytes.fromhex("4c 0123456789")
    assert pack([frame], "storage").hex() == "4c0123456789"
    assert pack([frame], "oa").hex() == "f04c0123456789"
    # 1111 | 0 1001 1 | 40 bits | 6 bits of padding
    bits = "1111" + "010011" + f"{0x0123456789:040b}" + "000000"
    assert pack([frame], "be") == int(bits, 2).to_bytes(7, "big")
    # Two frames, the second without data: F is set on the first only.
    bits = "1111" + "110011" + "011111" + f"{0x0123456789:040b}"
    assert pack([frame, b"\x7c"], "be") == int(bits, 2).to_bytes(7, "big")
    assert pack([frame, b"\x7c"], "oa").hex() == "f0cc7c0123456789"


@every_packing
@pytest.mark.parametrize("n_frames", [1, 2, 3, 25])
def test_what_is_packed_unpacks(packing: Packing, n_frames: int) -> None:
    """Frames of every type come back as they were, however many share a payload."""
    rng = random.Random(n_frames)
    for _ in range(50):
        frames = random_frames(rng, n_frames)
        assert unpack(pack(frames, packing), packing) == frames


@every_packing
def test_cut_and_lengthened_payloads_are_refused(packing: Packing) -> None:
    """A payload that lost or gained octets is never read as if it had not."""
    frames = stored_frames()[20:22]
    payload = pack(frames, packing)
    for n_octets in range(len(payload)):
        if packing == "storage" and n_octets == len(frames[0]):
            continue  # cut between its frames, a storage payload is a shorter one
        with pytest.raises(PayloadError):
            unpack(payload[:n_octets], packing)
    for extra in (b"\x80", bytes(1) + b"\xff", b"\x55" * 3):
        with pytest.raises(PayloadError):
            unpack(payload + extra, packing)


@pytest.mark.parametrize(
    ("payload", "packing"),
    [
        pytest.param("f0d400", "be", id="be: reserved frame type"),
        pytest.param("a0", "be", id="be: reserved mode requested"),
        pytest.param("f8", "be", id="be: contents never end"),
        pytest.param("f7e8", "be", id="be: padding set"),
        pytest.param("f154", "oa", id="oa: reserved header bits set"),
        pytest.param("a07c", "oa", id="oa: reserved mode requested"),
        pytest.param("f07d", "oa", id="oa: padding of contents set"),
        pytest.param("f0fc", "oa", id="oa: contents never end"),
        pytest.param("f054", "oa", id="oa: reserved frame type"),
        pytest.param("f0", "oa", id="oa: no contents"),
        pytest.param("fc", "storage", id="storage: first bit set"),
        pytest.param("7d", "storage", id="storage: padding set"),
        pytest.param("54", "storage", id="storage: reserved frame type"),
        pytest.param("", "storage", id="storage: empty"),
        pytest.param("", "be", id="be: empty"),
    ],
)
def test_malformed_payloads_are_refused(payload: str, packing: Packing) -> None:
    """Each rule of the RFC, broken alone."""
    with pytest.raises(PayloadError):
        unpack(bytes.fromhex(payload), packing)


@every_packing
def test_30_s_is_the_most(packing: Packing) -> None:
    """1500 frames in a payload are taken, one more is refused."""
    assert len(unpack(pack([b"\x7c"] * MAX_FRAMES, packing), packing)) == MAX_FRAMES
    with pytest.raises(PayloadError, match="more than 1500 frames"):
        unpack(pack([b"\x7c"] * (MAX_FRAMES + 1), packing), packing)


@every_packing
def test_no_frames_are_no_payload(packing: Packing) -> None:
    """Packing nothing gives nothing."""
    assert pack([], packing) == b""


def fitting(payload: bytes) -> Packing | None:
    """Return the first likely packing that the payload fits."""
    for packing in likely_packings(payload):
        try:
            unpack(payload, packing)
        except PayloadError:
            continue
        return packing
    return None


@every_packing
def test_the_packing_shows(packing: Packing) -> None:
    """One frame of any speech mode, or three of one, with any bits: detected at once."""
    rng = random.Random(9)
    for _ in range(2000):
        kind, n_frames = rng.randrange(9), rng.choice((1, 3))
        frames = [random_frame(rng, kind) for _ in range(n_frames)]
        assert fitting(pack(frames, packing)) == packing


def test_storage_files() -> None:
    """The vector holds 164 frames of 12.65 kbit/s; other files are refused."""
    frames = stored_frames()
    assert {(frame_type(frame), len(frame)) for frame in frames} == {(2, 33)}
    assert len(frames) == 164
    for wrong in (b"", b"#!AMR\n\x04", b"#!AMR-WB\n" + frames[0][:-1]):
        with pytest.raises(PayloadError):
            read_storage(wrong)
