"""The control half of the demo: commands, webhooks and streams of three calls, step by step."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rich.console import Console

from mediaserver.app import MediaServer
from mediaserver.carrier.rest.api import FakeTelnyx
from mediaserver.carrier.rest.habits import Habits
from mediaserver.control.events import Event, Transcription
from mediaserver.settings import ProcessorSetting, Settings

EVENT_WITHIN_S = 15.0


class Story:
    """Three calls between the fake Telnyx and the server, each step said when it is done."""

    def __init__(self, fake: FakeTelnyx, server: MediaServer, console: Console) -> None:
        assert server.client is not None
        assert server.webhooks is not None
        self._fake, self._console = fake, console
        self._calls = server.client.calls
        self._began = time.monotonic()
        self._events: list[Event] = []
        self._changed = asyncio.Event()
        server.webhooks.on("*")(self._saw)

    async def tell(self) -> None:
        """The whole story; TimeoutError if a webhook never comes."""
        await self._stream_and_transcribe()
        await self._fork()
        await self._incoming()

    async def _stream_and_transcribe(self) -> None:
        actions = self._calls.actions
        call = await self._dial()
        self._say("streaming_start", "L16 at 16 kHz both ways, processor echo")
        await actions.start_streaming(call, stream_bidirectional_codec="L16", processor="echo")
        await self._event("streaming.started", call)
        heard_s = await self._hear(call, 1.0)
        self._say("media", f"the caller heard {heard_s:.1f} s of their own voice")
        self._say("transcription_start", "")
        await actions.start_transcription(call)
        said = await self._event("call.transcription", call)
        if isinstance(said, Transcription):
            self._say("", f"“{said.transcript}”")
        await actions.stop_transcription(call)
        self._say("transcription_stop", "")
        self._say("streaming_stop", "")
        await actions.stop_streaming(call)
        await self._event("streaming.stopped", call)
        await self._hang_up(call)

    async def _fork(self) -> None:
        actions = self._calls.actions
        call = await self._dial()
        self._say("streaming_start", "")
        await actions.start_streaming(call)
        await self._event("streaming.started", call)
        self._say("fork_start", "a fork replaces the stream")
        await actions.start_forking(call, rx="udp:127.0.0.1:9", tx="udp:127.0.0.1:9")
        await self._event("streaming.stopped", call)
        await self._event("call.fork.started", call)
        self._say("fork_stop", "")
        await actions.stop_forking(call)
        await self._event("call.fork.stopped", call)
        await self._hang_up(call)

    async def _incoming(self) -> None:
        call = self._fake.ring().call_control_id
        self._say("(somebody calls)", "")
        await self._event("call.initiated", call)
        await self._event("streaming.started", call)
        heard_s = await self._hear(call, 0.5)
        self._say("answer", f"answered by the server; the caller heard {heard_s:.1f} s")
        await self._hang_up(call)

    async def _dial(self) -> str:
        self._say("dial", "+13122123456")
        dialled = await self._calls.dial(
            connection_id="demo", from_="+13122010094", to="+13122123456"
        )
        await self._event("call.answered", dialled.call_control_id)
        return dialled.call_control_id

    async def _hang_up(self, call: str) -> None:
        self._say("hangup", "")
        await self._calls.actions.hangup(call)
        await self._event("call.hangup", call)

    async def _hear(self, call: str, seconds: float) -> float:
        """Wait until the caller has been sent so much audio; how much it was."""
        stream = self._fake.calls[call].stream
        assert stream is not None
        assert stream.line is not None
        ear = stream.line.intake.ear
        await stream.line.wait_until(lambda: ear.n_fed / ear.rate_hz >= seconds, EVENT_WITHIN_S)
        return ear.n_fed / ear.rate_hz

    async def _event(self, event_type: str, call: str) -> Event:
        """The next webhook of this type about this call."""
        async with asyncio.timeout(EVENT_WITHIN_S):
            while True:
                for event in self._events:
                    if event.event_type == event_type and event.call_control_id == call:
                        self._events.remove(event)
                        self._say("", f"webhook {event_type}")
                        return event
                self._changed.clear()
                await self._changed.wait()

    def _saw(self, event: Event) -> None:
        self._events.append(event)
        self._changed.set()

    def _say(self, command: str, text: str) -> None:
        at_s = time.monotonic() - self._began
        arrow = f"→ {command}" if command else "←"
        self._console.print(f"  {at_s:5.2f} s  {arrow:21} {text}", markup=False, highlight=False)


@asynccontextmanager
async def stage(processors: tuple[ProcessorSetting, ...]) -> AsyncIterator[Story]:
    """A fake Telnyx and a server that know each other, on loopback."""
    # The server's own URL is among its settings, so its port is chosen before it listens.
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    async with FakeTelnyx(habits=Habits(transcript_every_s=0.1)) as fake:
        settings = Settings(
            port=port,
            public_url=f"http://127.0.0.1:{port}",
            processors=processors,
            auth_token="a secret that only the two know",
            api_key=fake.api_key,
            api_base_url=fake.base_url,
            public_keys=fake.public_key,
            answer=True,
        )
        fake.webhook_url = f"http://127.0.0.1:{port}/webhooks/telnyx"
        async with MediaServer(settings) as server:
            yield Story(fake, server, Console())
