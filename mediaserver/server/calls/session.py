"""The life of one call: its tasks, its two halves, its one end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from time import monotonic
from typing import Any, Protocol

from mediaserver.media.dtmf import DtmfOrder
from mediaserver.media.playout import Mp3Playout, Playout, PlayoutSink
from mediaserver.media.reorder import Reorder
from mediaserver.observer import StreamRequest
from mediaserver.processors.api import Dtmf, Reconnected, Stop, StreamError, Webhook
from mediaserver.processors.chain import Chain, FilterStage, Stage
from mediaserver.server.calls.audio.formats import Formats, UnsupportedFormatError
from mediaserver.server.calls.audio.inbound import Inbound
from mediaserver.server.calls.audio.outbound import INFINITY, Outbound
from mediaserver.server.calls.audio.parts import DetachedSink, make_decoder, make_encoder
from mediaserver.server.calls.diagnostics import Diagnostics
from mediaserver.server.calls.event_hub import EventHub
from mediaserver.server.calls.selection import Chosen
from mediaserver.server.calls.view import CallView
from mediaserver.settings import Settings
from mediaserver.wire import messages as wire
from mediaserver.wire.messages import ErrorBody, MediaBody, Start
from telephony_codecs import Decoder

logger = logging.getLogger(__name__)

ERROR_MEANINGS = {
    100002: "unknown_error",
    100003: "malformed_frame",
    100004: "invalid_media: the payload was not base64",
    100005: "rate_limit_reached: more than one mp3 message a second",
}


class SessionHost(Protocol):
    """Who owns the sessions."""

    settings: Settings

    def count(self, name: str) -> None:
        """One more of ``name``."""

    async def hangup_call(self, call_id: str) -> bool:
        """End the phone call; False where no control client is set up."""

    def session_lost(self, session: Session) -> None:
        """The session has no socket and waits for one."""

    def session_ended(self, session: Session) -> None:
        """The session is over, its tasks are done; called once."""


class Line(PlayoutSink, Protocol):
    """The socket side of a session."""

    def refuse(self, kind: str) -> None:
        """Count a message whose content turned out to be of no use."""

    def close(self, code: int, reason: str = "") -> None:
        """Close the socket."""


class Session:
    """One call from its ``start`` to its end.

    Args:
        host: owns the session.
        call_id: Telnyx's ``call_control_id``.
        start: the message that began the stream.
        formats: both directions.
        chosen: the chain.
        line: the socket it speaks through.
        now: monotonic seconds.

    Raises:
        UnsupportedFormatError: an encoder or decoder is missing on this platform.
    """

    def __init__(
        self,
        host: SessionHost,
        call_id: str,
        start: Start,
        formats: Formats,
        chosen: Sequence[Chosen],
        line: Line,
        now: float,
    ) -> None:
        self.host = host
        self.call_id = call_id
        self.start = start
        self.formats = formats
        self.line: Line | None = line
        self.ended = False
        self.end_reason = ""
        self.request = StreamRequest(formats.send_codec, formats.send_rate, formats.send_mode)
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._handlers: set[asyncio.Task[None]] = set()
        self.events = EventHub()
        self._timer: asyncio.TimerHandle | None = None
        self._grace: asyncio.TimerHandle | None = None
        self._diagnostics = Diagnostics(now)
        self._byte_order_said = False
        self._dtmf: DtmfOrder[Dtmf] = DtmfOrder()
        self.outbound = Outbound(self._playout(line), self._arm, self._spawn)
        self._calls: list[tuple[CallView, Chosen]] = []
        self._views: list[CallView] = []
        self._chain = Chain(self._stages(chosen), self._stage_failed)
        self._decoder()  # refuse now, not at the first frame
        self.inbound = Inbound(
            self._decoder, self._chain, self._reorder(), now, self._refuse, self._arm
        )

    def begin(self) -> None:
        """Start the handlers."""
        for call, chosen in self._calls:
            task = self._loop.create_task(
                self._handle(call, chosen), name=f"{call.name} {self.call_id}"
            )
            self._handlers.add(task)
            task.add_done_callback(self._handler_done)
            self._loop.call_soon(call.started)  # behind the task's own first step
        self._loop.call_soon(self.events.started)
        self._arm()  # keep-alive has work before any play

    # What the socket brings.

    def mark_received(self, name: str, now: float) -> None:
        """A mark came back."""
        self.outbound.playout.mark_returned(name, now)
        self._arm()

    def dtmf_received(self, message: wire.Dtmf, now: float) -> None:
        """A key was pressed; events come in the order of pressing."""
        pressed = Dtmf(message.dtmf.digit, message.occurred_at)
        for event in self._dtmf.push(pressed, message.occurred_s, now):
            self.events.publish(event)
        self._arm()

    def error_received(self, body: ErrorBody, now: float) -> None:
        """Telnyx refused something."""
        meaning = ERROR_MEANINGS.get(body.code or 0, "not documented")
        logger.warning("call %s: Telnyx says %s %s", self.call_id, body.code, meaning)
        self.host.count("stream_errors")
        self.events.publish(StreamError(body.code, body.title, body.detail, meaning))

    def stop_received(self, now: float) -> None:
        """The stream's orderly end."""
        self.end("stop")

    def writing_blocked(self, blocked: bool) -> None:
        """The peer reads too slowly, or again."""
        self.outbound.playout.blocked = blocked
        if not blocked:
            self._tick()

    def line_lost(self) -> None:
        """The socket is gone without ``stop``: the call waits for another one, for a while."""
        self.line = None
        grace_s = self.host.settings.reconnect_grace_s
        if self.ended:
            return
        if grace_s == 0:
            self.end("lost")
            return
        self.outbound.renew(self._playout(None))
        self.host.session_lost(self)
        self._grace = self._loop.call_later(grace_s, self.end, "lost")

    def take_over(self, line: Line, start: Start, formats: Formats, now: float) -> None:
        """Another socket of this call: newest wins, processors keep their state.

        Raises:
            UnsupportedFormatError: its formats cannot be served.
        """
        former, self.formats, self.start = self.formats, formats, start
        try:
            self._decoder()
            playout = self._playout(line)
        except UnsupportedFormatError:
            self.formats = former
            raise
        if self._grace is not None:
            self._grace.cancel()
        old, self.line = self.line, line
        if old is not None:
            old.close(1000, "another socket took the call over")
        self.outbound.renew(playout)
        self.inbound.restart(self._decoder, self._reorder(), now)
        for view in self._views:
            view.describe()
        self.events.publish(Reconnected(start.stream_id))

    def webhook_received(self, event: Any, event_type: str) -> None:
        """Telnyx reports about this call; an end that it reports needs no grace."""
        self.events.publish(Webhook(event))
        if event_type == "call.hangup" or (event_type == "streaming.stopped" and self.line is None):
            self.end("hangup" if event_type == "call.hangup" else "stop")

    def look(self, now: float) -> None:
        """Once a second: say what looks wrong, and what was found out."""
        self._say_byte_order()
        for hint in self._diagnostics.look(self.inbound, self.outbound.playout.ledger, now):
            logger.warning("call %s: %s", self.call_id, hint.text)
            self.events.publish(hint)

    def _say_byte_order(self) -> None:
        """Log, once, how this call's L16 is read."""
        order = self.inbound.l16_byte_order
        if order is not None and not self._byte_order_said:
            self._byte_order_said = True
            logger.info("call %s: L16 is read as %s-endian", self.call_id, order)

    # What processors ask for.

    async def hangup(self) -> None:
        """End the phone call, or at least its stream."""
        if not await self.host.hangup_call(self.call_id):
            self.end("hangup")

    # The end.

    def end(self, reason: str) -> None:
        """End the call's media; handlers get their grace, then everything is gone."""
        if self.ended:
            return
        self.ended = True
        self.end_reason = reason
        if self._grace is not None:
            self._grace.cancel()
        self.inbound.drain(monotonic())
        self._say_byte_order()
        for event in self._dtmf.drain():
            self.events.publish(event)
        self._chain.close()
        self.events.publish(Stop(reason))
        self.events.close()
        finish = self._loop.create_task(self._finish(), name=f"end of {self.call_id}")
        self._tasks.add(finish)

    async def _finish(self) -> None:
        """Wait for the handlers, end what is left, close the socket, say so."""
        if self._handlers:
            await asyncio.wait(self._handlers, timeout=self.host.settings.handler_grace_s)
        self.outbound.end()
        if self._timer is not None:
            self._timer.cancel()
        others = self._tasks - {asyncio.current_task()}
        for task in self._handlers | others:
            task.cancel()
        await asyncio.gather(*self._handlers, *others, return_exceptions=True)
        if self.line is not None:
            self.line.close(1000)
        self.host.session_ended(self)

    # Processors.

    def _stages(self, chosen: Sequence[Chosen]) -> list[Stage]:
        stages: list[Stage] = []
        for choice in chosen:
            spec = choice.spec
            if spec.is_filter:
                call = CallView(self, spec.name, None)
                self._views.append(call)
                filter_ = spec.target(call, **choice.parameters)
                stages.append(FilterStage(spec.name, filter_))
            else:
                call = CallView(self, spec.name, spec.rate)
                self._views.append(call)
                self._calls.append((call, choice))
                stages.append(call)
        return stages

    def _stage_failed(self, name: str, exc: Exception) -> bool:
        """A filter raised: say so, follow the policy; False bypasses it for good."""
        logger.error("call %s: processor %s failed", self.call_id, name, exc_info=exc)
        self.host.count("processor_errors")
        self._follow_error_policy()
        return False

    async def _handle(self, call: CallView, chosen: Chosen) -> None:
        try:
            await chosen.spec.target(call, **chosen.parameters)
        except Exception:  # the border to a user's code
            logger.exception("call %s: processor %s failed", self.call_id, call.name)
            self.host.count("processor_errors")
            self._follow_error_policy()

    def _follow_error_policy(self) -> None:
        if self.host.settings.on_error == "end":
            self._loop.call_soon(self.end, "processor")

    def _handler_done(self, task: asyncio.Task[None]) -> None:
        self._handlers.discard(task)
        if not self._handlers and not self.ended and self.host.settings.on_return == "hangup":
            self._spawn(self.hangup())

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a task that ends with the call at the latest."""
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Parts.

    def _refuse(self, kind: str) -> None:
        if self.line is not None:
            self.line.refuse(kind)

    def _decoder(self) -> Decoder:
        return make_decoder(self.formats, self.host.settings)

    def _reorder(self) -> Reorder[MediaBody]:
        settings = self.host.settings
        return Reorder(settings.reorder_wait_ms / 1000, settings.chunk_numbering)

    def _playout(self, line: Line | None) -> Playout:
        """A playout into ``line``; without one it holds what it is given."""
        settings = self.host.settings
        sink: PlayoutSink = line if line is not None else DetachedSink()
        if self.formats.send_mode == "mp3":
            playout: Playout = Mp3Playout(sink)
        else:
            playout = Playout(
                make_encoder(self.formats, settings),
                sink,
                lead_s=None if settings.lead_ms is None else settings.lead_ms / 1000,
                backlog_s=settings.backlog_ms / 1000,
                keepalive=settings.keepalive,
            )
        playout.blocked = line is None
        return playout

    # Time.

    def _arm(self) -> None:
        """Have ``_tick`` called when one of the parts next has work."""
        at = self.outbound.playout.next_at
        for other in (self.inbound.next_at, self._dtmf.next_at):
            if other is not None and (at is None or other < at):
                at = other
        if at is None or self.outbound.armed_at <= at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self.outbound.armed_at = at
        self._timer = self._loop.call_later(max(0.0, at - monotonic()), self._tick)

    def _tick(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.outbound.armed_at = INFINITY
        now = monotonic()
        self.inbound.poll(now)
        for event in self._dtmf.poll(now):
            self.events.publish(event)
        self.outbound.playout.tick(now)
        if not self.outbound.ended:
            self._arm()
