from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mediaserver.app import MediaServer
from mediaserver.carrier.rest.api import FakeTelnyx
from mediaserver.carrier.rest.faults import RestFault
from mediaserver.carrier.rest.habits import Habits
from mediaserver.carrier.rest.streams import Stream
from mediaserver.control import TelnyxClient
from mediaserver.control.errors import ControlError
from mediaserver.control.events import Event
from mediaserver.server.workers.process import WorkerProcess
from mediaserver.server.workers.service import MultiProcessService
from mediaserver.settings import ProcessorSetting, Settings
from tests.asgi.hosting import served
from tests.ports import free_port
from tests.server.watching import soon

KEY = "KEY-canary-of-the-api-key"
SECRET = "canary-of-the-auth-token"
BOTS = Path(__file__).parents[1] / "server/bots.py"
PER_CALL_TOKEN = re.compile(r"t1\.[\w-]{32}\.[\w-]{43}")

SIX_COMMANDS = {
    *("streaming_start", "streaming_stop", "fork_start", "fork_stop"),
    *("transcription_start", "transcription_stop"),
}
SIX_EVENTS = {
    *("streaming.started", "streaming.stopped", "streaming.failed"),
    *("call.fork.started", "call.fork.stopped", "call.transcription"),
}


class World:
    """The real server and the fake Telnyx, joined by real sockets in both directions."""

    def __init__(self, fake: FakeTelnyx, server: MediaServer) -> None:
        assert server.client is not None
        assert server.webhooks is not None
        self.fake, self.server = fake, server
        self.client: TelnyxClient = server.client
        self.actions = server.client.calls.actions
        self.events: list[Event] = []
        self._changed = asyncio.Event()
        server.webhooks.on("*")(self._saw)

    def _saw(self, event: Event) -> None:
        self.events.append(event)
        self._changed.set()

    async def until_event(self, event_type: str, n: int = 1) -> Event:
        async with asyncio.timeout(20):
            while True:
                seen = [event for event in self.events if event.event_type == event_type]
                if len(seen) >= n:
                    return seen[n - 1]
                self._changed.clear()
                await self._changed.wait()

    async def dialled(self) -> str:
        n_before = sum(event.event_type == "call.answered" for event in self.events)
        call = await self.client.calls.dial(connection_id="c", from_="+1", to="+2")
        await self.until_event("call.answered", n_before + 1)
        return call.call_control_id

    def stream(self, call: str) -> Stream:
        stream = self.fake.calls[call].stream
        assert stream is not None
        return stream

    async def until_heard(self, call: str, seconds: float = 0.3) -> None:
        """Wait until the server has sent so much audio into the call."""
        await soon(lambda: self.stream(call).line is not None, 20)
        line = self.stream(call).line
        assert line is not None
        ear = line.intake.ear
        await line.wait_until(lambda: ear.n_fed / ear.rate_hz >= seconds, 20)


@asynccontextmanager
async def world(
    *processors: ProcessorSetting,
    workers: int = 1,
    reconnect_grace_s: float = 10.0,
    echo: bool = True,
    **more: Any,
) -> AsyncIterator[World]:
    """A server that answers calls with an echo, and a Telnyx that calls it."""
    port = free_port()
    habits = Habits(answer_after_s=0.0, transcript_every_s=0.02)
    async with FakeTelnyx(api_key=KEY, habits=habits) as fake:
        settings = Settings(
            port=port,
            public_url=f"http://127.0.0.1:{port}",
            processors=(*processors, *([ProcessorSetting("echo")] if echo else [])),
            workers=workers,
            reconnect_grace_s=reconnect_grace_s,
            auth_token=SECRET,
            api_key=KEY,
            api_base_url=fake.base_url,
            public_keys=fake.public_key,
            answer=True,
            # A busy machine is late: no call is refused for it here.
            **{"auto_restart": True, "shed_lag_ms": None, **more},
        )
        fake.webhook_url = f"http://127.0.0.1:{port}/webhooks/telnyx"
        async with served(settings) as server:
            yield World(fake, server)
            await asyncio.gather(*(call.aclose() for call in fake.calls.values()))
            await fake.webhooks.flush()


async def whole_story(w: World) -> None:
    """Each of the six commands and events, two calls out and one in."""
    first = await w.dialled()
    await w.actions.start_streaming(
        first, stream_bidirectional_codec="L16", processor="echo", client_state="mine"
    )
    assert (await w.until_event("streaming.started")).client_state == b"mine"
    await w.until_heard(first)
    await w.actions.start_transcription(first)
    await w.until_event("call.transcription")
    await w.actions.stop_transcription(first)
    await w.actions.stop_streaming(first)
    await w.until_event("streaming.stopped")
    await w.actions.hangup(first)

    second = await w.dialled()
    await w.actions.start_streaming(second)
    await w.until_event("streaming.started", 2)
    await w.actions.start_forking(second, rx="udp:127.0.0.1:9", tx="udp:127.0.0.1:9")
    await w.until_event("streaming.stopped", 2)
    await w.until_event("call.fork.started")
    await w.actions.stop_forking(second)
    await w.until_event("call.fork.stopped")
    await w.actions.start_streaming(second, stream_url="ws://127.0.0.1:1/media")
    await w.until_event("streaming.failed")

    incoming = w.fake.ring().call_control_id
    await w.until_event("streaming.started", 3)
    await w.until_heard(incoming)
    await w.actions.hangup(incoming)
    await w.until_event("call.hangup", 2)


@pytest.mark.parametrize("workers", [1, 2])
async def test_the_whole_story(workers: int) -> None:
    """Dial, stream, echo, transcribe, fork, fail and answer, through every real part."""
    async with world(workers=workers) as w:
        await whole_story(w)
        assert {c.command for c in w.fake.commanded} >= SIX_COMMANDS | {"dial", "answer", "hangup"}
        assert {event.event_type for event in w.events} >= SIX_EVENTS
        assert len({event.id for event in w.events}) == len(w.events)
        first = next(iter(w.fake.calls.values())).reports[0]
        assert first.close_code == 1000


async def test_the_server_needs_no_second_setting() -> None:
    """The codec and rate asked for by start_streaming are what the server sends."""
    async with world() as w:
        call = await w.dialled()
        for n, (codec, rate_hz) in enumerate((("PCMA", 8000), ("L16", 24000), ("G722", 16000))):
            await w.actions.start_streaming(
                call,
                stream_bidirectional_codec=codec,  # type: ignore[arg-type]  # a str in the table
                stream_bidirectional_sampling_rate=rate_hz,  # type: ignore[arg-type]  # an int
            )
            await w.until_event("streaming.started", n + 1)
            await w.until_heard(call)
            formats = w.server.service.sessions[call].facts.formats
            assert (formats.send_codec, formats.send_rate) == (codec, rate_hz)
            line = w.stream(call).line
            assert line is not None
            assert line.record.complaints == []
            await w.actions.stop_streaming(call)
            await w.until_event("streaming.stopped", n + 1)


@pytest.mark.parametrize("how", ["cut", "cut at a worker", "worker killed"])
async def test_a_stream_that_broke_is_started_again(how: str) -> None:
    """A socket cut, or gone with its worker, brings a new stream; a stopped one stays stopped."""
    async with world(workers=1 if how == "cut" else 2) as w:
        restarter = w.server._relations._restarter
        assert restarter is not None
        restarter._limits = type(restarter._limits)(grace_s=0.0, base_s=0.05)
        call = await w.dialled()
        await w.actions.start_streaming(call)
        await w.until_event("streaming.started")
        await w.until_heard(call)
        line = w.stream(call).line
        assert line is not None
        if how == "worker killed":
            assert isinstance(w.server.service, MultiProcessService)
            (worker,) = [each for each in w.server.service.workers if call in each.calls]
            os.kill(worker.pid, signal.SIGKILL)
        else:
            line.cut()
        await w.until_event("streaming.started", 2)
        await w.actions.stop_streaming(call)
        await w.until_event("streaming.stopped", 1)
        tries = [c for c in w.fake.commanded if c.command == "streaming_start"]
        assert len(tries) == 2


async def test_webhooks_reach_a_call_in_a_worker(tmp_path: Path) -> None:
    """Events of a call are told to its processors; the end that one reports needs no grace."""
    writes = ProcessorSetting(f"{BOTS}:writes", {"directory": str(tmp_path)})
    async with world(writes, workers=2, reconnect_grace_s=60.0) as w:
        call = await w.dialled()
        await w.actions.start_streaming(call)
        await w.until_event("streaming.started")
        await w.until_heard(call)
        await w.actions.start_transcription(call)
        await w.until_event("call.transcription", 2)
        line = w.stream(call).line
        assert line is not None
        line.cut()
        await w.actions.hangup(call)
        await w.until_event("call.hangup")
        async with asyncio.timeout(20):
            while w.server.service.n_calls:  # noqa: ASYNC110  # told by another process
                await asyncio.sleep(0.01)
    written = (tmp_path / call).read_text()
    assert written.count("Webhook(event=Transcription(") >= 2
    assert written.splitlines()[-1] == "Stop(reason='hangup')"


async def test_a_processor_in_a_worker_hangs_up() -> None:
    """It asks its parent, whose control client ends the call by REST."""
    hangs_up = ProcessorSetting(f"{BOTS}:hangs_up")
    async with world(hangs_up, workers=2) as w:
        call = await w.dialled()
        await w.actions.start_streaming(call)
        await w.until_event("call.hangup")
        assert [c.command for c in w.fake.commanded].count("hangup") == 1


TELLS = """
import os, sys
from mediaserver import Call, processor

@processor
async def tells(call: Call) -> None:
    events = call.events()
    async for event in events:
        if "Transcription(" in str(event):
            break
    try:
        await call.hangup()
    except Exception as exc:
        with open(os.environ["TELLS_INTO"], "w") as file:
            print(type(exc).__name__, os.getpid(), exc, vars(exc), sep="\\n", file=file)
            print(*sorted(sys.modules), file=file)
"""


async def told_by_a_bot(tmp_path: Path, workers: int) -> list[str]:
    """What a bot saw that was told of a webhook's event, and then could not hang up."""
    (tmp_path / "bot.py").write_text(TELLS)
    into = tmp_path / "told"
    async with world(ProcessorSetting(f"{tmp_path / 'bot.py'}:tells"), workers=workers) as w:
        call = await w.dialled()
        await w.actions.start_streaming(call)
        await w.until_event("streaming.started")
        w.fake.faults.add(RestFault("status", "hangup", status=422))
        await w.actions.start_transcription(call)
        async with asyncio.timeout(20):
            while not into.exists() or into.read_text().count("\n") < 5:  # noqa: ASYNC110  # a bot writes it
                await asyncio.sleep(0.01)
    return into.read_text().splitlines()


async def test_a_bot_in_a_worker_sees_the_error_of_a_single_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same class with the same fields, but for the ids of the request."""
    told = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        folder.mkdir()
        monkeypatch.setenv("TELLS_INTO", str(folder / "told"))
        kind, _, text, fields, _ = await told_by_a_bot(folder, workers)
        assert kind == "UnprocessableError"
        told.append(re.sub(r"[0-9a-f-]{16,}", "ID", text + fields))
    assert told[0] == told[1]


async def test_a_worker_has_neither_secrets_nor_a_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after a webhook and a failed command: no HTTP client, no web framework, no keys."""
    for name in ("TELNYX_API_KEY", "MEDIASERVER_API_KEY", "MEDIASERVER_AUTH_TOKEN"):
        monkeypatch.setenv(name, "environment-canary")
    monkeypatch.setenv("TELLS_INTO", str(tmp_path / "told"))
    given: list[bytes] = []
    landed_there = WorkerProcess.landed

    def landed(self: WorkerProcess, call_id: str) -> None:
        given.append(given_to(self.pid))
        landed_there(self, call_id)

    monkeypatch.setattr(WorkerProcess, "landed", landed)
    told = await told_by_a_bot(tmp_path, workers=2)
    assert int(told[1]) != os.getpid()
    heavy = {"starlette", "uvicorn", "httpx", "h11", "nacl", "rich"}
    assert not heavy & {name.partition(".")[0] for name in told[-1].split()}
    assert given
    assert all(b"TELLS_INTO" in each and b"canary" not in each for each in given)


def given_to(pid: int) -> bytes:
    """The environment and the arguments that a process was started with."""
    return b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("environ", "cmdline"))


async def failing_story(w: World) -> None:
    """Commands that are refused by a Telnyx that quotes everything it was sent."""
    call = await w.dialled()
    for status in (400, 401, 403, 404, 422):
        w.fake.faults.add(RestFault("status", "streaming_start", status=status))
        with pytest.raises(ControlError):
            await w.actions.start_streaming(call)
    with pytest.raises(ControlError):
        await w.actions.start_streaming(call, stream_url="https://nowhere")


def leaks(text: str) -> list[str]:
    """What of the canaries a text holds."""
    return [c for c in (KEY, SECRET) if c in text] + PER_CALL_TOKEN.findall(text)


async def test_no_secret_is_in_any_log(caplog: pytest.LogCaptureFixture) -> None:
    """API key, shared secret and per-call tokens are in no record at any level, nor in a repr."""
    with caplog.at_level(logging.DEBUG):
        async with world() as w:
            await whole_story(w)
            await failing_story(w)
            shown = [repr(thing) for thing in (w.client, w.server, *w.events, *w.fake.commanded)]
    # What Telnyx's own end of the socket would log is not ours; for our end see the next test.
    records = [r for r in caplog.records if not r.name.startswith("websockets.")]
    assert len(records) > 50
    for record in records:
        assert leaks(caplog.handler.format(record)) == [], record.name
    assert [leak for text in shown for leak in leaks(text)] == []


async def test_no_secret_is_in_the_log_of_the_handshake(caplog: pytest.LogCaptureFixture) -> None:
    """Our end of the socket logs neither the token in the header nor the one in the path."""
    with (
        caplog.at_level(logging.DEBUG, "mediaserver"),
        caplog.at_level(logging.DEBUG, "websockets.server"),
    ):
        async with world() as w:
            await w.actions.start_streaming(await w.dialled())
            await w.until_event("streaming.started")
    for record in caplog.records:
        assert leaks(caplog.handler.format(record)) == [], record.name


async def test_an_error_that_quotes_the_request_shows_no_secret() -> None:
    """Even if Telnyx's answer repeats key, secret and token, the error does not."""
    import httpx

    tokens: list[str] = []

    def quote(request: httpx.Request) -> httpx.Response:
        body = request.content.decode()
        tokens.extend(PER_CALL_TOKEN.findall(body))
        detail = f"{request.headers['authorization']} {SECRET} {body}"
        problem = {"code": detail, "title": detail, "detail": detail, "source": {"pointer": detail}}
        return httpx.Response(422, json={"errors": [problem]}, headers={"x-request-id": KEY})

    settings = {"public_url": "https://media.example.com", "auth_token": SECRET}
    transport = httpx.MockTransport(quote)
    commands: list[Callable[[TelnyxClient], object]] = [
        lambda client: client.calls.actions.start_streaming("v3:a", stream_auth_token=None),
        lambda client: client.calls.actions.answer("v3:a", stream=True),
        lambda client: client.calls.dial(connection_id="c", from_="+1", to="+2", stream=True),
    ]
    async with TelnyxClient(KEY, transport=transport, **settings) as client:  # type: ignore[arg-type]  # only texts
        for command in commands:
            with pytest.raises(ControlError) as caught:
                await command(client)  # type: ignore[misc]  # each of them is a coroutine
            error = caught.value
            told = f"{error} {error!r} {error.args} {vars(error)}"
            assert leaks(told) == []
            assert not any(token in told for token in tokens)
    assert len(tokens) == 3
