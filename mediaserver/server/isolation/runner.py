"""Stands where a call's inline runner would: its chain runs in a processor host."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from logging import ERROR, WARNING, getLogger
from time import monotonic
from typing import Any, Protocol

import msgspec

from mediaserver.counters import COUNTERS
from mediaserver.errors import ConfigurationError
from mediaserver.logs import LimitedLog, shown
from mediaserver.media.frames import Frame
from mediaserver.processors.api import Event, ProcessorRestarted, Reconnected
from mediaserver.server.calls.audio.outbound import Outbound
from mediaserver.server.calls.event_hub import EventHub
from mediaserver.server.calls.hangups import ControlEncoding
from mediaserver.server.calls.runner import CANCELLED_WITHIN_S, InlineRunner, RunningCall
from mediaserver.server.calls.watching.load import RunnerLoad
from mediaserver.server.isolation import messages
from mediaserver.server.isolation.hosted_plays import HostedPlays
from mediaserver.server.isolation.link import PacketTooLongError
from mediaserver.server.isolation.remote_call import told_of
from mediaserver.settings import Settings

limited: LimitedLog = LimitedLog(getLogger(__name__))

STATUS_EVERY_S = 1.0
# What a call's chain may ask for at once; more is refused, that it may not fill the memory here.
MAX_REQUESTS = 1000
# A chain that has lost so many hosts in a minute is not started again.
MAX_LOSSES = 3
LOSSES_WITHIN_S = 60.0
# How much longer than the host itself its calls wait for it to cancel a chain.
SLACK_S = 1.0


class Host(Protocol):
    """A processor host, as the calls in it know it."""

    name: str

    def add(self, runner: IsolatedRunner) -> int:
        """Take a call; its number there."""

    def remove(self, number: int, *, abandoned: bool) -> None:
        """A call is over; with ``abandoned`` something of it still runs there."""

    def send_frame(self, number: int, frame: Frame) -> bool:
        """Send a call's frame; False where it reads too slowly."""

    def say(self, number: int, message: msgspec.Struct) -> None:
        """Send a message about a call."""


Place = Callable[[bool], Host]
"""Finds a host, alone where asked for; an OSError says that there is none."""


class IsolatedRunner:
    """Has the chain of one call run in a processor host; a ``Runner``.

    Its *taps* run in this process, inline.

    Args:
        place: finds a host for the call; with True, one that has no other call.
        taps: runs the taps.
        names: of the whole chain, in order.
        chain: the isolated processors, as numbers in the settings.
        outside: the parameters that the call has set for them.
        settings: what happens when a host is lost.
        control: encodes requests to the control client, and decodes its answers.
    """

    def __init__(
        self,
        place: Place,
        taps: InlineRunner,
        names: Sequence[str],
        chain: tuple[int, ...],
        outside: Mapping[str, str],
        settings: Settings,
        control: ControlEncoding,
    ) -> None:
        self.names: tuple[str, ...] = tuple(names)
        self._place = place
        self._taps = taps
        self._chain = chain
        self._outside = outside
        self._settings = settings
        self._control = control
        self._requests: dict[int, asyncio.Task[None]] = {}
        self._call: RunningCall | None = None
        self._host: Host | None = None
        self._number = 0
        self._plays: HostedPlays | None = None
        self._n_errors = 0
        self._load = RunnerLoad()
        self._former = RunnerLoad()
        self._n_unsent = 0
        self._losses: deque[float] = deque(maxlen=MAX_LOSSES)
        self._handlers_done = asyncio.Event()
        self._call_done = asyncio.Event()
        self._abandoned = False
        self._status: asyncio.TimerHandle | None = None
        self._run_taps = taps.run if taps.names else None

    @property
    def load(self) -> RunnerLoad:
        """See ``Runner``; what lies in the link counts as dropped only where it was not sent."""
        whole = self._taps.load.joined(self._former.joined(self._load))
        return whole._replace(dropped_frames=whole.dropped_frames + self._n_unsent)

    @property
    def has_dropped(self) -> bool:
        """See ``Runner``."""
        return bool(self.load.dropped_frames or self.load.unsent_s)

    @property
    def events(self) -> EventHub:
        """See ``Runner``; without those that processors make in their host."""
        return self._taps.events

    @property
    def n_errors(self) -> int:
        """See ``Runner``."""
        return self._taps.n_errors + self._n_errors

    def begin(self, call: RunningCall) -> None:
        """See ``Runner``."""
        self._call = call
        self._taps.begin(call)
        self._open(alone=False)
        self._tell_status()

    def run(self, frame: Frame) -> None:
        """See ``Runner``."""
        if self._run_taps is not None:
            self._run_taps(frame)
        host = self._host
        if host is not None and not host.send_frame(self._number, frame):
            self._n_unsent += 1

    def publish(self, event: Event) -> None:
        """See ``Runner``."""
        self._taps.publish(event)
        if self._host is None:
            return
        if isinstance(event, Reconnected):
            assert self._call is not None
            self._say(messages.RenewCall(told_of(self._call.facts)))
        try:
            self._say(messages.event_message(event))
        except (ValueError, TypeError, RecursionError, PacketTooLongError) as exc:
            # a webhook, nested too deep or too long
            self._log("events not told", "call %s: an event is not told: %s", exc, WARNING)

    def end(self, reason: str) -> None:
        """See ``Runner``."""
        assert self._call is not None
        self._taps.end(reason)
        if self._status is not None:
            self._status.cancel()
        if self._host is None:
            self._handlers_done.set()
        else:
            self._say(messages.EndCall(reason, self._call.stats()))

    async def wait(self, timeout_s: float | None) -> None:
        """See ``Runner``."""
        await asyncio.gather(self._taps.wait(timeout_s), _at_most(self._handlers_done, timeout_s))

    async def close(self) -> None:
        """See ``Runner``."""
        if self._host is not None:
            self._say(messages.CloseCall())
            await _at_most(self._call_done, CANCELLED_WITHIN_S + SLACK_S)
        await self._taps.close()
        self._leave(abandoned=self._abandoned or not self._call_done.is_set())
        self._call = self._plays = None  # no circle is left: see Session._let_go

    # What the host says.

    def packet(self, kind: int, content: memoryview) -> None:
        """Audio for the call."""
        plays = self._plays
        if plays is None:
            return
        if kind == messages.LIVE:
            plays.live(content)
        elif kind == messages.PLAY:
            plays.play(content)
        elif kind == messages.FEED:
            plays.feed(content)

    def received(self, message: Any) -> None:
        """A message about the call."""
        call, plays = self._call, self._plays
        assert call is not None
        assert plays is not None
        match message:
            case messages.StartSource():
                plays.start_source(message)
            case messages.SourceEnded():
                plays.source_ended(message)
            case messages.CancelPlay():
                plays.cancel(message.play)
            case messages.PlaceMark():
                plays.place_mark(message)
            case messages.Request():
                self._asked(message, plays)
            case messages.Abandon(number):
                if number in self._requests:
                    self._requests[number].cancel()
            case messages.Publish():
                self._taps.publish(messages.event_of(message, self._control.decode_event))
            case messages.Counted():
                self._counted(message.name)
            case messages.HeldUp():
                call.held_up(message.by_call_id, message.who, message.seconds)
            case messages.Load():
                self._load = message.load
            case messages.WantEnd():
                call.end(message.reason)
            case messages.WantHangUp():
                call.hang_up(after_playout=message.after_playout, reason=message.reason)
            case messages.CallRefused():
                self._refused(message.problem)
            case messages.HandlersDone():
                self._handlers_done.set()
            case messages.CallDone():
                self._abandoned = bool(message.abandoned)
                self._handlers_done.set()
                self._call_done.set()

    def _asked(self, request: messages.Request, plays: HostedPlays) -> None:
        """Do something that the host waits for."""
        number = request.request
        # Of this host: the next one counts from 1 again.
        requests = self._requests
        if request.what == "clear":
            # At once: what is played next must not come before it.
            self._say(messages.Reply(number, plays.clear()))
        elif len(requests) >= MAX_REQUESTS:
            problem = f"more than {MAX_REQUESTS} commands of a call at once"
            self._say(messages.Reply(number, problem=problem))
        else:
            task = asyncio.get_running_loop().create_task(self._carry_out(request))
            requests[number] = task
            task.add_done_callback(lambda _: requests.pop(number, None))

    def host_lost(self, why: str) -> None:
        """Its host is gone; the call follows ``on_host_loss``."""
        call = self._call
        assert call is not None
        self._leave(abandoned=False)
        self._handlers_done.set()
        self._call_done.set()
        if call.ended:
            return
        call.count("lost_hosts")
        self._n_errors += 1
        now = monotonic()
        self._losses.append(now)
        too_often = len(self._losses) == MAX_LOSSES and now - self._losses[0] < LOSSES_WITHIN_S
        if self._settings.on_host_loss == "restart" and not too_often:
            self._log("chains started again", "call %s: its chain starts again: %s", why)
            self._restart(call, why)
            return
        self._log("chains that ended", "call %s: its chain has ended: %s", why)
        self._follow(call, self._settings.on_error if too_often else self._settings.on_host_loss)

    def _restart(self, call: RunningCall, why: str) -> None:
        self._handlers_done.clear()
        self._call_done.clear()
        lost = self._former.joined(self._load)
        self._former = lost._replace(queued_frames=0, queued_events=0)
        self._load = RunnerLoad()
        # What the dead chain had queued would talk into what the new one says.
        _outbound(call).clear_now()
        # Alone: whichever call it was that ended the host, it harms no other one twice.
        self._open(alone=True)
        self.publish(ProcessorRestarted(why))

    def _follow(self, call: RunningCall, word: str) -> None:
        """What a call does whose chain is gone for good."""
        if word == "end":
            call.end("processor")
        elif word != "bypass":
            call.hang_up(reason="processor")

    @property
    def call_id(self) -> str:
        """Of its call."""
        assert self._call is not None
        return self._call.facts.call_id

    # Parts.

    def _open(self, *, alone: bool) -> None:
        call = self._call
        assert call is not None
        try:
            host = self._host = self._place(alone)
        except OSError as exc:
            self._log("calls without a host", "call %s: no processor host for it: %s", exc)
            self._handlers_done.set()
            self._call_done.set()
            self._follow(call, self._settings.on_error)
            return
        self._number = host.add(self)
        self._plays = HostedPlays(_outbound(call), self._say, self.call_id)
        told = told_of(call.facts)
        self._say(messages.OpenCall(told, self._chain, self._outside, call.stats()))

    def _leave(self, *, abandoned: bool) -> None:
        requests, self._requests = self._requests, {}
        for task in requests.values():
            task.cancel()
        host, self._host = self._host, None
        if host is not None:
            host.remove(self._number, abandoned=abandoned)
        if self._plays is not None:
            self._plays.lost()

    def _refused(self, problem: str) -> None:
        assert self._call is not None
        self._call.count("refused_processor")
        self._log("calls refused", "call %s refused: %s", problem, WARNING)
        self._leave(abandoned=False)
        self._handlers_done.set()
        self._call_done.set()
        self._call.end("processor")

    def _log(self, kind: str, text: str, why: object, level: int = ERROR) -> None:
        limited.log(level, kind, text, shown(self.call_id), shown(why, 400), call=self.call_id)

    def _counted(self, name: str) -> None:
        assert self._call is not None
        if name in COUNTERS:
            self._n_errors += name == "processor_errors"
            self._call.count(name)

    def _say(self, message: msgspec.Struct) -> None:
        if self._host is not None:
            self._host.say(self._number, message)

    def _tell_status(self) -> None:
        call = self._call
        assert call is not None
        self._status = asyncio.get_running_loop().call_later(STATUS_EVERY_S, self._tell_status)
        self._say(messages.Status(call.stats(), call.inbound.l16_byte_order))

    async def _carry_out(self, request: messages.Request) -> None:
        """Do what the host asks for, and say what became of it."""
        call = self._call
        assert call is not None
        result: Any = None
        error: bytes | None = None
        problem: str | None = None
        try:
            match request.what:
                case "room":
                    await _outbound(call).room()
                case "send_text":
                    result = await call.send_text(request.data)
                case "hangup":
                    await call.hangup()
                case "hangup_after_playout":
                    await call.hangup(after_playout=True)
                case "perform":
                    args, kwargs = self._control.decode_arguments(request.data)
                    done = await call.perform(request.method, args, kwargs)
                    result = self._control.encode_result(done)
        except ConfigurationError as exc:
            problem = str(exc)
        except Exception as exc:  # whatever it is, the bot is to see it
            error = self._control.encode_error(exc)
        try:
            self._say(messages.Reply(request.request, result, error, problem))
        except PacketTooLongError as exc:
            self._say(messages.Reply(request.request, problem=str(exc)))


def _outbound(call: RunningCall) -> Outbound:
    """The call's outbound half, which is in this process."""
    outbound = call.outbound
    assert isinstance(outbound, Outbound)
    return outbound


async def _at_most(event: asyncio.Event, timeout_s: float | None) -> None:
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except TimeoutError:
        return
