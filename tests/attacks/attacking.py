"""Attacks on a server process over loopback, each bounded in count and time.

Every attack has two sizes. The small one runs with all other tests. ``ATTACKS=full``
(``make attacks``) runs the size of an attack as it was found, with 30 good calls beside it in a
process of their own, and prints what they met: no figure of time is asserted, as the machine
decides on it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.server.rawclient import CLOSE, Closed, RawCall, Server, frame, text

FULL = os.environ.get("ATTACKS") == "full"
SPOKEN = bytes(code for code in range(256) if code != 0x7F)[:160]


def sized(small: int, full: int) -> int:
    """How many, by the size of the attack."""
    return full if FULL else small


@contextmanager
def good_calls(server: Server, seconds: float = 12.0) -> Iterator[None]:
    """Calls that nobody may harm: one that echoes before and behind; in full 30 of them.

    Raises:
        AssertionError: one lost something.
    """
    with RawCall(server.port, timeout_s=60) as bystander:
        bystander.begin()
        assert bystander.echoed(SPOKEN) == SPOKEN
        beside = _thirty(server, seconds) if FULL else None
        try:
            yield
            assert bystander.echoed(SPOKEN[::-1]) == SPOKEN[::-1]
        finally:
            output = beside.communicate(timeout=60)[0] if beside is not None else ""
    if FULL:
        summary = json.loads(output)["summary"]
        figures = {name: summary[name] for name in ("sent", "lost", "round_trip_ms", "late_ms")}
        print(f"\n30 good calls beside: {figures}")
        assert summary["lost"] == 0


def _thirty(server: Server, seconds: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "mediaserver", "simulate", "--calls", "30"),
            *("--figures-only", "--json", "--seconds", str(seconds)),
            *("--url", f"ws://127.0.0.1:{server.port}/media"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    time.sleep(2.0)  # they are under way when the attack begins
    return process


def flood(call: RawCall, messages: Callable[[int], bytes], n: int) -> int:
    """Send ``n`` messages as fast as they are taken; the close code, 0 where it stays open.

    Args:
        call: an attacker's, begun.
        messages: makes the frames of so many.
        n: how many.
    """
    sent = 0
    while sent < n:
        part = min(1000, n - sent)
        call.send(messages(part))
        sent += part
    # Behind it: where the socket is still open, this comes back.
    call.send(text(call.media(SPOKEN)))
    try:
        call.heard(len(SPOKEN))
    except Closed as closed:
        return closed.code
    return 0


def leave(call: RawCall) -> None:
    """End the connection behind all that was sent: a reset might throw some of it away."""
    call.send(frame(CLOSE, (1000).to_bytes(2, "big")))
    assert call.close_code() == 1000


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for a condition, for a generous time.

    Raises:
        TimeoutError: it did not come.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.02)
