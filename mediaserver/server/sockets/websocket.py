"""The frames of one WebSocket after its handshake, server side, without I/O.

``websockets``' ``ServerProtocol`` knows RFC 6455; what it leaves to its user is
here: where a frame ends, fragments and their caps, UTF-8, a budget for pings.

Two paths, one meaning. The fast path takes a complete, masked, unfragmented text
frame while the connection is open and no fragmented message is under way: that is
99.9 % of a call's traffic. Everything else goes to ``ServerProtocol``, one complete
frame at a time, so it never holds half a frame. A differential test holds the two
to the same events, replies and close codes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Protocol

from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

try:
    # The compiled one; the pure one is a hundred times slower and just as right.
    from websockets.speedups import apply_mask
except ImportError:  # pragma: no cover - a platform without the wheel's C part
    from websockets.utils import apply_mask

MAX_MESSAGE_BYTES = 1 << 20
# A text longer than this is told apart: none of a call is, but for media at high rates.
LONG_TEXT_BYTES = (1 << 16) - 1
MAX_FRAGMENTS = 256
PINGS_PER_SECOND = 20

_BINARY_FIN = 0x82
_WHOLE = (0x81, _BINARY_FIN)  # text and binary, in one frame
_MASKED_126 = 0xFE
_MASKED_127 = 0xFF
# The first four octets of a frame as one number: a masked text frame whose length stands in
# 16 bits has this and the length of the whole, of which 8 octets are head.
_head_of = struct.Struct(">I").unpack_from
_PLAIN_HEAD = 0x81FE0000 - 8
_PLAIN_END = 65536 + 8
_KNOWN_OPCODES = frozenset(Opcode)


class Receiver(Protocol):
    """Who hears what comes out of the frames."""

    def text_received(self, data: bytes, now: float) -> None:
        """One complete text message, checked UTF-8."""

    def long_text_received(self, data: bytes, now: float) -> None:
        """The same, of more than ``LONG_TEXT_BYTES``."""

    def binary_received(self, now: float) -> None:
        """One complete binary message; its content is of no use to anybody."""


class WebSocketFrames:
    """One open WebSocket connection, frames in and frames out.

    Args:
        protocol: a ``ServerProtocol`` whose handshake is done (state OPEN).
        receiver: gets the messages.
        write: takes octets for the peer.
        end: told once that nothing more will be written.
        closing: told once that no message can be sent any more.
        fast: False sends every frame the slow way, for the differential test.

    Attributes:
        has_ponged: the peer has answered a ping.
        is_open: messages can be sent.
        max_message_bytes: of a longer message no part is kept to wait for the rest.
    """

    __slots__ = (
        "_closing",
        "_end",
        "_fast",
        "_fragments",
        "_fragments_bytes",
        "_fragments_opcode",
        "_has_pinged",
        "_held",
        "_may_be_fast",
        "_need",
        "_on_binary",
        "_on_long_text",
        "_on_text",
        "_ping_second",
        "_pings",
        "_plain",
        "_protocol",
        "_write",
        "has_ponged",
        "is_open",
        "max_message_bytes",
    )

    def __init__(
        self,
        protocol: ServerProtocol,
        receiver: Receiver,
        write: Callable[[bytes], None],
        end: Callable[[], None],
        closing: Callable[[], None],
        *,
        fast: bool = True,
    ) -> None:
        self._protocol = protocol
        self._on_text = receiver.text_received
        self._on_long_text = receiver.long_text_received
        self._on_binary = receiver.binary_received
        self._write = write
        self._end = end
        self._closing = closing
        self._may_be_fast = fast
        # The fast path's whole condition, kept up to date by the slow one; and the same for
        # a read that is one frame, which must not be the rest of another.
        self._fast = self._plain = fast
        self.is_open: bool = True
        self._has_pinged = False
        self.has_ponged: bool = False
        self.max_message_bytes: int = MAX_MESSAGE_BYTES
        self._held = bytearray()  # an incomplete frame
        self._need = 0  # its length, as far as known
        self._fragments: list[bytes] = []
        self._fragments_bytes = 0
        self._fragments_opcode: Opcode | None = None
        self._ping_second = 0.0
        self._pings = 0

    @property
    def close_code(self) -> int:
        """The close code that came or went first; 1006 where none did."""
        close = self._close_frame
        return int(close.code) if close is not None else int(CloseCode.ABNORMAL_CLOSURE)

    @property
    def close_reason(self) -> str:
        """The reason beside the close code."""
        close = self._close_frame
        return close.reason if close is not None else ""

    @property
    def _close_frame(self) -> Close | None:
        protocol = self._protocol
        if protocol.close_rcvd_then_sent or protocol.close_sent is None:
            return protocol.close_rcvd
        return protocol.close_sent

    def receive(self, data: bytes, now: float) -> None:
        """Take what the socket read; messages go to the receiver at once."""
        # A read that is one plain text frame, as nearly every one is.
        n = len(data)
        if 8 <= n < _PLAIN_END and self._plain and _head_of(data)[0] == _PLAIN_HEAD + n:
            text = apply_mask(data[8:], data[4:8])
            if text.isascii():
                on_text = self._on_text  # hot path: bound once, see docs/architecture.md
                on_text(text, now)
                return
        self._receive_any(data, now)
        self._plain = self._fast and not self._held

    def _receive_any(self, data: bytes | bytearray, now: float) -> None:
        """Take a read that may be anything."""
        if self._held:
            self._held += data
            if len(self._held) < self._need:
                return
            data, self._held = self._held, bytearray()  # handed on, not copied: it may be 1 MiB
        at, end = 0, len(data)
        while at < end:
            if self._fast and data[at] in _WHOLE:
                after = self._whole_frame(data, at, end, now)
                if after:
                    at = after
                    continue
            after = frame_end(data, at, end, self.max_message_bytes - self._fragments_bytes)
            if after > end:
                self._held += data[at:]
                self._need = after - at
                return
            self._slow(data[at:after], now)
            if self._protocol.eof_sent:
                return  # closed or failed: RFC 6455 discards the rest
            at = after

    def receive_eof(self) -> None:
        """The peer sends no more."""
        if not self._protocol.reader.eof:
            self._protocol.receive_eof()
        self._settle()

    def connection_lost(self) -> None:
        """There is nobody to write to any more."""
        self._write, self._end = _ignore, _ignore_end
        self.receive_eof()

    def send_text(self, text: bytes) -> bool:
        """Send one text message; False when the connection is closing."""
        if not self.is_open:
            return False
        self._write(text_head(len(text)) + text)
        return True

    def limit_messages(self, n_bytes: int) -> None:
        """From now on a message of more octets is refused by its head, unless it came whole."""
        self.max_message_bytes = self._protocol.max_message_size = n_bytes

    def ping(self) -> None:
        """Ask the peer for a sign of life."""
        if self.is_open:
            self._has_pinged = True
            self._protocol.send_ping(b"")
            self._settle()

    def close(self, code: int, reason: str = "") -> None:
        """Begin the closing handshake; does nothing when it has begun."""
        if self.is_open:
            # RFC 6455, 5.5: a control frame carries at most 125 octets.
            self._protocol.send_close(code, reason.encode()[:123].decode(errors="ignore"))
            self._settle()

    def fail(self, code: int, reason: str) -> None:
        """Close for the peer's fault: our close frame, then the end of stream.

        What the peer still sends is not looked at.
        """
        self._fail(code, reason.encode()[:123].decode(errors="ignore"))

    def _whole_frame(self, data: bytes | bytearray, at: int, end: int, now: float) -> int:
        """Deliver the message in one frame at ``at``; its end, or 0 if it is none."""
        if end - at < 8:
            return 0
        n = data[at + 1]
        body = at + 6
        if n == _MASKED_126:
            n = data[at + 2] << 8 | data[at + 3]
            body = at + 8
        elif 0x80 <= n < _MASKED_126:
            n -= 0x80
        elif n == _MASKED_127:
            n = int.from_bytes(data[at + 2 : at + 10], "big")
            body = at + 14
        else:
            return 0
        after = body + n
        if after > end or n > MAX_MESSAGE_BYTES:
            return 0
        if data[at] == _BINARY_FIN:
            self._on_binary(now)
            return after
        if n > LONG_TEXT_BYTES:  # a view: a copy more of what may be 1 MiB counts
            masked: bytes | bytearray | memoryview = memoryview(data)[body:after]
        else:
            masked = data[body:after]
        self._deliver(apply_mask(masked, data[body - 4 : body]), now)
        return after

    def _deliver(self, text: bytes, now: float) -> None:
        if not (text.isascii() or _is_utf8(text)):
            self._fail(CloseCode.INVALID_DATA, "text is not UTF-8")
        elif len(text) > LONG_TEXT_BYTES:
            self._on_long_text(text, now)
        else:
            self._on_text(text, now)

    def _slow(self, frame: bytes | bytearray, now: float) -> None:
        """Give one complete frame to ``ServerProtocol`` and act on what it says."""
        if frame[0] & 0x0F in (Opcode.PING, Opcode.PONG) and not self._ping_allowed(now):
            self._fail(CloseCode.POLICY_VIOLATION, "too many pings")
            return
        self._protocol.receive_data(frame)
        self._settle()
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._frame_received(event, now)
        self._fast = self._may_be_fast and self.is_open and self._fragments_opcode is None

    def _ping_allowed(self, now: float) -> bool:
        if now - self._ping_second >= 1.0:
            self._ping_second, self._pings = now, 0
        self._pings += 1
        return self._pings <= PINGS_PER_SECOND

    def _frame_received(self, frame: Frame, now: float) -> None:
        if not self.is_open:
            return
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            if frame.fin:
                self._message_received(frame.opcode, bytes(frame.data), now)
            else:
                self._fragments_opcode = frame.opcode
                self._keep_fragment(frame)
        elif frame.opcode is Opcode.PONG:
            self.has_ponged = self.has_ponged or self._has_pinged  # RFC 6455 lets any come unasked
        elif frame.opcode is Opcode.CONT:
            self._keep_fragment(frame)
            if frame.fin and self._fragments_opcode is not None:
                opcode, data = self._fragments_opcode, b"".join(self._fragments)
                self._drop_fragments()
                self._message_received(opcode, data, now)

    def _keep_fragment(self, frame: Frame) -> None:
        self._fragments.append(bytes(frame.data))
        self._fragments_bytes += len(frame.data)
        if len(self._fragments) > MAX_FRAGMENTS:
            self._fail(CloseCode.MESSAGE_TOO_BIG, "too many fragments")

    def _drop_fragments(self) -> None:
        self._fragments, self._fragments_bytes, self._fragments_opcode = [], 0, None

    def _message_received(self, opcode: Opcode, data: bytes, now: float) -> None:
        if opcode is Opcode.BINARY:
            self._on_binary(now)
        else:
            self._deliver(data, now)

    def _fail(self, code: int, reason: str) -> None:
        if self.is_open:
            self._protocol.fail(code, reason)
            self._settle()

    def _settle(self) -> None:
        """Write what ``ServerProtocol`` wants written, and follow its state."""
        for octets in self._protocol.data_to_send():
            if octets:
                self._write(octets)
            else:
                self._end()
        if self.is_open and self._protocol.state is not State.OPEN:
            self.is_open = self._fast = self._plain = False
            self._drop_fragments()
            self._closing()


def frame_end(data: bytes | bytearray, at: int, end: int, max_bytes: int) -> int:
    """Where the frame at ``at`` ends; beyond ``end`` when octets are missing.

    A head that ``ServerProtocol`` refuses without its payload, such as one that announces
    more than ``max_bytes``, ends at once: at ``end``.
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
    """The head of an unmasked text frame of ``n`` octets."""
    if n < 126:
        return b"\x81%c" % n
    if n < 65536:
        return b"\x81\x7e" + n.to_bytes(2, "big")
    return b"\x81\x7f" + n.to_bytes(8, "big")


def _ignore(_: bytes) -> None:
    """Write nothing: the peer is gone."""


def _ignore_end() -> None:
    """End nothing: the peer is gone."""


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
