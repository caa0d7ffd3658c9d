"""Paced PCMU calls against one echo server: every reply verified, the server's CPU counted.

Each of N calls sends one 20 ms ``media`` message every 20 ms on an absolute schedule that
never waits for a reply, the calls' phases spread over the 20 ms. What comes back must be
what was sent: all of it, in order, nothing else but marks and clears. With ``--raw`` the
same frames go to a server that returns bytes as they come.

Prints one JSON object; exit code 1, and the reason on stderr, if anything came back wrong.

Does not show: how the server behaves with TLS, loss, jitter, or real networks; latency
includes this client's own lateness, given beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import os
import ssl
import sys
import time
from array import array
from collections import deque
from pathlib import Path
from typing import Any, cast

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks.parts import command
from benchmarks.parts.command import Failed
from benchmarks.parts.noise import payloads
from mediaserver.bench import accounting as cpu_time
from mediaserver.bench.load import fine_timer
from mediaserver.bench.load import wire as load_wire

PERIOD_S = 0.020
DRAIN_S = 5.0
CONNECT_S = 10.0
# A prime, so that a lost or repeated frame never meets its like within 5 s.
PAYLOADS = payloads(251)
PAYLOADS_B64 = [base64.b64encode(payload) for payload in PAYLOADS]


class Tally:
    """What all calls together counted; ``failure`` is set at the first wrong reply."""

    def __init__(self) -> None:
        self.frames = 0
        self.marks = 0
        self.clears = 0
        self.latency_s = array("d")
        self.lateness_s = array("d")
        self.failure: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def fail(self, reason: str) -> None:
        """Record why the run is void; the first reason stays."""
        if not self.failure.done():
            self.failure.set_result(reason)

    def restart_latency(self) -> None:
        """Forget the warm-up."""
        del self.latency_s[:], self.lateness_s[:]


class Call(asyncio.Protocol):
    """One call: sends frames, compares what returns with what it sent, in order."""

    returns_frames = False
    """The server returns whole frames, and not the audio in messages of its own."""

    def __init__(self, number: int, tally: Tally) -> None:
        self._number = number
        self._tally = tally
        self._next = number * 17
        self._pending: deque[tuple[float, bytes]] = deque()
        self._partial = b""
        self._closing = False
        self._stream = load_wire.Stream(number)
        self._transport: asyncio.Transport
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def n_pending(self) -> int:
        """Frames sent that have not come back."""
        return len(self._pending)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is up; a raw call needs no more."""
        # uvloop's transports are not instances of asyncio.Transport.
        self._transport = cast(asyncio.Transport, transport)
        self.greet()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the run unless this side had said good-bye."""
        if not self._closing:
            self.fail(f"connection lost ({exc or 'closed by the server'})")
        self.gone.set_result(None)

    def send(self, due: float) -> None:
        """Send the frame that was due at ``due`` on the monotonic clock."""
        number = self._next % len(PAYLOADS)
        self._next += 1
        frame = self._stream.media(PAYLOADS_B64[number])
        self._pending.append((due, frame if self.returns_frames else PAYLOADS[number]))
        self._transport.write(frame)
        self._tally.lateness_s.append(time.monotonic() - due)

    def returned(self, data: bytes) -> None:
        """Compare the next bytes of the returning stream, however they are cut."""
        if self._partial:
            data = self._partial + data
        now, at, tally = time.monotonic(), 0, self._tally
        while self._pending:
            due, sent = self._pending[0]
            if at + len(sent) > len(data):
                break
            if not data.startswith(sent, at):
                self.fail("a frame came back changed or out of order")
                return
            self._pending.popleft()
            at += len(sent)
            tally.frames += 1
            tally.latency_s.append(now - due)
        self._partial = data[at:]
        if self._partial and not self._pending:
            self.fail("more came back than was sent")

    def fail(self, reason: str) -> None:
        """Void the run, naming this call."""
        self._tally.fail(f"call {self._number}: {reason}")

    def hang_up(self) -> None:
        """Say good-bye; the server then ends the connection."""
        self._closing = True
        self.part()

    def abort(self) -> None:
        """Drop the connection."""
        self._closing = True
        self._transport.abort()

    def greet(self) -> None:
        """Do what must come before the first frame."""
        raise NotImplementedError

    def part(self) -> None:
        """Do what must come behind the last frame."""
        raise NotImplementedError


class RawCall(Call):
    """A call to the server that knows only bytes."""

    returns_frames = True

    def greet(self) -> None:
        """Nothing to say."""
        self.ready.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Compare at once."""
        self.returned(data)

    def part(self) -> None:
        """Close."""
        self._transport.close()


class MediaCall(Call):
    """A call as Telnyx makes it: upgrade, connected, start, media, stop, close."""

    def greet(self) -> None:
        """Ask for the upgrade."""
        self._head = b""
        self._reader = load_wire.FrameReader()
        self._playout_end = 0.0
        host, port = self._transport.get_extra_info("peername")[:2]
        assert host == "127.0.0.1"
        request, self._accept = load_wire.upgrade("/media", port)
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Take the answer to the upgrade, then frames."""
        try:
            if self.ready.done():
                self._frames(data)
            else:
                self._upgrading(data)
        except (load_wire.ProtocolError, ValueError) as error:
            self.fail(str(error))

    def part(self) -> None:
        """Send stop and close."""
        self._transport.write(self._stream.closing())

    def _upgrading(self, data: bytes) -> None:
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if end:
            load_wire.check_upgraded(head, self._accept)
            self._transport.write(self._stream.opening())
            self.ready.set_result(None)
            self._frames(rest)

    def _frames(self, data: bytes) -> None:
        for opcode, body in self._reader.feed(data):
            if opcode == load_wire.TEXT:
                self._message(body)
            elif opcode == load_wire.PING:
                self._transport.write(load_wire.frame(load_wire.PONG, body))
            elif opcode == load_wire.CLOSE:
                self._closed_by_server(body)
            else:
                self.fail(f"unexpected opcode {opcode:#x}")

    def _message(self, body: bytes) -> None:
        reply = load_wire.parse_reply(body)
        if reply.media is not None:
            audio = reply.media.payload
            self._playout_end = max(self._playout_end, time.monotonic()) + len(audio) / 8000
            self.returned(audio)
        elif reply.mark is not None:
            self._tally.marks += 1
            self._return_when_played(reply.mark.name)
        elif reply.event == "clear":
            self._tally.clears += 1
            self._playout_end = 0.0
        else:
            self.fail(f"unexpected event {reply.event!r}")

    def _return_when_played(self, name: str) -> None:
        delay_s = self._playout_end - time.monotonic()
        asyncio.get_running_loop().call_later(max(0.0, delay_s), self._return, name)

    def _return(self, name: str) -> None:
        if not self._closing and not self._transport.is_closing():
            self._transport.write(self._stream.mark(name))

    def _closed_by_server(self, body: bytes) -> None:
        if not self._closing:
            self.fail(f"the server closed with {int.from_bytes(body[:2], 'big')}")
        self._transport.close()


class Pacer:
    """Sends one frame per call and period, each at its own phase of the period."""

    def __init__(self, calls: list[Call], tick_s: float) -> None:
        self._calls = calls
        self._step_s = PERIOD_S / len(calls)
        self._sent = 0
        self._start = time.monotonic() + PERIOD_S
        self._timer = fine_timer.open_timer(self._start, tick_s or self._step_s)
        asyncio.get_running_loop().add_reader(self._timer, self._tick)

    def stop(self) -> None:
        """Send no more."""
        asyncio.get_running_loop().remove_reader(self._timer)
        os.close(self._timer)

    def _tick(self) -> None:
        os.read(self._timer, 8)
        while (due := self._start + self._sent * self._step_s) <= time.monotonic():
            self._calls[self._sent % len(self._calls)].send(due)
            self._sent += 1


async def _connect(args: argparse.Namespace, tally: Tally) -> list[Call]:
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if args.tls else None
    if trusting is not None:
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    loop, kind = asyncio.get_running_loop(), RawCall if args.raw else MediaCall
    calls: list[Call] = []
    for number in range(args.calls):
        call: Call = kind(number, tally)
        await loop.create_connection(lambda call=call: call, "127.0.0.1", args.port, ssl=trusting)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        calls.append(call)
        await _unless_failed(tally, call.ready, CONNECT_S)
        if not call.ready.done():
            raise Failed(f"call {number}: not ready within {CONNECT_S:.0f} s")
    return calls


async def _unless_failed(
    tally: Tally, until: asyncio.Future[None] | None, timeout_s: float
) -> None:
    waiting: list[asyncio.Future[Any]] = [tally.failure, *([until] if until else [])]
    await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    if tally.failure.done():
        raise Failed(tally.failure.result())


async def _drain(calls: list[Call], tally: Tally) -> None:
    deadline = time.monotonic() + DRAIN_S
    while any(call.n_pending for call in calls):
        if time.monotonic() > deadline:
            lost = sum(call.n_pending for call in calls)
            raise Failed(f"{lost} frames had not come back {DRAIN_S:.0f} s after the last was sent")
        await _unless_failed(tally, None, PERIOD_S)


async def run(args: argparse.Namespace) -> dict[str, object]:
    """Place the calls, measure the steady window, hang up; the figures of that window.

    Raises:
        Failed: a reply was wrong, late beyond reason, or missing.
    """
    tally = Tally()
    calls = await _connect(args, tally)
    pacer = Pacer(calls, args.tick_ms / 1000)
    await _unless_failed(tally, None, args.warmup)
    tally.restart_latency()
    before = _readings(tally, args.pid)
    await _unless_failed(tally, None, args.seconds)
    after = _readings(tally, args.pid)
    frames, elapsed_s, cpu_ns, waited_ns = (b - a for a, b in zip(before, after, strict=True))
    pacer.stop()
    await _drain(calls, tally)
    for call in calls:
        call.hang_up()
    await asyncio.wait([call.gone for call in calls], timeout=2)
    for call in calls:
        call.abort()
    return {
        "frames": frames,
        "seconds": elapsed_s,
        "pace": frames / (elapsed_s / PERIOD_S * args.calls),
        "cpu_us_per_frame": cpu_ns / 1000 / max(frames, 1),
        "cpu_source": cpu_time.source(),
        "waited_for_core": waited_ns / 1e9 / elapsed_s,
        "latency_ms": _percentiles_ms(tally.latency_s),
        "client_late_ms": _percentiles_ms(tally.lateness_s),
        "marks": tally.marks,
        "clears": tally.clears,
    }


def _readings(tally: Tally, pid: int) -> tuple[float, ...]:
    """Frames so far, seconds, and the server's nanoseconds on and waiting for a core."""
    return tally.frames, time.monotonic(), cpu_time.spent_ns(pid), cpu_time.waited_ns(pid)


def _percentiles_ms(times_s: array[float]) -> dict[str, float]:
    ordered = sorted(times_s)
    ranks = {name: int(len(ordered) * share) for name, share in _SHARES.items()}
    return {name: ordered[rank] * 1000 for name, rank in ranks.items()} if ordered else {}


_SHARES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}


def main() -> int:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="of the server, on loopback")
    parser.add_argument("--pid", type=int, required=True, help="whose CPU time to count")
    command.add_load_flags(parser)
    parser.add_argument("--tls", action="store_true", help="connect by TLS")
    parser.add_argument("--raw", action="store_true", help="the server returns bytes as they come")
    try:
        print(json.dumps(uvloop.run(run(parser.parse_args()))))
    except (Failed, OSError) as error:
        print(f"verification failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
