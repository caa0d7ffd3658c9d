"""The command line as a process: exit codes, one clear line, signals, start-up."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import wave
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mediaserver.carrier import CallPlan, FakeCall

READY = re.compile(r"mediaserver ready on (ws://[^\s\"]+)")


def run(
    *arguments: str, timeout_s: float = 60, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """One command to its end; ``env`` beside this process' environment."""
    command = [sys.executable, "-m", "mediaserver", *arguments]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        env={**os.environ, **(env or {})},
    )


@contextlib.contextmanager
def serve(
    *arguments: str, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server process on a free port, and its URL."""
    command = [sys.executable, "-m", "mediaserver", "serve", "--port", "0", *arguments]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if found := READY.search(line):
                yield process, found[1]
                break
        else:
            raise AssertionError("the server never got ready")
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serve", "--processor", "bogus"], "unknown processor 'bogus'"),
        (["serve", "--processor", "echo?loud=1"], "unknown parameter 'loud'"),
        (["serve", "--port", "http"], "port"),
        (["serve", "--port", "70000"], "port"),
        (["serve", "--send-mode", "wav"], "send_mode"),
        (["serve", "--send-codec", "EVS"], "EVS"),
        (["serve", "--send-codec", "OPUS", "--send-rate", "44100"], "44100"),
        (["serve", "--config", "no-such-file.toml"], "no-such-file.toml"),
        (["serve", "--bogus"], "--bogus"),
        (["serve", "--answer"], "answer needs"),
        (["serve", "--auto-restart"], "auto_restart needs"),
        (["serve", "--public-keys", "x"], "public key"),
        (["bogus"], "bogus"),
        ([], "COMMAND"),
        (["simulate"], "--url"),
        (["simulate", "--url", "ws://127.0.0.1:1/media", "--codec", "EVS"], "EVS"),
        (["demo", "--seconds", "0"], "--seconds"),
        (["demo", "--audio", "no-such-file.wav"], "no-such-file.wav"),
    ],
)
def test_what_is_wrong_is_one_clear_line(arguments: list[str], said: str) -> None:
    """Exit code 2, one line on stderr that names the fault, nothing on stdout, no traceback."""
    ran = run(*arguments)
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert said in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_a_port_in_use_is_one_clear_line() -> None:
    """The address that cannot be listened on is named; exit code 2."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = run("serve", "--port", str(port))
    assert ran.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_settings_come_from_environment_and_file(tmp_path: Path) -> None:
    """Flags go over environment, environment over file; unknown keys are refused."""
    config = tmp_path / "settings.toml"
    config.write_text('port = 1\n[[processors]]\nname = "bogus-file"\n')
    assert "bogus-file" in run("serve", "--config", str(config)).stderr
    assert "bogus-flag" in run("serve", "--config", str(config), "--processor", "bogus-flag").stderr
    config.write_text("colour = 1\n")
    assert "colour" in run("serve", "--config", str(config)).stderr
    config.write_text("port = [")
    assert str(config) in run("serve", "--config", str(config)).stderr


@pytest.mark.parametrize("command", ["processors", "codecs"])
def test_lists(command: str) -> None:
    """What there is, a line each."""
    ran = run(command)
    assert ran.returncode == 0
    assert ("echo" if command == "processors" else "AMR-WB") in ran.stdout


def test_processors_says_why_one_is_not_available() -> None:
    """A processor that cannot be used is listed with its reason."""
    assert "not available" in run("processors", "no.such.module:thing").stdout


@pytest.mark.parametrize(
    ("code", "said"),
    [("raise SystemExit(3)", "SystemExit: 3"), ("raise KeyboardInterrupt", "KeyboardInterrupt")],
)
def test_a_broken_plugin_is_listed_and_stops_nobody(tmp_path: Path, code: str, said: str) -> None:
    """It is installed, and wants to exit when it is imported: the list says so, and goes on."""
    about = tmp_path / "broken-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[mediaserver.processors]\nabroken = broken_plugin:thing\n"
    )
    (tmp_path / "broken_plugin.py").write_text(f"{code}\n")
    ran = run("processors", env={"PYTHONPATH": str(tmp_path)})
    assert ran.returncode == 0
    lines = ran.stdout.splitlines()
    assert lines[0] == f"abroken      not available: processor abroken: {said}"
    names = [line.split()[0] for line in lines]
    assert names == ["abroken", "barge_in", "beep_detect", "echo", "player", "record", "vad"]


def test_help_names_every_command() -> None:
    """``--help`` lists the commands."""
    ran = run("--help")
    assert ran.returncode == 0
    for command in ("serve", "demo", "simulate", "control", "processors", "codecs"):
        assert command in ran.stdout


def http_status(url: str, path: str) -> int:
    """The status; 503 as well where nobody listens any more."""
    try:
        with urllib.request.urlopen(url.replace("ws://", "http://").replace("/media", path)) as got:
            return int(got.status)
    except urllib.error.HTTPError as refused:
        return int(refused.code)
    except (urllib.error.URLError, ConnectionError):
        return 503


async def port_is_free(url: str) -> None:
    """Wait until another process can listen."""
    address = urlsplit(url).hostname, urlsplit(url).port
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(OSError), socket.create_server(address):
                return
            await asyncio.sleep(0.02)


async def test_sigterm_lets_live_calls_end() -> None:
    """After SIGTERM: the port is free at once, the live call ends well, exit code 0."""
    with serve("--processor", "echo") as (process, url):
        assert http_status(url, "/readyz") == 200
        async with FakeCall.connect(url, CallPlan(seconds=1.0)) as call:
            await call.send_payload(b"\xff" * 160)
            await call.wait_until(lambda: bool(call.received))
            process.send_signal(signal.SIGTERM)
            while http_status(url, "/readyz") != 503:  # the signal takes its time
                assert process.poll() is None
            await port_is_free(url)
            assert process.poll() is None
            await call.send_payload(b"\xff" * 160)
            await call.wait_until(lambda: len(call.received) >= 2)
        assert process.wait(10) == 0
        assert call.record.close_code == 1000


async def test_a_second_sigterm_ends_now() -> None:
    """A second signal closes live calls with 1001 and exits."""
    with serve("--processor", "echo") as (process, url):
        async with FakeCall.connect(url, CallPlan(seconds=30.0)) as call:
            await call.send_payload(b"\xff" * 160)
            await call.wait_until(lambda: bool(call.received))
            process.send_signal(signal.SIGTERM)
            while http_status(url, "/readyz") != 503:  # else the two might be taken for one
                assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            await call.wait_until(call.closed.is_set, 10)
            assert call.record.close_code == 1001
        assert process.wait(10) in (0, 1)  # 1: the machine was too busy for its two seconds


@pytest.mark.long
def test_a_hundred_calls_lose_nothing() -> None:
    """A hundred paced calls on one worker: all frames back, none lost, none out of order."""
    # The machine may stall for longer than live audio may be late: here it may be.
    with serve(
        "--processor",
        "echo",
        environment={"MEDIASERVER_BACKLOG_MS": "60000", "MEDIASERVER_CATCH_UP": "false"},
    ) as (_, url):
        ran = run(
            *("simulate", "--url", url, "--calls", "100", "--seconds", "4", "--linger", "30"),
            *("--expect-echo", "--json", "--max-late", "60000"),
        )
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr
    report = json.loads(ran.stdout)
    summary = report["summary"]
    assert (summary["calls"], summary["failed"], summary["lost"]) == (100, 0, 0)
    assert summary["sent"] == summary["returned"] == 20_000
    assert all(call["bit_exact"] for call in report["calls"])


def written(folder: Path, least: int) -> list[Path]:
    """The recordings in ``folder`` that have so many octets."""
    return [path for path in folder.glob("*.wav") if path.stat().st_size >= least]


async def test_a_killed_server_leaves_a_playable_recording(tmp_path: Path) -> None:
    """``kill -9`` in the middle of a call: the WAV file opens and holds what was written."""
    with serve("--processor", f"record?directory={tmp_path}&layout=tracks") as (process, url):
        async with FakeCall.connect(url, CallPlan(payloads=[b"\x80" * 160])) as call:
            for _ in range(60):
                await call.send_payload(b"\x80" * 160)
            deadline = time.monotonic() + 10
            while not (files := written(tmp_path, 8000)):
                assert time.monotonic() < deadline, "nothing was written"
                await call.send_payload(b"\x80" * 160)
            process.kill()
            process.wait()
    with wave.open(str(files[0])) as recording:
        n_frames = recording.getnframes()
        samples = recording.readframes(n_frames)
    assert n_frames >= 3978
    assert len(samples) == 2 * n_frames


def test_importing_the_package_is_light() -> None:
    """``import mediaserver`` brings numpy, but no web framework, HTTP client or codec library."""
    code = "import sys, mediaserver; print(*sorted(m.split('.')[0] for m in sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"starlette", "uvicorn", "httpx", "nacl", "av", "rich", "lameenc", "soxr", "G722"}
    assert not heavy & set(ran.stdout.split())


def test_a_workers_program_is_light() -> None:
    """A worker loads no web framework, no HTTP client, and nothing that checks signatures."""
    code = "import sys, mediaserver.app.worker_main; print(*sorted(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ran.stdout.split())
    heavy = {"starlette", "uvicorn", "h11", "httpx", "nacl", "av", "rich", "lameenc", "soxr"}
    assert not heavy & {name.partition(".")[0] for name in loaded}
    assert "mediaserver.control.client" not in loaded
