"""The fast path, the slow path and a plain reference agree on every byte stream."""

from __future__ import annotations

import itertools
import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from mediaserver.server.sockets.frames.websocket import (
    FRAMES_BEHIND_CLOSE,
    LONG_TEXT_BYTES,
    MAX_FRAGMENTS,
    MAX_MESSAGE_BYTES,
    PINGS_PER_SECOND,
    WebSocketFrames,
)

Event = tuple[str, bytes]


class Heard:
    """Collects what a receiver is told, and what is written."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.written = b""
        self.eof = False
        self.closed = False

    def text_received(self, data: bytes, now: float) -> None:
        self.events.append(("text", data))

    def long_text_received(self, data: bytes, now: float) -> None:
        assert len(data) > LONG_TEXT_BYTES
        self.events.append(("text", data))

    def flooded_behind_close(self) -> None:
        self.events.append(("flooded", b""))

    def binary_received(self, now: float) -> None:
        self.events.append(("binary", b""))

    def write(self, octets: bytes) -> None:
        assert not self.eof, "written behind the end of stream"
        self.written += octets

    def closing(self) -> None:
        assert not self.closed, "told twice"
        self.closed = True

    def end(self) -> None:
        assert not self.eof
        self.eof = True


def open_protocol() -> ServerProtocol:
    """A protocol past its handshake, as the listener makes it."""
    return ServerProtocol(max_size=MAX_MESSAGE_BYTES, state=State.OPEN)


def run(pieces: list[bytes], *, fast: bool) -> tuple[list[Event], bytes, bool, int]:
    heard = Heard()
    frames = WebSocketFrames(
        open_protocol(), heard, heard.write, heard.end, heard.closing, fast=fast
    )
    for piece in pieces:
        frames.receive(piece, 0.0)
    return heard.events, heard.written, heard.eof, frames.close_code


def reference(data: bytes) -> tuple[list[Event], bytes, bool]:
    """The same by the sans-I/O layer alone and a dozen lines, all bytes at once."""
    protocol = open_protocol()
    events: list[Event] = []
    whole, kind = b"", Opcode.TEXT
    for at in range(len(data)):  # octet by octet: what precedes an error is seen before it
        if protocol.eof_sent:
            break
        protocol.receive_data(data[at : at + 1])
        for frame in protocol.events_received():
            assert isinstance(frame, Frame)
            if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
                whole, kind = b"", frame.opcode
            elif frame.opcode is not Opcode.CONT:
                continue
            whole += bytes(frame.data)
            if frame.fin and kind is Opcode.BINARY:
                events.append(("binary", b""))
            elif frame.fin:
                try:
                    whole.decode()
                    events.append(("text", whole))
                except UnicodeDecodeError:
                    protocol.fail(CloseCode.INVALID_DATA, "text is not UTF-8")
    written = b"".join(protocol.data_to_send())
    return events, written, protocol.eof_sent


def frame(
    opcode: int,
    payload: bytes,
    *,
    fin: bool = True,
    rsv: int = 0,
    masked: bool = True,
    mask: bytes = b"\x01\x02\x03\x04",
    wide: bool = False,
) -> bytes:
    """One client frame; ``wide`` writes a longer length than needed."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    n = len(payload)
    if n < 126 and not wide:
        head = bytes([first, n | (0x80 if masked else 0)])
    elif n < 65536:
        head = bytes([first, 126 | (0x80 if masked else 0)]) + struct.pack(">H", n)
    else:
        head = bytes([first, 127 | (0x80 if masked else 0)]) + struct.pack(">Q", n)
    if not masked:
        return head + payload
    body = bytes(b ^ mask[i % 4] for i, b in enumerate(payload))
    return head + mask + body


PAYLOADS = st.one_of(
    st.text(max_size=20).map(str.encode),
    st.binary(max_size=20),
    st.sampled_from([b"", b"x" * 125, b"y" * 126, b"z" * 300, b"\xed\xa0\x80", b"\xc3"]),
)
LEGAL = st.builds(
    frame,
    st.sampled_from([1, 1, 1, 1, 0, 2, 9, 10]),
    PAYLOADS.filter(lambda p: len(p) < 126),
    fin=st.sampled_from([True, True, True, False]),
    mask=st.binary(min_size=4, max_size=4),
    wide=st.sampled_from([False, False, False, True]),
)
CLOSES = st.one_of(
    st.builds(
        lambda code, why: frame(8, struct.pack(">H", code) + why.encode()),
        st.sampled_from([1000, 1001, 1005, 999, 3000, 4999, 5000]),
        st.text(max_size=9),
    ),
    st.sampled_from([frame(8, b""), frame(8, b"\x03"), frame(8, b"\x03\xe8\xff")]),
)
ILLEGAL = st.builds(
    frame,
    st.integers(0, 15),
    PAYLOADS,
    fin=st.booleans(),
    rsv=st.integers(0, 7),
    masked=st.booleans(),
)
HUGE = st.sampled_from([b"\x81\xff" + struct.pack(">Q", n) for n in (2**20 + 1, 2**40, 2**63)])
STREAMS = st.lists(
    st.one_of(LEGAL, LEGAL, LEGAL, LEGAL, CLOSES, ILLEGAL, HUGE, st.binary(max_size=6)), max_size=8
).map(b"".join)


@settings(max_examples=400, deadline=None)
@given(STREAMS)
def test_paths_agree_cut_at_every_offset(data: bytes) -> None:
    """Fast and slow give the reference's events, replies and codes, wherever a read ends."""
    expected = reference(data)
    whole = run([data], fast=True)
    assert whole[:3] == expected
    assert run([data], fast=False) == whole
    for cut in range(1, len(data)):
        pieces = [data[:cut], data[cut:]]
        assert run(pieces, fast=True) == whole
        assert run(pieces, fast=False) == whole


@settings(max_examples=200, deadline=None)
@given(STREAMS, st.lists(st.integers(0, 200), max_size=12))
def test_paths_agree_cut_anywhere(data: bytes, cuts: list[int]) -> None:
    """Many small reads give what one read gives."""
    edges = [0, *sorted(min(c, len(data)) for c in cuts), len(data)]
    pieces = [data[a:b] for a, b in itertools.pairwise(edges)]
    assert run(pieces, fast=True) == run([data], fast=False)


def test_octet_by_octet() -> None:
    """A stream that comes one octet at a time is the same stream."""
    data = frame(1, b"one") + frame(1, b"t", fin=False) + frame(9, b"p") + frame(0, b"wo")
    expected = [("text", b"one"), ("text", b"two")]
    assert run([data[i : i + 1] for i in range(len(data))], fast=True)[0] == expected


def test_text_that_is_no_utf8_is_1007_on_both_paths() -> None:
    """A lone surrogate in UTF-8 ends the connection with 1007; what follows is not heard."""
    data = frame(1, b"\xed\xa0\x80") + frame(1, b"after")
    for fast in (True, False):
        events, written, eof, code = run([data], fast=fast)
        assert (events, eof, code) == ([], True, 1007)
        assert written.startswith(b"\x88")


def test_a_length_over_the_cap_is_1009_from_its_head_alone() -> None:
    """Ten octets that announce too much are refused before any payload comes."""
    events, _, eof, code = run([b"\x81\xff" + struct.pack(">Q", 2**20 + 1)], fast=True)
    assert (events, eof, code) == ([], True, 1009)


def test_a_message_at_the_cap_passes() -> None:
    """One MiB is a message."""
    events, *_ = run([frame(1, b"a" * MAX_MESSAGE_BYTES)], fast=True)
    assert events == [("text", b"a" * MAX_MESSAGE_BYTES)]


def test_fragments_are_capped_in_number_and_in_sum() -> None:
    """Neither many fragments nor large ones pass the caps."""
    many = frame(1, b"a", fin=False) + frame(0, b"a", fin=False) * MAX_FRAGMENTS
    assert run([many], fast=True)[3] == 1009
    half = b"a" * (MAX_MESSAGE_BYTES // 2 + 1)
    assert run([frame(1, half, fin=False) + frame(0, half)], fast=True)[3] == 1009


def test_pings_have_a_budget() -> None:
    """As many pings as the budget are answered; one more in that second is 1008."""
    pings = frame(9, b"") * PINGS_PER_SECOND
    _, written, eof, _ = run([pings], fast=True)
    assert written == b"\x8a\x00" * PINGS_PER_SECOND
    assert not eof
    assert run([pings + frame(9, b"")], fast=True)[3] == 1008


def test_the_ping_budget_renews_each_second() -> None:
    """A patient pinger is answered for ever."""
    heard = Heard()
    frames = WebSocketFrames(open_protocol(), heard, heard.write, heard.end, heard.closing)
    for second in range(5):
        frames.receive(frame(9, b"") * PINGS_PER_SECOND, float(second))
    assert frames.is_open


def test_sent_frames_have_the_shortest_length() -> None:
    """What we send parses as RFC 6455 frames at every width of the length."""
    for n in (0, 125, 126, 65535, 65536):
        heard = Heard()
        frames = WebSocketFrames(open_protocol(), heard, heard.write, heard.end, heard.closing)
        assert frames.send_text(b"a" * n)
        assert heard.written == Frame(Opcode.TEXT, b"a" * n).serialize(mask=False)


def test_nothing_is_sent_once_closing() -> None:
    """Behind our close frame there is no more text, and a second close says nothing."""
    heard = Heard()
    frames = WebSocketFrames(open_protocol(), heard, heard.write, heard.end, heard.closing)
    frames.close(1000, "ü" * 100)
    closed = heard.written
    assert not frames.send_text(b"x")
    frames.close(1001)
    frames.ping()
    assert heard.written == closed
    frames.receive(frame(1, b"late") + frame(8, struct.pack(">H", 1000)), 0.0)
    assert heard.events == []
    assert heard.eof
    assert frames.close_code == 1000


def test_a_ping_of_ours_is_an_empty_ping_frame() -> None:
    """While open the peer is asked for a sign of life, and its pong is no message."""
    heard = Heard()
    frames = WebSocketFrames(open_protocol(), heard, heard.write, heard.end, heard.closing)
    frames.ping()
    assert heard.written == b"\x89\x00"
    frames.receive(frame(10, b""), 0.0)
    assert (heard.events, frames.is_open) == ([], True)


def test_a_pong_counts_behind_a_ping() -> None:
    """RFC 6455 lets a peer send pongs that nobody asked for: they promise no answer."""
    heard = Heard()
    frames = WebSocketFrames(open_protocol(), heard, heard.write, heard.end, heard.closing)
    frames.receive(frame(Opcode.PONG, b""), 0.0)
    assert not frames.has_ponged
    frames.ping()
    frames.receive(frame(Opcode.PONG, b""), 0.0)
    assert frames.has_ponged


def test_who_may_send_little_is_refused_by_the_head_of_more() -> None:
    """1009 by the length alone, also in fragments; a message that came whole costs nothing."""
    for octets in (
        frame(Opcode.TEXT, bytes(101))[:20],
        frame(Opcode.TEXT, bytes(60), fin=False) + frame(Opcode.CONT, bytes(60))[:20],
    ):
        heard = Heard()
        frames = WebSocketFrames(open_protocol(), heard, heard.write, heard.end, heard.closing)
        frames.limit_messages(100)
        frames.receive(frame(Opcode.TEXT, b"x" * 100), 0.0)
        assert frames.is_open
        frames.receive(octets, 0.0)
        assert frames.close_code == CloseCode.MESSAGE_TOO_BIG
    heard = Heard()
    frames = WebSocketFrames(open_protocol(), heard, heard.write, heard.end, heard.closing)
    frames.limit_messages(100)
    frames.limit_messages(MAX_MESSAGE_BYTES)
    frames.receive(frame(Opcode.TEXT, b"x" * 70_000), 0.0)
    assert [len(text) for _, text in heard.events] == [70_000]


def test_nothing_is_written_to_a_connection_that_was_lost() -> None:
    """Neither an answer nor an end of stream; the owner is told once that it is over."""
    heard = Heard()
    frames = WebSocketFrames(open_protocol(), heard, heard.write, heard.end, heard.closing)
    frames.connection_lost()
    assert (heard.written, heard.eof, heard.closed) == (b"", False, True)
    assert (frames.is_open, frames.close_code) == (False, 1006)
    assert not frames.send_text(b"x")


def test_the_peers_close_is_told_with_its_reason() -> None:
    """It is answered with the same code, and its code and reason are kept."""
    heard = Heard()
    frames = WebSocketFrames(open_protocol(), heard, heard.write, heard.end, heard.closing)
    frames.receive(frame(8, struct.pack(">H", 1001) + b"going"), 0.0)
    assert heard.written == b"\x88\x07\x03\xe9going"
    assert (frames.close_code, frames.close_reason) == (1001, "going")
    assert (heard.eof, heard.closed) == (True, True)


def test_fragments_of_a_binary_message_are_one_message() -> None:
    """Its end is told once; what it holds is of no use to anybody."""
    data = frame(2, b"one", fin=False) + frame(0, b"two", fin=False) + frame(0, b"three")
    assert run([data], fast=True)[0] == [("binary", b"")]


def test_an_end_of_stream_without_close_is_1006() -> None:
    """A peer that just goes away leaves 1006."""
    heard = Heard()
    frames = WebSocketFrames(open_protocol(), heard, heard.write, heard.end, heard.closing)
    frames.receive_eof()
    frames.receive_eof()
    assert (frames.close_code, frames.close_reason, heard.eof) == (1006, "", True)
    assert not frames.is_open


def test_payload_that_looks_like_a_frame_is_payload() -> None:
    """A read that begins inside a frame is not mistaken for one, however much it looks so."""
    inner = frame(1, b"x" * 200, mask=b"\0" * 4)
    outer = frame(1, b"y" * 10 + inner.replace(b"\xfe", b"~"), mask=b"\0" * 4)
    disguised = frame(2, b"y" * 10 + inner, mask=b"\0" * 4)
    for whole in (outer, disguised):
        cut = len(whole) - len(inner)
        for fast in (True, False):
            assert run([whole[:cut], whole[cut:]], fast=fast) == run([whole], fast=False)


def test_a_read_of_one_frame_and_one_of_many_are_alike() -> None:
    """Frames of every width of the length, alone in a read and together in one."""
    sent = [b"a" * n for n in (0, 1, 125, 126, 300, 65535, 65536)]
    frames = [frame(1, text) for text in sent]
    expected = [("text", text) for text in sent]
    assert run(frames, fast=True)[0] == run([b"".join(frames)], fast=True)[0] == expected


def test_long_frames_take_both_paths_alike() -> None:
    """Texts and binaries around each border of the length, cut in reads of 8 KiB, and too long."""
    for n in (125, 126, 65_535, 65_536, 100_000, MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES + 1):
        for opcode in (Opcode.TEXT, Opcode.BINARY):
            data = frame(opcode, b"a" * n) + frame(Opcode.TEXT, b"behind")
            pieces = [data[at : at + 8192] for at in range(0, len(data), 8192)]
            expected = run(pieces, fast=False)
            assert run(pieces, fast=True) == run([data], fast=True) == expected
            assert (expected[3] == 1009) == (n > MAX_MESSAGE_BYTES)
    bad = frame(Opcode.TEXT, b"\xff" * 100_000)
    assert run([bad], fast=True) == run([bad], fast=False)
    assert run([bad], fast=True)[3] == 1007


def test_a_flood_behind_our_close_is_cut() -> None:
    """What was under way is passed over, and the peer's close is taken; no more is read."""
    closed = frame(Opcode.CLOSE, b"\x03\xe8")
    for n_frames in (FRAMES_BEHIND_CLOSE, FRAMES_BEHIND_CLOSE + 1):
        heard = Heard()
        frames = WebSocketFrames(open_protocol(), heard, heard.write, heard.end, heard.closing)
        frames.close(1008, "no token")
        for _ in range(n_frames):
            frames.receive(frame(Opcode.TEXT, b""), 0.0)
        is_flood = n_frames > FRAMES_BEHIND_CLOSE
        assert heard.eof == is_flood
        frames.receive(frame(Opcode.TEXT, b"a") * 10_000 * is_flood + closed, 0.0)
        assert heard.events == [("flooded", b"")] * is_flood
        assert heard.eof
        assert (frames.close_code, frames.close_reason) == (1008, "no token")


def test_a_failed_connection_hears_no_more() -> None:
    """What comes behind is neither looked at nor answered."""
    heard = Heard()
    frames = WebSocketFrames(open_protocol(), heard, heard.write, heard.end, heard.closing)
    frames.fail(1008, "too many messages")
    written = heard.written
    frames.receive(frame(Opcode.TEXT, b"a") * 1000, 0.0)
    assert heard.events == []
    assert heard.written == written
    assert (frames.close_code, frames.close_reason) == (1008, "too many messages")
