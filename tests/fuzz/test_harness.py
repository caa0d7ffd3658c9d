from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import run
from tests.fuzz.codecs import DECODERS_HERE, OneDecoder
from tests.fuzz.harness import Target, TooMuchWorkError, feed, pieces

FILLS = {"zeros": b"\0", "ones": b"\xff", "table": b"\xf4\x84", "count": bytes(range(256))}


def test_work_past_its_bound_is_a_finding() -> None:
    """An input whose cost grows with its square is ended when it passes what is linear."""

    def squared(data: bytes) -> bool:
        return all(data.count(each) for each in data for _ in data)

    target = Target(squared, calls=100, calls_per_octet=10.0)
    assert feed(target, b"12345678")
    with pytest.raises(TooMuchWorkError):
        feed(target, b"1" * 200)


def test_memory_past_its_bound_is_a_finding() -> None:
    """So is a small input that takes much memory for a moment."""
    target = Target(lambda data: bool(bytearray(data[0] << 16)), kib=1024)
    assert feed(target, b"\x01")
    with pytest.raises(AssertionError, match="at its peak"):
        feed(target, b"\xff")


def test_pieces_are_the_whole() -> None:
    """Wherever it is cut."""
    assert pieces(b"abcdef", b"\x01\x00\x03") == [b"a", b"bcd", b"ef"]
    assert pieces(b"", b"\x05") == []


@pytest.mark.parametrize("decoder", DECODERS_HERE, ids=lambda each: each.label)
@pytest.mark.parametrize("fill", FILLS)
def test_a_payload_of_a_megabyte_costs_little(decoder: OneDecoder, fill: str) -> None:
    """It is refused, or played as far as its codec allows; work is counted, not timed."""
    for n in (60_000, 240_001, 1_000_000):
        data = (FILLS[fill] * n)[:n]
        target = Target(lambda data: decoder.feed([data], 0), calls_per_octet=0.2, kib=32 * 1024)
        feed(target, data)


BROKEN = """
import sys
from tests.fuzz import run
from tests.fuzz.harness import Target

def check(data):
    assert data.count(b"e") < 12
    return True

run.guided, run.load = run.unguided, lambda name: Target(check)
sys.argv[1:] = ["webhook_bodies", "--seconds", "60", "--seed", "1", "--keep", sys.argv[1]]
run.main()
"""


def test_a_broken_promise_ends_the_run_and_is_kept(tmp_path: Path) -> None:
    """Also where there is no Atheris: the exit code says so, and the input is in a file."""
    ran = subprocess.run(
        [sys.executable, "-c", BROKEN, str(tmp_path)],
        cwd=run.ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 1
    (kept,) = tmp_path.glob("broke-webhook_bodies-*")
    assert kept.read_bytes().count(b"e") >= 12
