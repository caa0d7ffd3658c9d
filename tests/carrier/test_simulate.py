"""The command that places fake calls, against real servers."""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import signal
import threading
import wave
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest

from mediaserver.carrier import CallPlan, CallReport, PlanError, Summary
from mediaserver.carrier.call import TOO_SLOW
from mediaserver.cli.commands import simulate
from mediaserver.cli.commands.simulate import processes
from mediaserver.cli.commands.simulate.command import too_slow

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


def loud_file(folder: Path) -> Path:
    """A tenth of a second, as loud as can be."""
    path = folder / "loud.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\xff\x7f\x01\x80" * 400)
    return path


def test_a_bot_that_hangs_up_is_a_success(served: Served, capsys: Capture, tmp_path: Path) -> None:
    """The caller answers the silence and the mark; what they heard, and when, is told and kept."""
    file = tmp_path / "heard.wav"
    with served("bot") as server:
        turns = ("--say", f"silence:{loud_file(tmp_path)}", "--press", "silence:1")
        flags = ("--quiet", "0.3", "--expect-hangup", "--listen", str(file), "--max-late", "9999")
        assert command("--url", server.url, *turns, *flags, "--seconds", "60") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "# in out said s heard s first keys marks end s ended by" in out
    assert "PCMU 8k PCMU 8k 0.1 0.4 0.0 1 1" in out
    assert "the bot ok" in out
    assert "lost" not in out
    assert "hung up by the bot 1" in out
    with wave.open(str(file)) as heard:
        samples = np.frombuffer(heard.readframes(heard.getnframes()), np.int16)
    # The greeting of 0.3 s, the thanks of 0.1 s, and silence in between and behind.
    assert np.count_nonzero(np.abs(samples) > 1000) == 0.4 * 8000
    last = np.flatnonzero(samples)[-1]
    assert last > 0.6 * 8000
    assert len(samples) - last > 0.25 * 8000


@pytest.mark.long
def test_a_mark_starts_a_turn_and_json_tells_the_turns(served: Served, capsys: Capture) -> None:
    """``mark:NAME`` waits for the mark, and the JSON of such a call has no figures of an echo."""
    with served("bot") as server:
        turns = ("--say", "mark:said", "--press", "silence:1", "--quiet", "0.2")
        assert command("--url", server.url, *turns, "--json", "--max-late", "9999") == 0
    report = json.loads(capsys.readouterr().out)
    (call,) = report["calls"]
    assert [each["name"] for each in call["taken"]] == ["--say mark:said", "--press silence:1"]
    assert call["taken"][0]["from_s"] >= 0.3
    assert call["heard_at_s"][0][0] < 0.3
    assert call["heard_at_s"][-1][1] > call["taken"][0]["from_s"]
    assert (call["dtmf"], call["bot_hung_up"], call["waiting"]) == ("1", True, [])
    assert not {"round_trip_ms", "snr_db", "lost", "lag_ms", "bit_exact"} & set(call)
    assert report["summary"]["too_slow"] is None


@pytest.mark.parametrize(
    ("handler", "flags", "says"),
    [
        ("listen", ["--say", "0s"], "1 × the bot was silent"),
        ("listen", ["--press", "silence:1"], "1 × the bot was silent"),
        ("bot", ["--expect-hangup"], "1 × the bot did not hang up"),
        ("bot", ["--say", "mark:other"], "1 × its moment never came: --say mark:other"),
    ],
)
def test_a_bot_that_does_not_do_its_part_is_named(
    served: Served, capsys: Capture, handler: str, flags: list[str], says: str
) -> None:
    """Exit code 1, and the reason in a line."""
    with served(handler) as server:
        flags += ["--seconds", "1.5", "--max-late", "9999"]
        assert command("--url", server.url, *flags) == 1
    assert says in capsys.readouterr().out


def test_a_hang_up_before_a_turn_is_named(served: Served, capsys: Capture) -> None:
    """What the caller was to do later was not done."""
    with served("bot") as server:
        flags = ["--say", "0s", "--press", "0.5s:1", "--press", "20s:2", "--max-late", "9999"]
        assert command("--url", server.url, *flags) == 1
    assert "1 × the bot hung up before --press 20s:2" in capsys.readouterr().out


def test_an_echo_that_hangs_up_is_none(served: Served, capsys: Capture) -> None:
    """Without turns a hang-up is fine too, but not where an echo was asked for."""
    with served("bot") as server:
        flags = ("--url", server.url, "--press", "0.3:1", "--max-late", "9999")
        assert command(*flags) == 0
        assert command(*flags, "--expect-echo") == 1
    assert "1 × the server closed: 1000" in capsys.readouterr().out


def test_several_processes_report_as_one(served: Served, capsys: Capture, tmp_path: Path) -> None:
    """Every call is reported once, in order, with all its times and with what it heard."""
    with served() as server:
        flags = ("--calls", "5", "--processes", "2", "--seconds", "0.2", "--linger", "30")
        more = ("--expect-echo", "--json", "--record", str(tmp_path), "--max-late", "9999")
        assert command("--url", server.url, *flags, *more) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["summary"]["sent"] == report["summary"]["returned"] == 50
    worst = max(call["round_trip_ms"]["max"] for call in report["calls"])
    assert report["summary"]["round_trip_ms"]["max"] == worst
    assert all(call["bit_exact"] for call in report["calls"])
    assert len(list(tmp_path.glob("call-*.wav"))) == 5


def test_reports_of_processes_are_in_the_order_of_the_plans(served: Served) -> None:
    """The plan of each report is the one that was given in its place."""
    plans = [CallPlan(seconds=0.02 * (1 + n), linger_s=30) for n in range(5)]
    told: list[float] = []
    with served() as server:
        reports = processes.hold(server.url, plans, 3, audio=False, tell=told.append)
    assert [report.sent for report in reports] == [1, 2, 3, 4, 5]
    assert [r.plan.call_control_id for r in reports] == [p.call_control_id for p in plans]
    assert all(report.heard is None and len(report.late_ms) == report.sent for report in reports)
    assert told


def test_a_process_says_what_is_wrong() -> None:
    """What a process cannot carry out is raised here."""
    plans = [CallPlan(payloads=[])] * 2
    with pytest.raises(PlanError, match="no audio"):
        processes.hold("ws://127.0.0.1:9", plans, 2, audio=False, tell=lambda _: None)


def test_a_killed_process_is_named(
    served: Served, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends with exit code 2 and a line, and leaves no process behind."""

    def kill_one(_: float) -> None:
        victim = multiprocessing.active_children()[0]
        os.kill(victim.pid or 0, signal.SIGKILL)

    with served("listen") as server:
        plans = [CallPlan(seconds=60)] * 2
        with pytest.raises(processes.LostProcessError, match="was killed"):
            processes.hold(server.url, plans, 2, audio=False, tell=kill_one)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(("calls", "cores", "n"), [(1, 2, 1), (50, 2, 1), (51, 2, 2), (900, 4, 4)])
def test_how_many_processes(
    calls: int, cores: int, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for some calls, more for many, never more than cores."""
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert processes.default_processes(calls) == n


def test_a_machine_that_is_too_slow_ends_the_run_with_a_verdict(
    served: Served, capsys: Capture
) -> None:
    """Exit code 3, whatever came of the calls, and a line that says whose fault it is."""
    with served() as server:
        flags = ("--url", server.url, "--seconds", "0.1", "--linger", "30", "--max-late", "0")
        assert command(*flags) == 3
        assert command(*flags, "--json") == 3
    out = capsys.readouterr().out
    assert "this machine was too slow: sent late p99" in " ".join(out.split())
    assert (
        "the figures say nothing of the server"
        in json.loads(out[out.index("{") :])["summary"]["too_slow"]
    )


def test_calls_given_up_are_a_verdict_too() -> None:
    """Calls that ended because their caller was far behind make the run worth nothing."""
    report = CallReport(CallPlan(), error=TOO_SLOW, late_ms=np.array([1.0, 3.0]))
    said = too_slow(Summary.of([report, report]), 100.0)
    assert said is not None
    assert "2 calls were given up" in said
    fine = CallReport(CallPlan(), hung_up=True, late_ms=np.array([1.0, 3.0]))
    assert too_slow(Summary.of([fine]), 100.0) is None
    assert too_slow(Summary.of([CallReport(CallPlan(), error="no connection")]), 100.0) is None


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
        " --param a=b --param c=d=e --error-shape error --seconds 3 --press 1:5 --press 2s:#12"
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
    assert (plan.seconds, plan.dtmf, plan.hang_up_at_s) == (
        3,
        [(1, "5"), (2, "#"), (2.2, "1"), (2.4, "2")],
        2.5,
    )
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
        ["--listen", "heard.wav", "--figures-only"],
        ["--listen", "heard.wav", "--calls", "2"],
        ["--listen", "no-such-folder/heard.wav"],
        ["--say", "silence:no-such-file.wav"],
        ["--say", "silence", "--expect-echo"],
        ["--say", "silence", "--tracks", "both"],
        ["--expect-hangup", "--codec", "OPUS", "--chunk-ms", "30"],
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
        (["--press", "1"], "'1' names no keys: it is WHEN:KEYS, as in 2s:1"),
        (["--press", "1:"], "'1:' names no keys: it is WHEN:KEYS, as in 2s:1"),
        (["--press", "1:5x"], "'1:5x': '5x' are not keys; a telephone has 0 to 9, *, # and A to D"),
        (["--press", "soon:5"], "'soon:5' is not WHEN:KEYS, as in 2s:1 or silence:12#; WHEN is"),
        (["--press", "mark:5"], "'mark:5' names no keys"),
        (["--say", "hello.wav"], "WHEN is 2s, silence or mark:NAME, not 'hello.wav'"),
        (["--say", "-2s:hello.wav"], "expected one argument"),
        (["--say", "2x:hello.wav"], "not '2x'"),
        (["--say", "mark:"], "'mark:' names no mark: write mark:NAME"),
        (["--max-late", "x"], "'x' is not a number of milliseconds"),
        (["--processes", "0"], "'0' is not a number above 0"),
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
