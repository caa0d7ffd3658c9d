"""One call of the load: it sends frames, and checks that their audio comes back.

Replies may be cut into other pieces than the frames that were sent: they are one stream.

    codec                 a frame is back when
    exact (PCMU, L16 …)   its octets have come. Frames that were skipped are lost; octets that
                          belong to no frame are wrong
    any other             as much audio has come. In one call of each process the sound is also
                          compared with what was said
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import Counter, deque
from typing import NamedTuple, cast
from urllib.parse import urlsplit

from mediaserver.bench.load import wire
from mediaserver.bench.load.voices import Voice

LOOK_AHEAD = 200
"""Frames among which a reply is looked for: more than any server holds back."""
MOST_UNKNOWN_BYTES = 64_000
KEPT_REPLIES = 250
_TOO_MANY = (1013, 1008)


class Address(NamedTuple):
    """Where a call goes."""

    host: str
    port: int
    path: str
    is_tls: bool
    token: str | None = None
    is_raw: bool = False


def address_of(url: str, token: str | None = None) -> Address:
    """The parts of a ws:// or wss:// URL, and what is presented there.

    ``tcp://`` is for a server that returns octets as they come (``RawCall``).

    Raises:
        ValueError: it is none.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss", "tcp") or not parts.hostname:
        raise ValueError(f"a URL begins with ws:// or wss://, not {url!r}")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    is_tls = parts.scheme == "wss"
    return Address(
        parts.hostname,
        parts.port or (443 if is_tls else 80),
        path,
        is_tls,
        token,
        parts.scheme == "tcp",
    )


class Tally:
    """What the calls of a process counted in the window."""

    def __init__(self) -> None:
        self.begin_s = self.end_s = float("inf")
        self.sent = self.returned = self.wrong = self.refused = 0
        self.problems: Counter[str] = Counter()
        self.round_trips_s = array("d")
        self.lateness_s = array("d")

    def was_sent(self, due_s: float, now: float) -> None:
        """A frame left."""
        if self.begin_s <= due_s < self.end_s:
            self.sent += 1
            self.lateness_s.append(now - due_s)

    def came_back(self, due_s: float, now: float) -> None:
        """So did its audio."""
        if self.begin_s <= due_s < self.end_s:
            self.returned += 1
            self.round_trips_s.append(now - due_s)


class BenchCall(asyncio.Protocol):
    """A call as Telnyx makes it: upgrade, connected, start, media, stop, close.

    Args:
        number: no other call on this server has it.
        first: number of the payload it begins with.
        voice: what it says.
        address: where it goes.
        tally: where it counts.
        keeps: keeps replies, to be compared at the end.
    """

    def __init__(
        self, number: int, first: int, voice: Voice, address: Address, tally: Tally, *, keeps: bool
    ) -> None:
        self._address = address
        self._tally = tally
        self._voice = voice
        self._first = self._next = first
        self._stream = wire.Stream(number, voice.form)
        self._pending: deque[tuple[float, bytes]] = deque()
        self._unknown = b""
        self._owed_ms = 0.0
        self._kept: list[bytes] | None = [] if keeps and not voice.is_exact else None
        self._taken = self._exact if voice.is_exact else self._counted
        self._head = b""
        self._reader = wire.FrameReader()
        self._playout_end_s = 0.0
        self._is_closing = False
        self._transport: asyncio.Transport
        loop = asyncio.get_running_loop()
        self.is_up: bool = False
        self.settled: asyncio.Future[None] = loop.create_future()
        self.gone: asyncio.Future[None] = loop.create_future()

    @property
    def n_pending(self) -> int:
        """Frames sent that have not come back."""
        return len(self._pending)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        # uvloop's transports are not instances of asyncio.Transport.
        self._transport = cast(asyncio.Transport, transport)
        host, port, path, _, token, _ = self._address
        request, self._accept = wire.upgrade(path, port, host, token)
        self._transport.write(request)

    def connection_lost(self, exc: Exception | None) -> None:
        """That is no fault behind this side's good-bye."""
        if not self._is_closing:
            self._failed(f"connection lost ({exc or 'closed by the server'})")
        self.is_up = False
        self._settle()
        if not self.gone.done():
            self.gone.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Take the answer to the upgrade, then frames."""
        try:
            if self.is_up:
                self._frames(data)
            else:
                self._upgrading(data)
        except (wire.ProtocolError, ValueError) as error:
            self._failed(str(error))
            self.abort()

    def send(self, due_s: float) -> None:
        """Send the frame that was due then, on the monotonic clock."""
        voice = self._voice
        number = self._next % len(voice.payloads)
        self._next += 1
        self._pending.append((due_s, voice.payloads[number]))
        self._transport.write(self._stream.media(voice.payloads_base64[number]))
        self._tally.was_sent(due_s, time.monotonic())

    def hang_up(self) -> None:
        """Say good-bye; the server then ends the connection."""
        if self.is_up and not self._is_closing:
            self._is_closing = True
            self._transport.write(self._stream.closing())

    def abort(self) -> None:
        """Drop the connection."""
        self._is_closing = True
        self._transport.abort()

    def unlike(self) -> str | None:
        """What is wrong with the replies that were kept; None: nothing is known to be."""
        return self._voice.unlike(self._first, self._kept) if self._kept else None

    def _upgrading(self, data: bytes) -> None:
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end:
            return
        if head.split(b" ", 2)[1:2] == [b"503"]:
            self._refused()
            return
        wire.check_upgraded(head, self._accept)
        self._transport.write(self._stream.opening())
        self.is_up = True
        self._settle()
        self._frames(rest)

    def _frames(self, data: bytes) -> None:
        for opcode, body in self._reader.feed(data):
            if opcode == wire.TEXT:
                self._message(body)
            elif opcode == wire.PING:
                self._transport.write(wire.frame(wire.PONG, body))
            elif opcode == wire.CLOSE:
                self._closed_by_server(int.from_bytes(body[:2], "big"))

    def _message(self, body: bytes) -> None:
        reply = wire.parse_reply(body)
        if reply.media is not None:
            audio, now = reply.media.payload, time.monotonic()
            length_s = self._voice.length_ms(audio) / 1000
            self._playout_end_s = max(self._playout_end_s, now) + length_s
            self._taken(audio, now)
        elif reply.mark is not None:
            delay_s = max(0.0, self._playout_end_s - time.monotonic())
            asyncio.get_running_loop().call_later(delay_s, self._played, reply.mark.name)
        elif reply.event == "clear":
            self._playout_end_s = 0.0
        else:
            self._failed(f"unexpected event {reply.event!r}")

    def _exact(self, audio: bytes, now: float) -> None:
        data, pending = self._unknown + audio if self._unknown else audio, self._pending
        at = 0
        while pending:
            due_s, sent = pending[0]
            if len(data) - at < len(sent):
                break
            if not data.startswith(sent, at):
                found = self._passed_over(data, at)
                if found is None:
                    break
                at, n_lost = found
                for _ in range(n_lost):
                    pending.popleft()
                continue
            pending.popleft()
            at += len(sent)
            self._tally.came_back(due_s, now)
        self._unknown = data[at:]
        if len(self._unknown) > MOST_UNKNOWN_BYTES or (self._unknown and not pending):
            self._tally.wrong += 1
            self._unknown = b""

    def _passed_over(self, data: bytes, at: int) -> tuple[int, int] | None:
        """Where the first frame begins that is there whole, and how many before it are lost."""
        for n_lost, (_, sent) in enumerate(self._pending):
            if n_lost > LOOK_AHEAD:
                break
            begin = data.find(sent, at)
            if begin >= 0:
                return begin, n_lost
        return None

    def _counted(self, audio: bytes, now: float) -> None:
        if self._kept is not None and len(self._kept) < KEPT_REPLIES:
            self._kept.append(audio)
        pending = self._pending
        self._owed_ms += self._voice.length_ms(audio)
        # Half a frame of tolerance: a resampler may keep back its last few samples.
        while pending and self._owed_ms >= 10.0:
            due_s, _ = pending.popleft()
            self._owed_ms -= 20.0
            self._tally.came_back(due_s, now)
        if self._owed_ms > 60.0:
            self._tally.wrong += 1
            self._owed_ms = 0.0

    def _played(self, name: str) -> None:
        if not self._is_closing and not self._transport.is_closing():
            self._transport.write(self._stream.mark(name))

    def _closed_by_server(self, code: int) -> None:
        if code in _TOO_MANY and not self._pending:
            self._refused()
        elif not self._is_closing:
            self._failed(f"the server closed with {code}")
        self._is_closing = True
        self._transport.close()

    def _refused(self) -> None:
        self._tally.refused += 1
        self._is_closing = True
        self._transport.close()

    def _failed(self, what: str) -> None:
        self._tally.problems[what] += 1
        self._is_closing = True

    def _settle(self) -> None:
        if not self.settled.done():
            self.settled.set_result(None)


class RawCall(BenchCall):
    """The same frames to a server that knows no WebSocket, and returns octets: the floor."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is up."""
        self._transport = cast(asyncio.Transport, transport)
        self.is_up = True
        self._settle()

    def data_received(self, data: bytes) -> None:
        """Compare at once."""
        self._exact(data, time.monotonic())

    def send(self, due_s: float) -> None:
        """Send the frame that was due then."""
        payloads = self._voice.payloads_base64
        frame = self._stream.media(payloads[self._next % len(payloads)])
        self._next += 1
        self._pending.append((due_s, frame))
        self._transport.write(frame)
        self._tally.was_sent(due_s, time.monotonic())

    def hang_up(self) -> None:
        """Close."""
        self._is_closing = True
        self._transport.close()
