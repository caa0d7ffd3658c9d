"""What would a compiled part gain? The steps of a frame that one could do, met warm.

  unmask     the WebSocket frame's octets
  JSON       the message to a struct, its payload from base64
  µ-law      to int16 in numpy
  int16      to µ-law
  base64     and the message that goes back
  all        these five
  C          all of it in C (benchmarks/peers/echo.c), where there is a compiler

The frames are those of the load: real speech in PCMU.

What this does NOT show
  - what a frame costs in a server: there each step is met cold, and the kernel's part, order,
    time, chain, playout and the calls between them come on top (frame_cost says how much);
  - what a call from Python into a compiled part costs: it would come on top of C.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import timeit
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pybase64 import b64encode

from benchmarks.parts import command
from mediaserver.bench.load import wire
from mediaserver.bench.load.voices import voice
from mediaserver.server.sockets.frames.websocket import apply_mask
from mediaserver.wire.messages import MEDIA_HEAD, MEDIA_TAIL, decode
from telephony_codecs import codec

SMALLEST = {"rounds": 1}
SOURCE = Path(__file__).resolve().parent / "peers/echo.c"
_HEAD = b"\x81\x7e\x01\x00" + MEDIA_HEAD


def measure(args: argparse.Namespace) -> command.Report:
    """The least time of each step, in µs a frame."""
    said = voice("PCMU")
    stream = wire.Stream(1, said.form)
    stream.opening()
    frames = [stream.media(each) for each in said.payloads_base64[:400]]
    decoder, encoder = codec("PCMU").decoder(), codec("PCMU").encoder()
    texts = [apply_mask(each[8:], each[4:8]) for each in frames]
    payloads = list(said.payloads[:400])
    pcm = [decoder.decode(each) for each in payloads]

    def least(step: Callable[[Any], object], items: Sequence[Any]) -> float:
        def run() -> None:
            for each in items:
                step(each)

        return min(timeit.repeat(run, number=1, repeat=20 * args.rounds)) / len(items) * 1e6

    idle = least(lambda _: None, frames)
    steps = {
        "unmask": least(lambda each: apply_mask(each[8:], each[4:8]).isascii(), frames) - idle,
        "JSON": least(decode, texts),
        "µ-law": least(decoder.decode, payloads),
        "int16": least(encoder.encode, pcm),
        "base64": least(lambda each: _HEAD + b64encode(each) + MEDIA_TAIL, payloads) - idle,
    }
    compiled = in_c(frames)
    return {
        "machine": command.machine(),
        "steps": {**steps, "all": sum(steps.values())} | ({"C": compiled} if compiled else {}),
    }


def in_c(frames: Sequence[bytes]) -> float | None:
    """µs a frame in C; None: there is no compiler."""
    with tempfile.TemporaryDirectory(prefix="bench-c-") as folder:
        binary = f"{folder}/echo"
        octets = b"".join(len(each).to_bytes(4, sys.byteorder) + each for each in frames)
        try:
            subprocess.run(["cc", "-O2", "-o", binary, SOURCE], check=True, capture_output=True)
            done = subprocess.run([binary, "time"], input=octets, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            return None
    return float(done.stdout) / 1000


def show(report: command.Report) -> None:
    """The table, for people."""
    print("\nµs a frame, the least of all rounds")
    for name, cost in report["steps"].items():
        print(f"  {name:<8}{cost:8.2f}")
    if "C" not in report["steps"]:
        print("  C is not available: there is no compiler here")


def main(argv: list[str] | None = None) -> int:
    """Run as the command line says."""
    parser = command.parser(__doc__, SMALLEST)
    parser.add_argument("--rounds", type=int, default=5)
    command.add_report_flags(parser, "never: it judges nothing")
    script = command.Script("steps", __doc__, measure, show, lambda _: [])
    return command.run(script, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
