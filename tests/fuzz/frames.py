"""A WebSocket connection after its handshake."""

from __future__ import annotations

from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from mediaserver.server.sockets.frames.framing import text_head
from mediaserver.server.sockets.frames.websocket import MAX_MESSAGE_BYTES, WebSocketFrames
from tests.fuzz.harness import Target, pieces


class Heard:
    """Collects what a receiver is told, and what is written."""

    def __init__(self) -> None:
        self.events: list[tuple[str, bytes]] = []
        self.written = b""
        self.n_closing = 0
        self.n_ends = 0

    def text_received(self, data: bytes, now: float) -> None:
        data.decode()  # what comes is UTF-8
        self.events.append(("text", data))

    long_text_received = text_received

    def flooded_behind_close(self) -> None:
        self.events.append(("flooded", b""))

    def binary_received(self, now: float) -> None:
        self.events.append(("binary", b""))

    def write(self, octets: bytes) -> None:
        assert not self.n_ends, "written behind the end of stream"
        self.written += octets

    def closing(self) -> None:
        self.n_closing += 1

    def end(self) -> None:
        self.n_ends += 1


def run(parts: list[bytes], n_octets: int, *, fast: bool) -> tuple[Heard, int, bool]:
    """What comes of the parts; what is kept meanwhile is never more than what came."""
    heard = Heard()
    protocol = ServerProtocol(max_size=MAX_MESSAGE_BYTES, state=State.OPEN)
    frames = WebSocketFrames(protocol, heard, heard.write, heard.end, heard.closing, fast=fast)
    for part in parts:
        frames.receive(part, 0.0)
        kept = len(frames._held) + frames._fragments_bytes
        assert kept <= n_octets
    is_open = frames.is_open
    frames.connection_lost()
    assert heard.n_closing == 1
    assert heard.n_ends <= 1
    return heard, frames.close_code, is_open


def some_frames(data: bytes) -> bool:
    """The fast way, the slow way, whole and in pieces: the same events, replies and codes."""
    n_cuts = data[0] % 8 if data else 0
    cuts, octets = data[1 : 1 + n_cuts], data[1 + n_cuts :]
    whole, code, is_open = run([octets] if octets else [], len(octets), fast=True)
    for parts, fast in (
        (pieces(octets, cuts), True),
        (pieces(octets, cuts), False),
        ([octets] if octets else [], False),
    ):
        heard, other_code, other_open = run(parts, len(octets), fast=fast)
        assert heard.events == whole.events
        assert heard.written == whole.written
        assert (other_code, other_open) == (code, is_open)
    sent(octets)
    return is_open


def sent(text: bytes) -> None:
    """What we send is what RFC 6455 asks for."""
    assert text_head(len(text)) + text == Frame(Opcode.TEXT, text).serialize(mask=False)


WEBSOCKET_FRAMES = Target(some_frames, calls=3000, calls_per_octet=80.0, octets_per_octet=600.0)
