"""AMR-WB frames in and out of payloads: the three packings of RFC 4867.

A *frame* here is always in storage form (RFC 4867, 5.3): one octet ``0 FT(4) Q 0 0``, then
the speech bits, padded to whole octets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sized
from typing import Literal

from telephony_codecs.errors import PayloadError

Packing = Literal["be", "oa", "storage"]
PACKINGS: tuple[Packing, ...] = ("be", "oa", "storage")

STORAGE_MAGIC = b"#!AMR-WB\n"
FRAME_SAMPLES = 320
# A payload holds at most 30 s, each frame one octet and at most 477 bits.
MAX_FRAMES = 1500
MAX_FRAME_OCTETS = 61

# Bits by frame type: nine modes (6.60 to 23.85 kbit/s), comfort noise, lost, no data.
FRAME_BITS = dict(enumerate((132, 177, 253, 285, 317, 365, 397, 461, 477, 40))) | {14: 0, 15: 0}
SPEECH_LOST = 14
NO_DATA = 15
# Codec mode request "no request" (RFC 4867, 4.3.1), and the modes that may be requested.
NO_REQUEST = 15
REQUESTS = {*range(9), NO_REQUEST}

Toc = list[tuple[int, int]]


def frame_type(frame: bytes) -> int:
    """Return the frame type: 0–8 speech, 9 comfort noise, 14 lost, 15 no data."""
    return frame[0] >> 3 & 15


def frame_octets(kind: int) -> int:
    """Return the octets of a frame's bits, without its first octet; PayloadError if reserved."""
    if kind not in FRAME_BITS:
        raise PayloadError("AMR-WB", f"reserved frame type {kind}")
    return -(-FRAME_BITS[kind] // 8)


def unpack(payload: bytes, packing: Packing, max_frames: int = MAX_FRAMES) -> list[bytes]:
    """Return the frames of one payload, in storage form.

    Raises:
        PayloadError: not exactly such a payload, or one of more than ``max_frames``; padding
            bits must be zero.
    """
    if not payload:
        raise PayloadError("AMR-WB", "it is empty")
    max_octets = 1 + max_frames * MAX_FRAME_OCTETS
    if len(payload) > max_octets:
        raise PayloadError("AMR-WB", f"{len(payload)} octets, at most {max_octets}")
    return UNPACKERS[packing](payload, max_frames)


def check_room(frames: Sized, max_frames: int) -> None:
    """Raise PayloadError where one more frame would be too many."""
    if len(frames) >= max_frames:
        raise PayloadError("AMR-WB", f"more than {max_frames} frames")


def likely_packings(payload: bytes) -> tuple[Packing, ...]:
    """Return the packings to try on a payload, the most likely first.

    A payload that requests no mode begins with 1111, which no storage frame does. Any other
    is likelier stored than one that requests a mode, and at 23.85 kbit/s may fit both.
    """
    if payload and payload[0] >> 4 == NO_REQUEST:
        return ("be", "oa")
    return ("storage", "be", "oa")


def pack(frames: Iterable[bytes], packing: Packing) -> bytes:
    """Return one payload of frames in storage form; it requests no mode of the peer."""
    listed = list(frames)
    if packing == "storage" or not listed:
        return b"".join(listed)
    more = [0x80] * (len(listed) - 1) + [0]
    if packing == "oa":
        toc = bytes(frame[0] | bit for frame, bit in zip(listed, more, strict=True))
        return bytes([NO_REQUEST << 4]) + toc + b"".join(frame[1:] for frame in listed)
    bits, n_bits = NO_REQUEST, 4
    for frame, bit in zip(listed, more, strict=True):
        bits, n_bits = bits << 6 | (frame[0] | bit) >> 2, n_bits + 6
    for frame in listed:
        n_frame = FRAME_BITS[frame_type(frame)]
        speech = int.from_bytes(frame[1:], "big") >> (-n_frame % 8)
        bits, n_bits = bits << n_frame | speech, n_bits + n_frame
    return (bits << (-n_bits % 8)).to_bytes(-(-n_bits // 8), "big")


def read_storage(data: bytes) -> list[bytes]:
    """Return the frames of a single-channel AMR-WB file (RFC 4867, 5).

    Raises:
        PayloadError: no such file, or cut short.
    """
    if not data.startswith(STORAGE_MAGIC):
        raise PayloadError("AMR-WB", "not a storage file")
    # A file may hold any number of frames; each has an octet at least.
    return unpack_storage(data[len(STORAGE_MAGIC) :], len(data))


def unpack_storage(payload: bytes, max_frames: int) -> list[bytes]:
    """Return the frames of storage form that ``payload`` consists of."""
    frames: list[bytes] = []
    at = 0
    while at < len(payload):
        if payload[at] & 0x83:
            raise PayloadError("AMR-WB", "padding bits are set")
        check_room(frames, max_frames)
        end = at + 1 + frame_octets(payload[at] >> 3 & 15)
        frames.append(payload[at:end])
        at = end
    if at != len(payload):
        raise PayloadError("AMR-WB", "the last frame is cut short")
    return frames


def unpack_octet_aligned(payload: bytes, max_frames: int) -> list[bytes]:
    """Return the frames of an octet-aligned payload (RFC 4867, 4.4), without CRC or robust sort."""
    if payload[0] & 15 or payload[0] >> 4 not in REQUESTS:
        raise PayloadError("AMR-WB", "no octet-aligned header")
    heads: list[int] = []
    at, more = 1, 0x80
    while more:
        if at == len(payload) or payload[at] & 3:
            raise PayloadError("AMR-WB", "no octet-aligned table of contents")
        check_room(heads, max_frames)
        more = payload[at] & 0x80
        heads.append(payload[at] & 0x7F)
        at += 1
    frames = []
    for head in heads:
        end = at + frame_octets(head >> 3)
        frames.append(bytes([head]) + payload[at:end])
        at = end
    if at != len(payload):
        raise PayloadError("AMR-WB", "length and table of contents disagree")
    return frames


def unpack_bandwidth_efficient(payload: bytes, max_frames: int) -> list[bytes]:
    """Return the frames of a bandwidth-efficient payload (RFC 4867, 4.3)."""
    at, n_payload = 0, 8 * len(payload)

    def take(n_bits: int) -> int:
        nonlocal at
        begin, at = at, at + n_bits
        if at > n_payload:
            raise PayloadError("AMR-WB", "length and table of contents disagree")
        # Read only the octets that hold these bits, so that a long payload costs no more.
        octets = int.from_bytes(payload[begin >> 3 : at + 7 >> 3], "big")
        return octets >> (-at & 7) & (1 << n_bits) - 1

    if take(4) not in REQUESTS:
        raise PayloadError("AMR-WB", "no such mode to request")
    heads: list[int] = []
    more = True
    while more:
        check_room(heads, max_frames)
        head = take(6)
        more = head >= 0x20
        heads.append((head & 0x1F) << 2)
    frames = []
    for head in heads:
        n_octets, n_frame = frame_octets(head >> 3), FRAME_BITS[head >> 3]
        frames.append(bytes([head]) + (take(n_frame) << (-n_frame % 8)).to_bytes(n_octets, "big"))
    left = n_payload - at
    if left > 7 or take(left):
        raise PayloadError("AMR-WB", "octets or bits are left over")
    return frames


UNPACKERS: dict[Packing, Callable[[bytes, int], list[bytes]]] = {
    "be": unpack_bandwidth_efficient,
    "oa": unpack_octet_aligned,
    "storage": unpack_storage,
}
