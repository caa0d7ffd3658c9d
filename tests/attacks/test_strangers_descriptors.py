"""Descriptors run out: said once, counted, told by readiness; calls and health go on."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import pytest

from tests.attacks.strangers import (
    TOKEN,
    UPGRADE,
    Bystanders,
    Crowd,
    cpu_s,
    exact,
    family,
    get,
    kept_up,
    only_full,
    say,
)
from tests.server.rawclient import CONNECTED, RawCall, Server, serving

__all__ = ["exact"]

SPOKEN = b"\x42" * 160


def limit_descriptors(server: Server, n: int) -> None:
    """From now on the server, and each of its workers, may have so many."""
    for pid in family(server.pid):
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (n, n))


def n_descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def echoes(call: RawCall) -> bool:
    return call.echoed(SPOKEN) == SPOKEN


def test_calls_and_health_go_on_where_descriptors_run_out(tmp_path: Path) -> None:
    """Mute ones go first; where all are calls, health answers, and a new one is told 503."""
    arguments = ("--processor", "echo", "--auth-token", TOKEN)
    log = tmp_path / "log"
    with serving(log, *arguments) as server, Crowd(server.port) as crowd:
        path = f"/media/{TOKEN}"
        with RawCall(server.port, path=path) as live:
            live.begin()
            assert echoes(live)
            limit_descriptors(server, n_descriptors(server.pid) + 40)
            crowd.come(80)
            assert echoes(live)
            assert get(server.port, "/healthz")[0] == 200
            assert get(server.port, "/readyz") == (503, '{"status":"no descriptors","calls":1}')
            with RawCall(server.port, path=path) as call:  # for which mute ones go
                call.begin()
                assert echoes(call)
            # Calls that ring are nobody's to push out.
            ringing = UPGRADE.replace(b"/media", path.encode()) + b"\r\n" + CONNECTED
            crowd.come(80, ringing)
            crowd.come(1, ringing)
            answer = crowd.heard(-1)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"No descriptors" in answer
            assert get(server.port, "/healthz")[0] == 200
            assert echoes(live)
            for one in crowd.sockets:
                one.close()
            with RawCall(server.port, path=path) as call:
                call.begin()
                assert echoes(call)
    lines = [line for line in log.read_text().splitlines() if "descriptors" in line]
    assert len(lines) == 1
    assert " WARNING " in lines[0]


@only_full
@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(
    ("who", "octets"),
    [
        ("mute", b""),
        ("unproven", UPGRADE + b"\r\n"),
        ("idle HTTP", b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"),
    ],
    ids=["mute", "unproven", "idle"],
)
def test_200_connections_kept_up(tmp_path: Path, who: str, octets: bytes, workers: str) -> None:
    """Attack 5, at RLIMIT_NOFILE 128: live calls lose nothing, and the processor has rest."""
    arguments = ("--processor", "echo", "--auth-token", TOKEN, "--workers", workers)
    log = tmp_path / "log"
    with serving(log, *arguments) as server:
        beside = Bystanders(server, 16, "--token", TOKEN)
        time.sleep(1)
        pids = family(server.pid)
        cpu_before, begun = cpu_s(pids), time.monotonic()
        time.sleep(3)
        calls_cpu = (cpu_s(pids) - cpu_before) / (time.monotonic() - begun)
        limit_descriptors(server, 128)
        n_lines = len(log.read_text().splitlines())
        counts, called_s, health_s = [0], [], []
        cpu_before, begun = cpu_s(pids), time.monotonic()
        look_at = begun + 2
        for came in kept_up(server.port, 200, 8, octets):
            counts.append(came)
            if time.monotonic() >= look_at:
                look_at += 2
                at = time.monotonic()
                assert get(server.port, "/healthz")[0] == 200
                health_s.append(round(time.monotonic() - at, 3))
                with RawCall(server.port, path=f"/media/{TOKEN}") as call:
                    call.begin()
                    assert echoes(call)
                called_s.append(round(time.monotonic() - at - health_s[-1], 3))
        cpu = (cpu_s(pids) - cpu_before) / (time.monotonic() - begun)
        lines = log.read_text().splitlines()[n_lines:]
        at = time.monotonic()
        with RawCall(server.port, path=f"/media/{TOKEN}") as call:
            call.begin()
            assert echoes(call)
        new_s = time.monotonic() - at
        summary = beside.summary()
        say(
            f"200 {who} connections kept up at 128 descriptors, {workers} worker(s)",
            came=counts[-1],
            calls_cpu=f"{calls_cpu:.0%}",
            cpu=f"{cpu:.0%}",
            lines=len(lines),
            said=sum("descriptors run out" in line for line in lines),
            health_s=health_s,
            calls_s=called_s,
            new_call_s=round(new_s, 3),
            missed=summary["missed"],
            lost=summary["lost"],
            round_trip_ms=summary["round_trip_ms"],
        )
        assert summary["missed"] == 0
        assert sum("descriptors run out" in line for line in lines) <= 1
        assert len(lines) < 100 * 10 / 60 + 4 * len(called_s)
        assert new_s <= 1
