"""The life of one call: its tasks, its two halves, its one end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from time import monotonic
from typing import Any, Protocol

import msgspec

from mediaserver.media.ledger import PlayoutSink
from mediaserver.media.playout import Playout
from mediaserver.media.reorder import Reorder
from mediaserver.processors.chain import Chain, FilterStage, Stage
from mediaserver.processors.core import Dtmf, Event, Spec, Stop, StreamError
from mediaserver.server.call import EVENTS_LIMIT, LiveCall
from mediaserver.server.formats import Formats, make_decoder, make_encoder
from mediaserver.server.inbound import Inbound
from mediaserver.server.outbound import Outbound
from mediaserver.server.queue import DropOldest
from mediaserver.settings import Settings
from mediaserver.wire.messages import ErrorBody, MediaBody, Start

logger = logging.getLogger(__name__)

ERROR_MEANINGS = {
    100002: "unknown_error",
    100003: "malformed_frame",
    100004: "invalid_media: the payload was not base64",
    100005: "rate_limit_reached: more than one mp3 message a second",
}


class Chosen(msgspec.Struct, frozen=True):
    """A processor for one call, its parameters bound."""

    spec: Spec
    parameters: dict[str, Any]


class SessionHost(Protocol):
    """Who owns the sessions."""

    settings: Settings

    def count(self, name: str) -> None:
        """One more of ``name``."""

    async def hangup_call(self, call_id: str) -> bool:
        """End the phone call; False where no control client is set up."""

    def session_ended(self, session: Session) -> None:
        """The session is over, its tasks are done; called once."""


class Line(PlayoutSink, Protocol):
    """The socket side of a session."""

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
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._handlers: set[asyncio.Task[None]] = set()
        self._subscribers: list[DropOldest[Event]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        settings = host.settings
        make_decoder(formats, settings)  # refuse now, not at the first frame
        self._reorder: Reorder[MediaBody] = Reorder(
            settings.reorder_wait_ms / 1000, settings.chunk_numbering
        )
        encoder = make_encoder(formats, settings)
        playout = Playout(
            encoder,
            line,
            lead_s=None if settings.lead_ms is None else settings.lead_ms / 1000,
            backlog_s=settings.backlog_ms / 1000,
            keepalive=settings.keepalive,
        )
        self.outbound = Outbound(playout, encoder.rate_hz, self._arm, self._spawn)
        self._chain = Chain(self._stages(chosen), self._stage_failed)
        self.inbound = Inbound(
            lambda: make_decoder(formats, settings),
            self._chain,
            self._reorder,
            now,
            host.count,
            self._arm,
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

    # What the socket brings.

    def mark_received(self, name: str, now: float) -> None:
        """A mark came back."""
        self.outbound.playout.mark_returned(name, now)
        self._arm()

    def dtmf_received(self, digit: str, occurred_at: str | None, now: float) -> None:
        """A key was pressed."""
        self.publish(Dtmf(digit, occurred_at))

    def error_received(self, body: ErrorBody, now: float) -> None:
        """Telnyx refused something."""
        meaning = ERROR_MEANINGS.get(body.code or 0, "not documented")
        logger.warning("call %s: Telnyx says %s %s", self.call_id, body.code, meaning)
        self.host.count("stream_errors")
        self.publish(StreamError(body.code, body.title, body.detail, meaning))

    def stop_received(self, now: float) -> None:
        """The stream's orderly end."""
        self.end("stop")

    def writing_blocked(self, blocked: bool) -> None:
        """The peer reads too slowly, or again."""
        self.outbound.playout.blocked = blocked
        if not blocked:
            self._tick()

    def line_lost(self) -> None:
        """The socket is gone, with or without ``stop``."""
        self.line = None
        self.outbound.end()
        self.end("lost")

    # What processors ask for.

    def subscribe(self) -> DropOldest[Event]:
        """Events from now to the call's end."""
        queue: DropOldest[Event] = DropOldest(EVENTS_LIMIT)
        if self.ended:
            queue.close()
        else:
            self._subscribers.append(queue)
        return queue

    def publish(self, event: Event) -> None:
        """Give ``event`` to every subscriber."""
        for queue in self._subscribers:
            queue.push(event)

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
        self.inbound.drain(monotonic())
        self._chain.close()
        self.publish(Stop(reason))
        for queue in self._subscribers:
            queue.close()
        self._subscribers = []
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
        self._calls: list[tuple[LiveCall, Chosen]] = []
        stages: list[Stage] = []
        for choice in chosen:
            spec = choice.spec
            if spec.is_filter:
                call = LiveCall(self, spec.name, None)
                filter_ = spec.target(call, **choice.parameters)
                stages.append(FilterStage(spec.name, filter_))
            else:
                call = LiveCall(self, spec.name, spec.rate)
                self._calls.append((call, choice))
                stages.append(call)
        return stages

    def _stage_failed(self, name: str, exc: Exception) -> bool:
        """A filter raised: say so, follow the policy; False bypasses it for good."""
        logger.error("call %s: processor %s failed", self.call_id, name, exc_info=exc)
        self.host.count("processor_errors")
        self._follow_error_policy()
        return False

    async def _handle(self, call: LiveCall, chosen: Chosen) -> None:
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

    # Time.

    def _arm(self) -> None:
        """Have ``_tick`` called when the reorder or the playout next has work."""
        at = self.outbound.playout.next_at
        other = self._reorder.next_at
        if at is None or (other is not None and other < at):
            at = other
        if at is None or (self._timer is not None and self._timer_at <= at):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_later(max(0.0, at - monotonic()), self._tick)

    def _tick(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = monotonic()
        self.inbound.poll(now)
        self.outbound.playout.tick(now)
        if not self.outbound.ended:
            self._arm()
