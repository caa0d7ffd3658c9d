"""In a processor host: one call, and the inline runner that runs its chain."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from mediaserver.errors import LISTEN_ONLY, CallEndedError, ConfigurationError, ListenOnlyError
from mediaserver.logs import call_over, call_streams
from mediaserver.media.frames import Frame
from mediaserver.observer import CallSummary
from mediaserver.processors.api import (
    Beep,
    Event,
    Interrupted,
    RecordingPaused,
    RecordingResumed,
    SpeechStarted,
    SpeechStopped,
)
from mediaserver.server.calls.facts import CallFacts
from mediaserver.server.calls.hangups import ControlEncoding
from mediaserver.server.calls.runner import InlineRunner
from mediaserver.server.calls.watching.load import RunnerLoad
from mediaserver.server.isolation import messages
from mediaserver.server.isolation.link import Link
from mediaserver.server.isolation.remote_plays import RemotePlays
from mediaserver.wire.messages import Start

OF_TAPS = (Beep, Interrupted, RecordingPaused, RecordingResumed, SpeechStarted, SpeechStopped)
"""Events that arise where the chain runs, and are told to the taps, too."""


class RemoteInbound:
    """What the host knows of the call's decoder, which is in the server's process."""

    l16_byte_order: Literal["little", "big"] | None = None


class RemoteCall:
    """A call whose socket and playout are in the server's process; a ``RunningCall``.

    **Call ``begin`` once; then ``run`` for each frame and ``received`` for each message.**

    Args:
        link: to the server's process.
        number: the call's number on the link.
        opened: what is known of the call.
        runner: runs its chain.
        control: encodes requests to the control client, and decodes its answers.
        done: called once nothing of the call is left here.
    """

    def __init__(
        self,
        link: Link,
        number: int,
        opened: messages.OpenCall,
        runner: InlineRunner,
        control: ControlEncoding,
        done: Callable[[int], None],
    ) -> None:
        self.state: dict[str, Any] = {}
        self.facts: CallFacts = facts_of(opened.facts)
        self.ended: bool = False
        self.inbound: RemoteInbound = RemoteInbound()
        formats = self.facts.formats
        self.outbound: RemotePlays = RemotePlays(
            link, number, self._request, formats.send_rate, formats.send_mode, opened.facts.call_id
        )
        call_streams(self.facts.call_id, self.facts.start.stream_id)
        self._link = link
        self._number = number
        self._stats = opened.stats
        self._control = control
        self._done = done
        self._requests = itertools.count(1)
        self._replies: dict[int, asyncio.Future[Any]] = {}
        self._runner = runner
        self._load = RunnerLoad()
        self._unsent_told_s = 0.0  # what ``_stats`` has of ``outbound.unsent_s``
        self._n_abandoned = 0
        self._is_gone = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.run: Callable[[Frame], None] = self._runner.run

    def begin(self) -> None:
        """Start the chain."""
        self._runner.begin(self)

    # RunningCall: what the runner and its views ask for.

    def stats(self) -> CallSummary:
        """The last that was told, once a second; of its own queues what is true now."""
        told, load = self._stats, self._runner.load
        return msgspec.structs.replace(
            told,
            dropped_frames=max(told.dropped_frames, load.dropped_frames),
            dropped_events=load.dropped_events,
            queued_frames=load.queued_frames,
            queued_events=load.queued_events,
            budget_overruns=load.budget_overruns,
            # What the other side knows of it is in ``told`` already.
            dropped_s=told.dropped_s + self.outbound.unsent_s - self._unsent_told_s,
        )

    def count(self, name: str) -> None:
        """One more of ``name``."""
        self._n_abandoned += name.startswith("abandoned_")
        self._say(messages.Counted(name))

    def end(self, reason: str) -> None:
        """Have the call's media ended."""
        self._say(messages.WantEnd(reason))

    def hang_up(self, *, after_playout: bool = False, reason: str = "hangup") -> None:
        """Have the phone call ended; nobody waits for it."""
        self._say(messages.WantHangUp(after_playout, reason))

    def held_up(self, by_call_id: str, who: str, seconds: float) -> None:
        """Have it noted that a processor has held up this host."""
        self._say(messages.HeldUp(by_call_id, who, seconds))

    async def hangup(self, *, after_playout: bool = False) -> None:
        """See ``Call.hangup``."""
        with contextlib.suppress(CallEndedError):  # it is no error to be late
            await self._request("hangup_after_playout" if after_playout else "hangup")

    async def perform(self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Have a command to the phone call carried out; see ``Call.control``."""
        encoded = self._control.encode_arguments(args, kwargs)
        result = await self._request("perform", encoded, method)
        return self._control.decode_result(result)

    async def send_text(self, data: bytes) -> bool:
        """Send a message on the call's socket, if it has one."""
        if self.facts.formats.is_listen_only:
            raise ListenOnlyError(LISTEN_ONLY)
        return bool(await self._request("send_text", data))

    # What the server's process says.

    def received(self, message: Any) -> None:
        """A message about this call."""
        match message:
            case messages.PlayNews():
                self.outbound.learn(message)
            case messages.Pull():
                self.outbound.pull(message.play)
            case messages.StopSource():
                self.outbound.stop_source(message.play)
            case messages.Reply():
                self._answered(message)
            case messages.Status():
                self._stats = message.stats
                self._unsent_told_s = self._load.unsent_s  # told a second ago
                self.inbound.l16_byte_order = message.l16_byte_order
                self._tell_load()
            case messages.RenewCall():
                self.facts = facts_of(message.facts)
                call_streams(self.facts.call_id, self.facts.start.stream_id)
                formats = self.facts.formats
                self.outbound.renew(formats.send_rate, formats.send_mode)
            case messages.EndCall():
                self._stats = message.stats
                self._unsent_told_s = self._load.unsent_s
                self._end(message.reason)
            case messages.CloseCall():
                self._spawn(self._close())

    def told(self, event: Event) -> None:
        """The server's process has an event for whoever asked for events here."""
        self._runner.publish(event)

    def publish(self, event: Event) -> None:
        """Give an event to whoever asked for events: here, and taps in the server's process."""
        self._runner.publish(event)
        if isinstance(event, OF_TAPS):
            self._say(messages.event_message(event))

    def close(self) -> None:
        """The server's process is gone."""
        self._end("lost")
        self._spawn(self._close())

    def _tell_load(self) -> None:
        """Report how the processors keep up."""
        load = self._runner.load._replace(unsent_s=self.outbound.unsent_s)
        if load != self._load:
            self._load = load
            self._say(messages.Load(load))

    def _end(self, reason: str) -> None:
        if self.ended:
            return
        self.ended = True
        self.outbound.end()
        self._runner.end(reason)
        self._spawn(self._wait())

    async def _wait(self) -> None:
        await self._runner.wait(None)
        self._tell_load()
        self._say(messages.HandlersDone())

    def _refuse_all(self) -> None:
        for reply in self._replies.values():
            if not reply.done():
                reply.set_exception(CallEndedError("the call has ended"))

    async def _close(self) -> None:
        self._refuse_all()
        await self._runner.close()
        for _ in range(await self.outbound.closed()):
            self.count("abandoned_sources")
        # From now on the other side knows of no such call, and answers nothing.
        self._is_gone = True
        self._refuse_all()
        self._tell_load()
        self._say(messages.CallDone(self._n_abandoned))
        call_over(self.facts.call_id)
        self._done(self._number)

    def _answered(self, message: messages.Reply) -> None:
        reply = self._replies.get(message.request)
        if reply is None or reply.done():
            return
        if message.error is not None:
            reply.set_exception(self._control.decode_error(message.error))
        elif message.problem is not None:
            reply.set_exception(ConfigurationError(message.problem))
        else:
            reply.set_result(message.result)

    async def _request(self, what: Any, data: bytes = b"", method: str = "") -> Any:
        """Have something done, and wait for what becomes of it.

        Raises:
            CallEndedError: the call is over, and nothing of it is left.
        """
        if self._is_gone:
            raise CallEndedError("the call has ended")
        number = next(self._requests)
        reply = self._replies[number] = asyncio.get_running_loop().create_future()
        try:
            self._say(messages.Request(number, what, data, method))
            return await reply
        except asyncio.CancelledError:
            self._say(messages.Abandon(number))
            raise
        finally:
            del self._replies[number]

    def _say(self, message: msgspec.Struct) -> None:
        self._link.send(messages.MESSAGE, self._number, msgspec.msgpack.encode(message))

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def facts_of(told: messages.Facts) -> CallFacts:
    """A call's facts, as they were told."""
    facts = CallFacts(
        told.call_id,
        msgspec.json.decode(told.start, type=Start),
        told.formats,
        told.request,
        told.query,
        told.path,
    )
    facts.started_at, facts.takeovers = told.started_at, told.takeovers
    return facts


def told_of(facts: CallFacts) -> messages.Facts:
    """A call's facts for its host, without the token."""
    body = msgspec.structs.replace(facts.start.start, custom_parameters=facts.parameters)
    start = msgspec.structs.replace(facts.start, start=body)
    return messages.Facts(
        facts.call_id,
        msgspec.json.encode(start),
        facts.formats,
        facts.request,
        facts.query,
        facts.path,
        facts.started_at,
        facts.takeovers,
    )
