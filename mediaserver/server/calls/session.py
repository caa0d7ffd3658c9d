"""The life of one call, from `begin` to its one end. It is given finished parts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any, NamedTuple, Protocol

from mediaserver.media.playout import DetachedSink, PlayoutSink
from mediaserver.observer import MOVED, CallSummary, ReportedEvent
from mediaserver.processors.api import Event, Reconnected, Webhook
from mediaserver.server.calls.audio.alarm import Alarm
from mediaserver.server.calls.audio.formats import Formats
from mediaserver.server.calls.audio.inbound import Inbound
from mediaserver.server.calls.audio.outbound import Outbound
from mediaserver.server.calls.audio.parts import (
    Parts,
    make_playout,
    make_sent_decoder,
)
from mediaserver.server.calls.dtmf import DtmfEvents
from mediaserver.server.calls.facts import CallFacts
from mediaserver.server.calls.hangups import HangUps
from mediaserver.server.calls.runner import Runner
from mediaserver.server.calls.watching.watch import Watch
from mediaserver.settings import Settings
from mediaserver.wire.messages import ErrorBody, Start
from mediaserver.wire.rates import Rates
from telephony_codecs import Decoder

# If the loop is so late for a timer, it has read no socket meanwhile.
STOOD_STILL_S = 0.5


class SessionHost(Protocol):
    """What a session needs of the owner of all sessions."""

    settings: Settings

    def count(self, name: str) -> None:
        """One more of ``name``."""

    @property
    def hang_ups(self) -> HangUps:
        """Hangs up phone calls."""

    async def perform(
        self, call_id: str, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        """Send a command about a phone call to Telnyx."""

    def summary_of(self, session: Session) -> CallSummary:
        """The session's facts and figures, as they are now."""

    def session_lost(self, session: Session) -> None:
        """The session has lost its socket and waits for another one."""

    def session_ended(self, session: Session) -> None:
        """The session is over, its tasks are done; called once."""


class Line(PlayoutSink, Protocol):
    """The socket side of a session."""

    @property
    def n_refused(self) -> int:
        """Messages that were refused."""

    def send_text(self, data: bytes) -> None:
        """Send a text message."""

    def refuse(self, kind: str) -> None:
        """Count a message whose content cannot be used."""

    def look(self, n_media: int, now: float) -> None:
        """Called once a second with the number of media messages so far."""

    def close(self, code: int, reason: str = "") -> None:
        """Close the socket."""


class Halves(NamedTuple):
    """What makes the two halves of a call's audio; other than these, where it is no stream."""

    make_inbound: Callable[..., Inbound] = Inbound
    make_outbound: Callable[..., Outbound] = Outbound


class Session:
    """One call from its ``start`` to its end.

    **Call `begin` once after the constructor; then what the socket brings; `end` once.** No user
    code runs before `begin`. `session_ended` of the host is the last call that it makes.

    Args:
        host: owns the session.
        facts: what is known about the call.
        line: its socket.
        runner: runs its processors.
        parts: the parts of its audio; their playout sends to ``line``.
        now: monotonic seconds.
        halves: what the two halves of its audio are made of.
    """

    def __init__(
        self,
        host: SessionHost,
        facts: CallFacts,
        line: Line,
        runner: Runner,
        parts: Parts,
        now: float,
        halves: Halves = Halves(),  # noqa: B008  # a value that nobody can change
    ) -> None:
        self.facts: CallFacts = facts
        self.line: Line | None = line
        self.runner = runner
        self.began_at = now
        self.ended_at: float | None = None
        self.end_reason: str = ""
        self.is_hung_up: bool = False
        self.state: dict[str, Any] = {}
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._finishing: asyncio.Task[None] | None = None
        self._grace: asyncio.TimerHandle | None = None
        self._n_refused = 0
        self.watch: Watch = Watch(host.settings, now)
        self._alarm = Alarm(self._tick)
        self.outbound: Outbound = halves.make_outbound(
            parts.playout, self._alarm, host.settings.play_ahead_s, facts.call_id
        )
        self.rates: Rates = Rates()
        self.dtmf: DtmfEvents = DtmfEvents(runner.publish, self._alarm)
        self.inbound: Inbound = halves.make_inbound(
            parts, runner.run, now, self._refuse, self._alarm
        )

    @property
    def call_id(self) -> str:
        """Telnyx's ``call_control_id``, or the stream's id if ``start`` had none."""
        return self.facts.call_id

    @property
    def ended(self) -> bool:
        """Its media is over; handlers may be running still."""
        return self.ended_at is not None

    @property
    def is_listen_only(self) -> bool:
        """It is forked: nothing can be sent into it, and no socket takes it over."""
        return self.facts.formats.is_listen_only

    @property
    def has_line(self) -> bool:
        """It has a socket."""
        return self.line is not None

    @property
    def phase(self) -> str:
        """Where it stands, in a word: ``live``, ``no socket``, ``slow reader``, ``ending``."""
        if self.ended:
            return "ending"
        if self.line is None:
            return "no socket"
        return "slow reader" if self.outbound.playout.blocked else "live"

    @property
    def n_refused(self) -> int:
        """Messages that were refused, of all sockets so far."""
        return self._n_refused + (self.line.n_refused if self.line is not None else 0)

    def sent_decoder(self) -> Decoder:
        """A new decoder of what is sent.

        Raises:
            CodecError: there is none.
        """
        return make_sent_decoder(self.facts.formats, self._host.settings)

    def begin(self) -> None:
        """Start the processors."""
        self.runner.begin(self)
        self._set_alarm()  # keep-alive sends before the first play

    # What the socket brings.

    def writing_blocked(self, blocked: bool) -> None:
        """The peer reads too slowly, or again."""
        self.outbound.block(blocked)
        if not blocked and not self.ended:
            self._alarm.ring()

    def line_lost(self) -> None:
        """The socket is gone without ``stop``; if it had media, wait for another socket."""
        self._leave_line()
        grace_s = self._host.settings.reconnect_grace_s
        if self.ended:
            return
        self._host.session_lost(self)
        if grace_s == 0 or not self.inbound.had_media:
            self.end("lost")
            return
        self.outbound.renew(
            make_playout(self.facts.formats, self._host.settings, DetachedSink()), blocked=True
        )
        self._await_line(grace_s)

    def take_over(
        self, line: Line, start: Start, formats: Formats, parts: Parts, now: float
    ) -> None:
        """Another socket of this call takes it over; processors keep their state."""
        if self._grace is not None:
            self._grace.cancel()
        old = self._leave_line()
        self.line = line
        if old is not None:
            old.close(1000, "another socket took the call over")
        self.facts.renew(start, formats)
        self.outbound.renew(parts.playout)
        self.inbound.restart(parts, now)
        self.runner.publish(Reconnected(start.stream_id))

    def webhook_received(self, event: ReportedEvent) -> None:
        """Telnyx reports about this call. If it reports an end, there is no grace."""
        self.runner.publish(Webhook(event))
        if event.event_type == "call.dtmf.received" and not self.ended:
            self.dtmf.reported_by(event, monotonic())
        elif event.event_type == "call.hangup":
            self.is_hung_up = True
            self.end("hangup")
        elif event.event_type == MOVED:
            self.end("moved")
        elif (event.event_type, True) in (
            ("streaming.stopped", self.line is None),
            ("call.fork.stopped", self.is_listen_only),
        ):
            self.end("stop")

    def error_received(self, body: ErrorBody) -> None:
        """Telnyx refused something."""
        self.watch.error_received(self, body)

    def held_up(self, by_call_id: str, who: str, seconds: float) -> None:
        """A processor, of this call or of another one, has held up where it runs."""
        if by_call_id == self.call_id:
            self.watch.notes.holds_up(seconds)
        else:
            self.watch.notes.held_up(who, seconds)

    def look(self, now: float) -> None:
        """Called once a second: report what looks wrong, end a call that lasts too long."""
        if not self.ended:
            self.watch.look(self, now)
            if self.line is not None:
                self.line.look(self.inbound.reorder.received, now)

    # What processors and their runner ask for.

    async def hangup(self, *, after_playout: bool = False) -> None:
        """See ``Call.hangup``."""
        await self._host.hang_ups.hang_up(self, after_playout=after_playout, reason="hangup")

    async def perform(self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """A command of ``call.control``."""
        self.watch.notes.command(method)
        return await self._host.perform(self.call_id, method, args, kwargs)

    def hang_up(self, *, after_playout: bool = False, reason: str = "hangup") -> None:
        """As ``hangup``, but it does not wait; errors are logged."""
        self._host.hang_ups.start(self, after_playout=after_playout, reason=reason)

    def count(self, name: str) -> None:
        """One more of ``name``."""
        self._host.count(name)

    def publish(self, event: Event) -> None:
        """Give an event to whoever asked for events."""
        self.runner.publish(event)

    def stats(self) -> CallSummary:
        """Its facts and figures, as they are now."""
        return self._host.summary_of(self)

    async def send_text(self, data: bytes) -> bool:
        """Send a message that a processor made; False if there is no socket."""
        if self.line is not None:
            self.line.send_text(data)
            self.count("own_messages")
        return self.line is not None

    # The end.

    def end(self, reason: str) -> None:
        """End the call's media: plays resolve now, and handlers get ``handler_grace_s``."""
        if self.ended:
            return
        self.ended_at = monotonic()
        self.end_reason = reason
        # Before anything can fail: a call that never ends would keep the server from its end.
        self._finishing = self._loop.create_task(self._finish(), name=f"end of {self.call_id}")
        self.outbound.end()
        self._alarm.off()
        if self._grace is not None:
            self._grace.cancel()
        self.inbound.end(self.ended_at)
        self.watch.end(self)
        self.dtmf.end()
        self.runner.end(reason)

    def leave(self) -> None:
        """Close the socket now, although handlers of the ended call are running."""
        if self.line is not None:
            self.line.close(1001)

    async def _finish(self) -> None:
        """Wait for the handlers, cancel those left, close the socket, tell the host."""
        try:
            await self.runner.wait(self._host.settings.handler_grace_s)
            await self.runner.close()
            for _ in range(await self.outbound.closed()):
                self.count("abandoned_sources")
            if self.line is not None:
                self.line.close(1001 if self.end_reason == "shutdown" else 1000)
        except Exception as exc:
            context = {"message": f"the end of call {self.call_id!r} failed", "exception": exc}
            self._loop.call_exception_handler(context)
        finally:  # whatever failed: the server's own end waits to be told
            self._host.session_ended(self)
            self._let_go()

    def _let_go(self) -> None:
        """Cut what refers back to this session.

        So the memory of an ended call is free at once. In circles it would stay until the garbage
        collector looks at everything, for which all other calls have to wait.
        """
        self._leave_line()
        self._alarm.close()
        self.inbound.close()

    def _await_line(self, for_s: float) -> None:
        """End the call after ``for_s``; time in which no socket was read does not count."""
        due = monotonic() + for_s

        def over() -> None:
            stood_still_s = monotonic() - due
            if stood_still_s > STOOD_STILL_S:  # another socket may have come, and was not read
                self._await_line(min(stood_still_s, for_s))
            else:
                self.end("lost")

        self._grace = self._loop.call_later(for_s, over)

    def _leave_line(self) -> Line | None:
        line, self.line = self.line, None
        self._n_refused += line.n_refused if line is not None else 0
        return line

    def _refuse(self, kind: str) -> None:
        if self.line is not None:
            self.line.refuse(kind)

    # Time.

    def _set_alarm(self) -> None:
        """Have ``_tick`` called when one of the parts has work."""
        if self.ended:
            return
        for at in (self.outbound.playout.next_at, self.inbound.next_at, self.dtmf.next_at):
            self._alarm.set(at)

    def _tick(self) -> None:
        now = monotonic()
        self.inbound.poll(now)
        self.dtmf.poll(now)
        self.outbound.tick(now)
        self._set_alarm()
