"""One megabyte in one message: the server grows by no more than 5 MB, and only while it is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.attacking import FULL, SPOKEN, leave, sized
from tests.server.rawclient import TEXT, RawCall, Server, frame, serving

pytestmark = pytest.mark.xdist_group("attacks")  # they share a server

MIB = 1 << 20
MOST_KIB = 5_000
BODIES = {
    "media": b'{"event":"media","media":{"payload":"' + b"A" * (MIB - 60) + b'"}}',
    "list": b"[" + b"[]," * (MIB // 3 - 10) + b"[]]",
    "tags": b'{"event":"start","start":{"tags":[' + b"[]," * (MIB // 3 - 30) + b"[]]}}",
    "binary": b"",
    "fragments": b"",
}
# What is no single text frame.
FRAMES = {
    "binary": frame(2, bytes(MIB - 10)),
    "fragments": frame(TEXT, b" ", fin=False)
    + frame(0, b" " * 4_100, fin=False) * 253
    + frame(0, b" "),
}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose memory no other attack has been in."""
    with serving(tmp_path_factory.mktemp("memory") / "server.log") as running:
        yield running


def reset_peak(server: Server) -> None:
    """Let ``VmHWM`` begin anew."""
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")


@pytest.mark.parametrize("name", BODIES)
def test_a_megabyte_in_one_message(fresh: Server, name: str) -> None:
    """Peak and rest, against the server before it; a call has been held by then."""
    with RawCall(fresh.port) as call:
        call.begin()
        assert call.echoed(SPOKEN) == SPOKEN
        before = fresh.memory_kib("VmRSS")
        reset_peak(fresh)
        octets = FRAMES.get(name) or frame(TEXT, BODIES[name])
        for _ in range(sized(3, 100)):
            call.send(octets)
        assert call.echoed(SPOKEN) == SPOKEN
        leave(call)
    peak, after = fresh.memory_kib("VmHWM"), fresh.memory_kib("VmRSS")
    if FULL:
        print(f"\n{name}: peak +{peak - before} KiB, then +{after - before} KiB")
    assert peak - before <= MOST_KIB
