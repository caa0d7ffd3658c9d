"""The command that places fake calls, against real servers."""

from __future__ import annotations

import argparse
import asyncio
import json
import threading
import wave
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from mediaserver.cli import simulate

from .conftest import Server, ServerAt

Capture = pytest.CaptureFixture[str]
Served = Callable[..., AbstractContextManager[Server]]


def command(*flags: str) -> int:
    parser = argparse.ArgumentParser("mediaserver")
    simulate.register(parser.add_subparsers(required=True))
    args = parser.parse_args(["simulate", *flags])
    code: int = args.run(args)
    return code


@pytest.fixture
def served(server_at: ServerAt) -> Served:
    """A server in a thread of its own, since the command runs a loop of its own."""

    @contextmanager
    def start(handler: str = "echo") -> Iterator[Server]:
        ready: Future[Server] = Future()
        loop = asyncio.new_event_loop()
        done = asyncio.Event()

        async def serve() -> None:
            async with server_at(handler) as server:
                ready.set_result(server)
                await done.wait()

        thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
        thread.start()
        try:
            yield ready.result(5)
        finally:
            loop.call_soon_threadsafe(done.set)
            thread.join()
            loop.close()

    return start


def test_a_table_shows_the_calls(served: Served, capsys: Capture, tmp_path: Path) -> None:
    """Two calls give two rows and a summary, exit code 0, and a recording each."""
    with served() as server:
        flags = (
            "--calls",
            "2",
            "--seconds",
            "0.2",
            "--linger",
            "5",
            "--record",
            str(tmp_path / "heard"),
        )
        assert command("--url", server.url, *flags, "--expect-echo") == 0
    out = capsys.readouterr().out
    assert out.count("exact") == 2
    assert "2 calls, 0 failed; sent 20, returned 20, lost 0; round trip" in out
    for name in ("call-1.wav", "call-2.wav"):
        with wave.open(str(tmp_path / "heard" / name)) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
            assert file.getnframes() >= 1600


def test_json_has_the_summary_and_every_call(served: Served, capsys: Capture) -> None:
    """The report is one JSON object, and nothing else is on standard output."""
    with served() as server:
        assert command("--url", server.url, "--seconds", "0.1", "--json", "--codec", "g722") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["summary"]["sent"] == 5
    assert report["calls"][0]["codec"] == "G722"
    assert report["calls"][0]["problem"] is None


def test_a_failed_call_is_exit_code_1(served: Served, capsys: Capture) -> None:
    """A server that says nothing is fine, unless an echo was asked for; then it is named."""
    with served("listen") as server:
        flags = ("--url", server.url, "--seconds", "0.04", "--linger", "0")
        assert command(*flags) == 0
        assert command(*flags, "--expect-echo", "--calls", "21") == 1
    assert "21 × nothing came back" in capsys.readouterr().out


def test_every_flag_reaches_the_plan(tmp_path: Path) -> None:
    """Script, formats and faults are those of the flags."""
    clip = tmp_path / "clip.wav"
    with wave.open(str(clip), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\x01\x00" * 800)
    parser = argparse.ArgumentParser()
    simulate.register(parser.add_subparsers())
    flags = (
        "simulate --url ws://x --codec l16 --rate 16000 --send-codec pcma --send-rate 8000"
        " --mode mp3 --tracks both --chunk-ms 40 --chunk-numbering shared --token t"
        " --param a=b --param c=d=e --error-shape error --seconds 3 --dtmf 1:5 --dtmf 2:#"
        " --hang-up-at 2.5 --reconnect-at 1 --reconnect-numbering continue --linger 0.1"
        " --reorder 3 --duplicate 0.1 --drop 0.2 --jitter 30 --stall 1:0.5"
        " --abrupt-close-at 2 --seed 9"
    )
    plan = simulate.plan_of(parser.parse_args([*flags.split(), "--audio", str(clip)]))
    assert (plan.codec, plan.rate_hz, plan.send_codec, plan.send_rate_hz) == (
        "L16", 16000, "PCMA", 8000)  # fmt: skip
    assert (plan.mode, plan.tracks, plan.chunk_ms) == ("mp3", "both", 40)
    assert (plan.chunk_numbering, plan.token, plan.error_shape) == ("shared", "t", "error")
    assert plan.custom_parameters == {"a": "b", "c": "d=e"}
    assert (plan.seconds, plan.dtmf, plan.hang_up_at_s) == (3, [(1, "5"), (2, "#")], 2.5)
    assert (plan.reconnect_at_s, plan.reconnect_numbering) == (1, "continue")
    assert (plan.linger_s, plan.seed) == (0.1, 9)
    assert plan.audio is not None
    assert (plan.audio.rate_hz, plan.audio.samples.tolist()) == (8000, [1] * 800)
    faults = plan.faults
    assert (faults.reorder_window, faults.duplicate, faults.drop) == (3, 0.1, 0.2)
    assert (faults.jitter_s, faults.stall, faults.abrupt_close_at_s) == (0.03, (1, 0.5), 2)


@pytest.mark.parametrize(
    "flags",
    [
        ["--codec", "GSM"],
        ["--codec", "OPUS", "--rate", "44100"],
        ["--send-codec", "MP3"],
        ["--audio", "no-such-file.wav"],
        ["--drop", "2"],
        ["--record", __file__],
        ["--record", "heard", "--figures-only"],
    ],
)
def test_wrong_values_are_one_line_and_exit_code_2(flags: list[str], capsys: Capture) -> None:
    """What cannot be done is said in one line on standard error."""
    assert command("--url", "ws://127.0.0.1:9", "--seconds", "0.1", *flags) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("mediaserver simulate: ")
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_the_address_must_be_a_websockets(capsys: Capture) -> None:
    """An http address is refused."""
    assert command("--url", "http://127.0.0.1:9") == 2
    assert "must begin with ws://" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--calls", "0"], "'0' is not a number above 0"),
        (["--calls", "x"], "'x' is not a number above 0"),
        (["--param", "=x"], "'=x' is not NAME=VALUE"),
        (["--dtmf", "1"], "'1' is not AT:DIGIT"),
        (["--dtmf", "1:x"], "'1:x' is not AT:DIGIT"),
        (["--stall", "1"], "'' is not a number of seconds"),
        (["--seconds", "nan"], "'nan' is not a number of seconds"),
        (["--seconds", "-1"], "'-1' is not a number of seconds"),
    ],
)
def test_unreadable_flags_say_what_is_expected(
    flags: list[str], says: str, capsys: Capture
) -> None:
    """A flag that cannot be read ends with exit code 2 and a line that says why."""
    with pytest.raises(SystemExit) as ended:
        command("--url", "ws://x", *flags)
    assert ended.value.code == 2
    assert says in capsys.readouterr().err.splitlines()[-1]
