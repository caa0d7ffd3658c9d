"""Paced PCMU frames into a server that sends nothing back: as RTP over UDP, or over WebSockets.

Each of N calls sends one 20 ms frame every 20 ms on an absolute schedule, the calls' phases
spread over the 20 ms. Prints one JSON object: how many frames were sent, and what a frame cost
the server in the steady window. Whether all were heard, the server itself must say.

Does not show: latency, loss, jitter or real networks.
"""

from __future__ import annotations

import argparse
import base64
import json
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks.parts import command
from benchmarks.parts.command import Failed
from benchmarks.parts.noise import payloads
from mediaserver.bench import accounting as cpu_time
from mediaserver.bench.load import wire as load_wire

PERIOD_S = 0.020
PAYLOADS = payloads(251)
PAYLOADS_B64 = [base64.b64encode(payload) for payload in PAYLOADS]

Send = Callable[[int], None]
"""Sends the frame of this number."""


def udp_call(port: int, number: int) -> tuple[Send, Callable[[], None]]:
    """A forked call, its one track to the pair of ports that is its own."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(("127.0.0.1", port + 2 * number))

    def send(frame: int) -> None:
        head = struct.pack("!BBHII", 0x80, 0, frame & 0xFFFF, frame * 160, 7000 + number)
        sock.send(head + PAYLOADS[frame % len(PAYLOADS)])

    return send, sock.close


def websocket_call(port: int, number: int) -> tuple[Send, Callable[[], None]]:
    """A stream."""
    sock = socket.create_connection(("127.0.0.1", port), 10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    request, accept = load_wire.upgrade("/media", port)
    sock.sendall(request)
    head = b""
    while b"\r\n\r\n" not in head:
        head += sock.recv(4096)
    load_wire.check_upgraded(head.partition(b"\r\n\r\n")[0], accept)
    stream = load_wire.Stream(number)
    sock.sendall(stream.opening())

    def send(frame: int) -> None:
        sock.sendall(stream.media(PAYLOADS_B64[frame % len(PAYLOADS)]))

    def end() -> None:
        sock.sendall(stream.closing())
        sock.settimeout(5)
        while sock.recv(4096):
            pass
        sock.close()

    return send, end


def run(args: argparse.Namespace) -> dict[str, object]:
    """Send, measure the steady window, hang up."""
    kind = udp_call if args.udp else websocket_call
    calls = [kind(args.port, number) for number in range(args.calls)]
    sends, step_s = [send for send, _ in calls], PERIOD_S / args.calls
    n_warm, n_all = (
        round(seconds / PERIOD_S) * args.calls
        for seconds in (args.warmup, args.warmup + args.seconds)
    )
    began = time.monotonic() + PERIOD_S
    before = 0
    for number in range(n_all):
        if number == n_warm:
            before = cpu_time.spent_ns(args.pid)
        wait_s = began + number * step_s - time.monotonic()
        if wait_s > 0:
            time.sleep(wait_s)
        sends[number % args.calls](number // args.calls)
    time.sleep(2 * PERIOD_S)
    spent_ns = cpu_time.spent_ns(args.pid) - before
    for _, end in calls:
        end()
    return {"frames": n_all, "cpu_us_per_frame": spent_ns / 1000 / (n_all - n_warm)}


def main() -> int:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    command.add_load_flags(parser)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--udp", action="store_true")
    try:
        print(json.dumps(run(parser.parse_args())))
    except (Failed, OSError, load_wire.ProtocolError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
