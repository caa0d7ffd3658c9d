"""The frames of one WebSocket after its handshake, server side, without I/O.

``ServerProtocol`` of the library ``websockets`` implements RFC 6455. What it leaves to its
user is here: where a frame ends (5.2), fragments and their limits (5.4), UTF-8 in text (8.1),
a limit on pings (5.5.2).

There are two paths with the same result. The fast path takes a complete, masked, unfragmented
text frame, while the connection is open and no fragmented message is under way: 99.9 % of a
call's traffic. Everything else goes to ``ServerProtocol``, one complete frame at a time, so
that it never holds half a frame. A differential test checks that both paths give the same
events, replies and close codes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Protocol

from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from mediaserver.server.sockets.frames.framing import frame_end, text_head

try:
    # Compiled. The one in Python gives the same result a hundred times slower.
    from websockets.speedups import apply_mask
except ImportError:  # pragma: no cover - a platform without the wheel's C part
    from websockets.utils import apply_mask

MAX_MESSAGE_BYTES = 1 << 20
# A longer text is reported by another method. In a call only media at high rates is so long.
LONG_TEXT_BYTES = (1 << 16) - 1
MAX_FRAGMENTS = 256
PINGS_PER_SECOND = 20
# Behind our close frame the peer may send what it had under way: seconds of media.
FRAMES_BEHIND_CLOSE = 1000

_BINARY_FIN = 0x82
_WHOLE = (0x81, _BINARY_FIN)  # text and binary, in one frame
_MASKED_126 = 0xFE
_MASKED_127 = 0xFF
# RFC 6455, 5.2. The first four octets of a frame as one number. For a masked text frame whose
# length is given in 16 bits, it is 0x81FE0000 + the payload's length; the head has 8 octets.
_head_of = struct.Struct(">I").unpack_from
_PLAIN_HEAD = 0x81FE0000 - 8
_PLAIN_END = 65536 + 8


class Receiver(Protocol):
    """Receives the messages."""

    def text_received(self, data: bytes, now: float) -> None:
        """One complete text message, checked UTF-8."""

    def long_text_received(self, data: bytes, now: float) -> None:
        """The same, of more than ``LONG_TEXT_BYTES``."""

    def binary_received(self, now: float) -> None:
        """One complete binary message; Telnyx sends none, so its content is dropped."""

    def flooded_behind_close(self) -> None:
        """Behind our close frame came more than can have been under way; no more is read."""


class WebSocketFrames:
    """One open WebSocket connection, frames in and frames out.

    **Call `receive` for each read, `receive_eof` at the end of the stream, `connection_lost`
    when the transport is gone.**

    Args:
        protocol: a ``ServerProtocol`` whose handshake is done (state OPEN).
        receiver: gets the messages.
        write: called with octets for the peer.
        end: called once, when nothing more will be written.
        closing: called once, when no message can be sent any more.
        has_ponged: it has already, on a connection that another process began.
        fast: False takes the slow path for every frame; for the differential test.

    Attributes:
        has_ponged: the peer has answered a ping.
        is_open: messages can be sent.
        max_message_bytes: a longer message is refused from its head, and not buffered.
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
        "_n_behind_close",
        "_need",
        "_on_binary",
        "_on_flood",
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
        has_ponged: bool = False,
    ) -> None:
        self._protocol = protocol
        self._on_text: Callable[[bytes, float], None] = receiver.text_received
        self._on_long_text: Callable[[bytes, float], None] = receiver.long_text_received
        self._on_binary: Callable[[float], None] = receiver.binary_received
        self._on_flood: Callable[[], None] = receiver.flooded_behind_close
        self._write = write
        self._end = end
        self._closing = closing
        self._may_be_fast = fast
        # The whole condition of the fast path, kept up to date by the slow one. ``_plain`` is
        # the same for a read that is exactly one frame: then nothing may be held from before.
        self._fast = self._plain = fast
        self.is_open: bool = True
        self._has_pinged = False
        self.has_ponged: bool = has_ponged
        self.max_message_bytes: int = MAX_MESSAGE_BYTES
        self._held = bytearray()  # an incomplete frame
        self._need = 0  # its length, as far as known
        self._fragments: list[bytes] = []
        self._fragments_bytes = 0
        self._fragments_opcode: Opcode | None = None
        self._ping_second = 0.0
        self._pings = 0
        self._n_behind_close = 0

    @property
    def close_code(self) -> int:
        """The close code that was received or sent first; 1006 if there was none."""
        close = self._close_frame
        return int(close.code) if close is not None else int(CloseCode.ABNORMAL_CLOSURE)

    @property
    def close_reason(self) -> str:
        """The reason that came with the close code."""
        close = self._close_frame
        return close.reason if close is not None else ""

    @property
    def _close_frame(self) -> Close | None:
        protocol = self._protocol
        if protocol.close_rcvd_then_sent or protocol.close_sent is None:
            return protocol.close_rcvd
        return protocol.close_sent

    def receive(self, data: bytes, now: float) -> None:
        """Take what was read from the socket; complete messages go to the receiver at once."""
        # The usual case: the read is exactly one plain text frame.
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
        """Take a read that may hold several frames, part of one, or any other kind."""
        if self._is_over():
            return
        if self._held:
            self._held += data
            if len(self._held) < self._need:
                return
            data, self._held = self._held, bytearray()  # moved, not copied: it may be 1 MiB
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
            if self._is_over():
                return
            at = after

    def _is_over(self) -> bool:
        """Closed or failed: RFC 6455, 7.1.7, discards the rest."""
        return self._protocol.eof_sent

    def receive_eof(self) -> None:
        """The peer sends no more."""
        if not self._protocol.reader.eof:
            self._protocol.receive_eof()
        self._settle()

    def connection_lost(self) -> None:
        """The transport is gone: write nothing more, and keep nobody who was told."""
        self._write = self._end = _ignore
        self.receive_eof()
        self._on_text = self._on_long_text = self._on_binary = _ignore
        self._on_flood = self._closing = _ignore

    def send_text(self, text: bytes) -> bool:
        """Send one text message; False when the connection is closing."""
        if not self.is_open:
            return False
        self._write(text_head(len(text)) + text)
        return True

    def limit_messages(self, n_bytes: int) -> None:
        """From now on refuse longer messages from their head, unless they came in one read."""
        self.max_message_bytes = self._protocol.max_message_size = n_bytes

    def ping(self) -> None:
        """Send a ping."""
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
        """Close because of the peer: send a close frame, then end the stream.

        What the peer still sends is ignored (RFC 6455, 7.1.7).
        """
        self._fail(code, reason.encode()[:123].decode(errors="ignore"))

    def _whole_frame(self, data: bytes | bytearray, at: int, end: int, now: float) -> int:
        """Deliver the message whose one frame begins at ``at``.

        Returns where the frame ends; 0 if there is no such frame, or not all of it.
        """
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
        if n > LONG_TEXT_BYTES:  # a view: do not copy up to 1 MiB once more
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
        """Give one complete frame to ``ServerProtocol`` and handle its events."""
        if not self.is_open and frame[0] & 0x0F != Opcode.CLOSE:
            self._n_behind_close += 1
            if self._n_behind_close > FRAMES_BEHIND_CLOSE:
                self._protocol.fail(CloseCode.POLICY_VIOLATION, "too many messages")
                self._settle()
                self._on_flood()
                return
        if frame[0] & 0x0F in (Opcode.PING, Opcode.PONG) and not self._ping_allowed(now):
            self._fail(CloseCode.POLICY_VIOLATION, "too many pings or pongs")
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
            self.has_ponged = self.has_ponged or self._has_pinged  # 5.5.3: a pong may come unasked
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
        """Write what ``ServerProtocol`` wants to send, and follow its state."""
        for octets in self._protocol.data_to_send():
            if octets:
                self._write(octets)
            else:
                self._end()
        if self.is_open and self._protocol.state is not State.OPEN:
            self.is_open = self._fast = self._plain = False
            self._drop_fragments()
            self._closing()


def _ignore(*_: object) -> None:
    """Neither take nor send: the peer is gone."""


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
