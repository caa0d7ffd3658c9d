"""Where WebSocket frames end, and how they begin (RFC 6455, 5.2). Pure."""

from __future__ import annotations

from websockets.frames import Opcode

_KNOWN_OPCODES = frozenset(Opcode)


def frame_end(data: bytes | bytearray, at: int, end: int, max_bytes: int) -> int:
    """Where the frame that begins at ``at`` ends; more than ``end`` if octets are missing.

    A head that ``ServerProtocol`` refuses without seeing the payload ends at ``end``, so that it
    is given over at once: an unknown opcode, no mask, or more than ``max_bytes``.

    Source: RFC 6455, 5.2.
    """
    if end - at < 2:
        return at + 2
    opcode, second = data[at] & 0x0F, data[at + 1]
    if opcode not in _KNOWN_OPCODES or not second & 0x80:
        return end
    n = second & 0x7F
    body = at + 6
    if n >= 126:
        width = 2 if n == 126 else 8
        body += width
        if end < at + 2 + width:
            return at + 2 + width
        n = int.from_bytes(data[at + 2 : at + 2 + width], "big")
    if n > max_bytes:
        return end
    return body + n


def text_head(n: int) -> bytes:
    """The head of an unmasked text frame whose payload has ``n`` octets (RFC 6455, 5.2)."""
    if n < 126:
        return b"\x81%c" % n
    if n < 65536:
        return b"\x81\x7e" + n.to_bytes(2, "big")
    return b"\x81\x7f" + n.to_bytes(8, "big")
