"""The same bots do the same inline and in a processor host."""

from __future__ import annotations

import asyncio
import json
import os
import wave
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import pytest

from mediaserver.app import MediaServer
from mediaserver.carrier import CallPlan, FakeCall, place_call, place_calls
from mediaserver.server.service import SingleProcessService
from mediaserver.settings import ProcessorSetting, Settings
from tests.server.conftest import Serving
from tests.server.isolation.isolated_bots import tone
from tests.server.watching import soon

BOTS = Path(__file__).parent / "isolated_bots.py"
Where = Literal["none", "process"]


@pytest.fixture(params=["none", "process"])
def where(request: pytest.FixtureRequest) -> Where:
    """Inline, or isolated."""
    found: Where = request.param
    return found


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """An audio file of 0.1 s."""
    path = tmp_path / "clip.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(tone(0.1).tobytes())
    return path


def bot(name: str, where: Where, notes: Path, **parameters: Any) -> ProcessorSetting:
    given = {"notes": str(notes), **parameters}
    return ProcessorSetting(f"{BOTS}:{name}", given, alias=name, isolate=where)


def noted(notes: Path, plan: CallPlan) -> list[list[Any]]:
    """What the bots wrote of a call."""
    path = notes / f"{plan.call_control_id.replace(':', '-')}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def test_it_runs_where_it_is_said_to(
    serving: Serving, where: Where, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, or in another one, which does not get what looks like a secret."""
    monkeypatch.setenv("BOT_TOKEN", "canary")
    monkeypatch.setenv("BOT_API_KEY", "wanted")
    monkeypatch.setenv("BOT_HOME", "plain")
    plan = CallPlan(seconds=0.2)
    async with serving(bot("pid", where, tmp_path), host_env=("BOT_API_KEY",)) as server:
        assert (await place_call(server.url, plan)).problem is None
    (((pid, names),)) = noted(tmp_path, plan)
    assert (pid == os.getpid()) == (where == "none")
    assert names == ["BOT_API_KEY", "BOT_HOME"] + ["BOT_TOKEN"] * (where == "none")


@pytest.mark.parametrize("name", ["echo", "echo_handler"])
async def test_an_echo_is_bit_exact(serving: Serving, where: Where, name: str) -> None:
    """Twenty calls come back as they were; in more than one host."""
    target = "echo" if name == "echo" else f"{BOTS.parent.parent / 'bots.py'}:echo_handler"
    plans = [CallPlan(seconds=1.0, linger_s=20) for _ in range(20)]
    async with serving(ProcessorSetting(target, isolate=where)) as server:
        reports = await place_calls(server.url, plans)
    assert [(r.problem, r.bit_exact, r.lost) for r in reports] == [(None, True, 0)] * 20


async def test_a_call_looks_the_same(serving: Serving, where: Where, tmp_path: Path) -> None:
    """Its facts, its frames and its figures."""
    plan = CallPlan(
        codec="L16", rate_hz=16000, seconds=1.0, custom_parameters={"a": "1"}, send_codec="PCMU"
    )
    async with serving(bot("Boost", where, tmp_path), bot("listen", where, tmp_path)) as server:
        await place_call(server.url + "?q=2", plan)
    facts, frames, figures = noted(tmp_path, plan)
    assert facts[0] == plan.call_control_id
    assert facts[1] == plan.stream_id
    assert facts[4]["a"] == "1"
    assert facts[5:11] == [{"q": "2"}, "/media", "L16", 16000, "PCMU", 8000]
    assert frames[:6] == [50, 16000, "inbound", 0.98, 320, False]
    assert figures == [True, "little"]


@pytest.mark.parametrize("name", ["wide", "pairs"])
async def test_frames_come_as_they_are_wanted(
    serving: Serving, where: Where, tmp_path: Path, name: str
) -> None:
    """At another rate; both tracks together."""
    plan = CallPlan(seconds=1.0, tracks="both")
    async with serving(bot(name, where, tmp_path)) as server:
        await place_call(server.url, plan)
    ((first, second),) = noted(tmp_path, plan)
    if name == "wide":
        assert (first, second > 15_000) == (16000, True)
    else:
        assert (first, second) == (8000, 2)


async def test_every_kind_of_source_ends_as_it_should(
    serving: Serving, where: Where, tmp_path: Path, clip: Path
) -> None:
    """Arrays, bytes, files, iterators; what fails fails alone, what is wrong is refused."""
    plan = CallPlan(seconds=30.0)
    async with serving(bot("plays", where, tmp_path, clip=str(clip))) as server:
        report = await place_call(server.url, plan)
    assert noted(tmp_path, plan) == [
        *[["played", "finished", 0.1]] * 8,
        ["failed", "source", 0.1],
        ["failed", "source", 0.0],
        *[["AudioFormatError"]] * 5,
        ["no such rate"],
        ["CallEndedError"],
    ]
    assert report.returned_s == pytest.approx(0.92, abs=0.1)


async def test_what_there_is_not_is_refused_at_once(
    serving: Serving, where: Where, tmp_path: Path
) -> None:
    """Names of marks, rates and tracks; and nobody can change a frame that others read."""
    plan = CallPlan(seconds=1.0)
    async with serving(bot("asks_oddly", where, tmp_path)) as server:
        await place_call(server.url, plan)
    assert noted(tmp_path, plan) == [
        *[["ConfigurationError"]] * 4,
        *[["AudioFormatError"]] * 18,
        *[["ValueError"]] * 2,
        [16000, False],
    ]


async def test_barge_in_tells_what_was_heard(
    serving: Serving, where: Where, tmp_path: Path
) -> None:
    """Clear, cancel and marks; plays are known again by the object that play() gave."""
    plan = CallPlan(seconds=1.8)
    async with serving(bot("barge_in", where, tmp_path)) as server:
        await place_call(server.url, plan)
    assert noted(tmp_path, plan) == [
        ["played", 0.3],
        ["playing", True],
        [True, "cleared", "barge_in", True],
        ["cleared", "cleared", "cancelled"],
        [True],
        ["played"],
    ]


async def test_events_are_typed(serving: Serving, where: Where, tmp_path: Path) -> None:
    """What Telnyx sends, and the end."""
    plan = CallPlan(seconds=0.6, dtmf=((0.1, "4"), (0.2, "#")))
    async with serving(bot("events", where, tmp_path)) as server:
        await place_call(server.url, plan)
    kinds = [(kind, text) for kind, text, _ in noted(tmp_path, plan)]
    assert [kind for kind, _ in kinds] == ["Dtmf", "Dtmf", "Stop"]
    assert "digit='4'" in kinds[0][1]
    assert kinds[2] == ("Stop", "Stop(reason='stop')")


async def test_own_messages_go_out(serving: Serving, where: Where, tmp_path: Path) -> None:
    """And what is none is refused."""
    plan = CallPlan(seconds=0.3)
    async with serving(bot("messages", where, tmp_path)) as server:
        await place_call(server.url, plan)
        assert server.service.counters["own_messages"] == 1
    assert noted(tmp_path, plan) == [[True], ["ValueError"], ["ValueError"]]


async def test_a_play_is_resumed_on_the_next_socket(
    serving: Serving, where: Where, tmp_path: Path
) -> None:
    """The other one is cleared with its socket."""
    plan = CallPlan(seconds=2.5, reconnect_at_s=0.3)
    async with serving(bot("resumes", where, tmp_path), reconnect_grace_s=5) as server:
        report = await place_call(server.url, plan)
    assert report.reconnects == 1
    assert noted(tmp_path, plan) == [["cleared", "socket"], ["played", 0.6]]


async def test_a_takeover_renews_the_facts(serving: Serving, where: Where, tmp_path: Path) -> None:
    """The event comes with the next socket's codec, stream id and parameters already there."""
    first = CallPlan(seconds=60.0, custom_parameters={"a": "1"})
    second = replace(
        first,
        stream_id="another",
        send_codec="L16",
        send_rate_hz=16000,
        custom_parameters={"a": "2"},
    )
    async with serving(bot("told", where, tmp_path), reconnect_grace_s=10) as server:
        async with FakeCall.connect(server.url, first) as call:
            await call.send_payload(b"\xff" * 160)  # a call without media has no grace
            await call.press("1")
            await soon(lambda: bool(noted(tmp_path, first)), 20)
            call.cut()
        service = server.service
        assert isinstance(service, SingleProcessService)
        session = service.sessions[first.call_control_id]
        await soon(lambda: not session.has_line, 20)
        async with FakeCall.connect(server.url, second) as call:
            await soon(lambda: len(noted(tmp_path, first)) == 3, 20)
            await call.wait_until(lambda: call.intake.ear.n_fed > 0, 20)
    lines = noted(tmp_path, first)
    assert lines[:3] == [
        ["Dtmf", first.stream_id, "PCMU", 8000, "1"],
        ["Reconnected", "another", "L16", 16000, "2"],
        ["played", 0.1],
    ]
    assert [line[0] for line in lines[3:]] == ["Stop"]


async def test_draining_and_shutdown_are_told(
    serving: Serving, where: Where, tmp_path: Path
) -> None:
    """A drained server lets the call go on; a closed one ends it, and says why."""
    plan = CallPlan(seconds=60.0)
    async with AsyncExitStack() as calls:
        async with serving(bot("events", where, tmp_path)) as server:
            call = await calls.enter_async_context(FakeCall.connect(server.url, plan))
            await soon(lambda: server.service.n_calls == 1, 20)
            server.service.drain()
            await soon(lambda: bool(noted(tmp_path, plan)), 20)
            await call.press("5")
            await soon(lambda: len(noted(tmp_path, plan)) == 2, 20)
    lines = [(kind, text) for kind, text, _ in noted(tmp_path, plan)]
    assert [kind for kind, _ in lines] == ["Draining", "Dtmf", "Stop"]
    assert lines[-1][1] == "Stop(reason='shutdown')"


async def test_what_is_too_long_for_the_link_ends_nothing(
    serving: Serving, where: Where, tmp_path: Path
) -> None:
    """A minute of live audio at once; a command whose text is beyond all bounds."""
    plan = CallPlan(seconds=60.0)
    async with serving(bot("too_long", where, tmp_path)) as server:
        async with FakeCall.connect(server.url, plan) as call:
            await call.press("1")
            await soon(lambda: len(noted(tmp_path, plan)) == 2, 20)
        assert server.service.counters["lost_hosts"] == 0
    assert noted(tmp_path, plan) == [["MediaServerError"], ["Dtmf"]]


async def test_a_host_does_not_fill_the_servers_memory(
    serving: Serving,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What is played far ahead fails, where too much waits already; later plays do not."""
    monkeypatch.setattr("mediaserver.server.isolation.hosted_plays.MAX_QUEUED_BYTES", 1 << 20)
    plan = CallPlan(seconds=60.0)
    async with serving(bot("greedy", "process", tmp_path)) as server:
        async with FakeCall.connect(server.url, plan):
            await soon(lambda: len(noted(tmp_path, plan)) == 3, 30)
    assert noted(tmp_path, plan) == [
        ["failed", "source", "failed"],
        ["cleared", "cleared"],
        ["played"],
    ]
    assert caplog.text.count("a play failed: more than 1 MiB or 10000 plays would be queued") == 2
    assert "too much audio is queued" in caplog.text


async def test_a_host_does_not_flood_the_server_with_commands(
    serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Marks beyond all bounds are cleared, plays fail, requests raise; the call goes on."""
    monkeypatch.setattr("mediaserver.server.isolation.hosted_plays.MAX_OUTSTANDING", 50)
    monkeypatch.setattr("mediaserver.server.isolation.runner.MAX_REQUESTS", 20)
    plan = CallPlan(seconds=60.0)
    async with serving(bot("hasty", "process", tmp_path)) as server:
        async with FakeCall.connect(server.url, plan):
            await soon(lambda: len(noted(tmp_path, plan)) == 4, 30)
    assert noted(tmp_path, plan) == [[51], [["failed", "failed"]], [[True, True]], [True]]


async def test_mode_mp3_plays_whole_clips(
    serving: Serving, where: Where, tmp_path: Path, clip: Path
) -> None:
    """Live audio and streams are refused there."""
    plan = CallPlan(seconds=20.0, mode="mp3")
    async with serving(bot("whole_clips", where, tmp_path, clip=str(clip))) as server:
        await place_call(server.url, plan)
    assert noted(tmp_path, plan) == [["ConfigurationError"]] * 2 + [["played"]] * 2


async def test_one_that_raises_follows_on_error(
    serving: Serving, where: Where, tmp_path: Path
) -> None:
    """A filter is bypassed; with its last handler gone a call ends; it is counted and summed."""
    plan = CallPlan(seconds=20.0)
    async with serving(bot("Fails", where, tmp_path), bot("raises", where, tmp_path)) as server:
        report = await place_call(server.url, plan)
        await soon(lambda: server.service.n_calls == 0)
        assert server.service.counters["processor_errors"] == 2
    assert (report.hung_up, report.close_code) == (False, 1000)


async def test_handlers_have_their_grace(serving: Serving, where: Where, tmp_path: Path) -> None:
    """Then they are cancelled."""
    plan = CallPlan(seconds=0.2)
    async with serving(bot("stubborn", where, tmp_path), handler_grace_s=0.3) as server:
        await place_call(server.url, plan)
        await soon(lambda: server.service.n_calls == 0)
    assert noted(tmp_path, plan) == [["cancelled"]]


@pytest.mark.parametrize(("given", "got"), [("7", [[7]]), ("loud", [])])
async def test_a_call_sets_a_parameter(
    serving: Serving, where: Where, tmp_path: Path, given: str, got: list[Any]
) -> None:
    """Where that is allowed; with a wrong value it is refused, and counted."""
    setting = bot("worded", where, tmp_path)
    setting = ProcessorSetting(setting.name, setting.parameters, allow=("volume",), isolate=where)
    plan = CallPlan(seconds=0.3, custom_parameters={"param_volume": given})
    async with serving(setting) as server:
        await place_call(server.url, plan)
        await soon(lambda: server.service.n_calls == 0)
        assert server.service.counters["refused_processor"] == (not got)
    assert noted(tmp_path, plan) == got


async def test_handlers_that_return_hang_up(serving: Serving, where: Where, tmp_path: Path) -> None:
    """Where the settings say so."""
    plan = CallPlan(seconds=20.0)
    async with serving(bot("worded", where, tmp_path), on_return="hangup") as server:
        report = await place_call(server.url, plan)
    assert report.close_code == 1000
    assert not report.hung_up


@pytest.mark.parametrize("has_key", [True, False])
async def test_a_bot_hangs_up(where: Where, tmp_path: Path, has_key: bool) -> None:
    """By REST, whose error it sees; without an API key the stream ends."""
    plan = CallPlan(seconds=20.0)
    async with refusing() as url:
        rest = {"api_key": "KEY", "api_base_url": url} if has_key else {}
        settings = Settings(
            port=0, processors=(bot("hangs_up", where, tmp_path),), reconnect_grace_s=0, **rest
        )
        async with MediaServer(settings) as server:
            report = await place_call(server.url, plan)
            await soon(lambda: bool(noted(tmp_path, plan)), 20)
    assert report.returned_s == pytest.approx(0.2, abs=0.05)
    assert noted(tmp_path, plan) == [["AuthenticationError" if has_key else "hung up"]]


@asynccontextmanager
async def refusing() -> AsyncIterator[str]:
    """The URL of an HTTP server that knows no key."""

    open_: set[asyncio.StreamWriter] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_.add(writer)
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"errors": [{"code": "10009", "title": "Authentication failed"}]}'
        head = f"HTTP/1.1 401 Unauthorized\r\nContent-Length: {len(body)}\r\n"
        writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v2"
        for writer in open_:
            writer.close()
            await writer.wait_closed()


async def test_a_call_that_is_over_answers(serving: Serving, where: Where, tmp_path: Path) -> None:
    """Another call hangs it up, which is no error, and a command is refused."""
    plans = [CallPlan(seconds=0.3), CallPlan(seconds=0.5)]
    async with serving(bot("asks_an_ended_one", where, tmp_path)) as server:
        for plan in plans:
            await place_call(server.url, plan)
            await soon(lambda: server.service.n_calls == 0)
    assert noted(tmp_path, plans[1]) == [["hung up"], ["refused"]]


async def test_tasks_end_with_their_call(
    serving: Serving, where: Where, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One that fails is an error of its processor; lines in the log carry the call."""
    plan = CallPlan(seconds=0.5)
    async with serving(bot("spawns", where, tmp_path), on_error="bypass") as server:
        began = monotonic()
        await place_call(server.url, plan)
        await soon(lambda: server.service.n_calls == 0)
        assert server.service.counters["processor_errors"] == 1
        assert monotonic() - began < 5  # no grace is waited for
    assert noted(tmp_path, plan) == [[42], ["ended"]]


async def test_queues_show_in_the_figures(serving: Serving, where: Where, tmp_path: Path) -> None:
    """Of a reader that does not read."""
    plan = CallPlan(seconds=2.5, dtmf=((0.1, "1"), (0.2, "2")))
    async with serving(bot("slow", where, tmp_path)) as server:
        await place_call(server.url, plan)
    assert noted(tmp_path, plan) == [[True, 2, True]]


async def test_a_source_that_pauses_underruns(
    serving: Serving, where: Where, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each gap is counted, and said when the call ends."""
    caplog.set_level("INFO")
    plan = CallPlan(seconds=2.5)
    async with serving(bot("stutters", where, tmp_path)) as server:
        await place_call(server.url, plan)
        await soon(lambda: server.service.n_calls == 0)
    assert any("underruns 2" in record.getMessage() for record in caplog.records)
