"""Receives what Telnyx reports: verified, counted, once each, handled after the answer."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from mediaserver.control.events import Event, MalformedEventError, normal_type, parse_event
from mediaserver.control.own_server import WEBHOOK_PATH
from mediaserver.control.webhooks.delivery import Callback, CallEvents, SeenIds
from mediaserver.control.webhooks.signature import Headers, SignatureError, Verifier, Version1Error
from mediaserver.figures.figures import Figures
from mediaserver.interrupts import is_operators
from mediaserver.logs import LimitedLog, shown
from mediaserver.steady import SteadyClock

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

Handler = Callable[[Any], object]
AnyHandler = TypeVar("AnyHandler", bound=Handler)

MAX_BODY_BYTES = 256 << 10
BODY_DEADLINE_S = 5.0
_POST_ONLY = "webhooks come by POST: set webhook_url_method to POST"


@dataclass(frozen=True)
class Verdict:
    """What a delivery is worth: the HTTP status, one word for the counter, and the event.

    The event is there only if it is to be handled: verified, well-formed, not seen before.
    """

    status: HTTPStatus
    counted_as: str
    event: Event | None = None


class WebhookReceiver:
    """Verifies webhooks and hands their events to handlers and live calls.

    Args:
        public_keys: Telnyx's, base64; several while keys are rotated.
        tolerance_s: how far a timestamp may be off, either way.
        dedup_s: how long an event's id is remembered.
        keep_s: how long an event waits for its call to attach.
        max_running: handlers at work at most; beyond it Telnyx is asked to come again (503).
        clock: monotonic seconds.
        wall_clock: unix seconds.

    Attributes:
        counts: deliveries by what became of them: ``accepted``, ``duplicate``, ``unsigned``,
            ``version_1``, ``malformed``, ``wrong_method``, ``too_big``, ``unread``, ``busy``,
            ``forwarded`` (by another server, see ``receive_forwarded``); ``handler_failed``
            beside them.
        figures: how long answers took.

    Raises:
        ConfigurationError: no usable key.
        ValueError: ``dedup_s`` so short that a replay would pass.
    """

    def __init__(
        self,
        public_keys: Iterable[str],
        *,
        tolerance_s: float = 300.0,
        dedup_s: float = 600.0,
        keep_s: float = 60.0,
        max_running: int = 1000,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        if dedup_s < 2 * tolerance_s:
            # A timestamp from the far end of the tolerance stays good for twice as long.
            raise ValueError("dedup_s must be at least twice tolerance_s")
        self.counts: Counter[str] = Counter()
        self.figures: Figures = Figures()
        self._verifier = Verifier(public_keys, tolerance_s=tolerance_s)
        self._seen = SeenIds(dedup_s)
        self._calls = CallEvents(keep_s)
        self._handlers: dict[str, list[Handler]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._max_running = max_running
        self._clock, self._wall_clock = clock, wall_clock
        self._steady_clock = SteadyClock(wall_clock, clock)
        self._told: set[str] = set()
        self._takers: list[Callable[[Event], bool]] = []

    def on(self, event_type: str) -> Callable[[AnyHandler], AnyHandler]:
        """Register a handler, plain or async, for one type of event, or ``"*"`` for all."""

        def register(handler: AnyHandler) -> AnyHandler:
            self._handlers.setdefault(normal_type(event_type), []).append(handler)
            return handler

        return register

    def off(self, handler: Handler) -> None:
        """Call a handler no more, whatever it was registered for, if for anything."""
        for handlers in self._handlers.values():
            while handler in handlers:
                handlers.remove(handler)

    def attach(self, call_control_id: str, callback: Callback) -> None:
        """Have a plain function called with each event of a call, in order of arrival.

        Events that came before, within ``keep_s``, are handed over at once.
        """
        for event in self._calls.attach(call_control_id, callback, self._clock()):
            self._call_back(callback, event)

    def detach(self, call_control_id: str, callback: Callback) -> None:
        """End an attachment; one that is not there is no error."""
        self._calls.detach(call_control_id, callback)

    def forward_to(self, takes: Callable[[Event], bool]) -> None:
        """Ask ``takes`` before each event is dispatched; one that it took is not, here.

        Who came first is asked first.
        """
        self._takers.append(takes)

    def receive_forwarded(self, event: Event) -> bool:
        """Whether an event that another server has verified is new here: then dispatch it."""
        is_new = self._seen.is_new(event.id, self._clock(), self._wall_clock())
        self.counts["forwarded" if is_new else "duplicate"] += 1
        return is_new

    def verify(self, headers: Headers, body: bytes, now: float) -> None:
        """Return if a delivery is Telnyx's and fresh; see ``Verifier.verify``."""
        self._verifier.verify(headers, body, now)

    def receive(self, headers: Headers, body: bytes) -> Verdict:
        """Judge a delivery; an event in the verdict is to be given to ``dispatch``."""
        verdict = self._judge(headers, body)
        self.counts[verdict.counted_as] += 1
        return verdict

    def dispatch(self, event: Event) -> None:
        """Hand an event to its call at once, and to every handler in a task of its own."""
        if any(takes(event) for takes in self._takers):
            return
        for callback in self._calls.callbacks(event, self._clock()):
            self._call_back(callback, event)
        handlers = [*self._handlers.get(event.event_type, ()), *self._handlers.get("*", ())]
        for handler in handlers:
            task = asyncio.create_task(self._handle(handler, event))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def aclose(self, grace_s: float = 5.0) -> None:
        """Wait for handlers at work, then cancel those that are still at it."""
        if self._running:
            await asyncio.wait(set(self._running), timeout=grace_s)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _judge(self, headers: Headers, body: bytes) -> Verdict:
        try:
            now, steady = self._wall_clock(), self._steady_clock()
            signed_at = self._verifier.verify(headers, body, now, steady)
            event = self._calls.joined(parse_event(body))
        except Version1Error as error:
            self.tell_once("webhook refused: %s", error)
            return Verdict(HTTPStatus.UNAUTHORIZED, "version_1")
        except SignatureError as error:
            limited.warning("webhooks refused", "webhook refused: %s", error)
            return Verdict(HTTPStatus.UNAUTHORIZED, "unsigned")
        except MalformedEventError as error:
            limited.warning("webhooks refused", "webhook refused: %s", error)
            return Verdict(HTTPStatus.BAD_REQUEST, "malformed")
        if len(self._running) >= self._max_running:
            return Verdict(HTTPStatus.SERVICE_UNAVAILABLE, "busy")
        if not self._seen.is_new(event.id, self._clock(), signed_at):
            return Verdict(HTTPStatus.OK, "duplicate")
        return Verdict(HTTPStatus.OK, "accepted", event)

    def _call_back(self, callback: Callback, event: Event) -> None:
        try:
            callback(event)
        except BaseException as error:  # a call's own trouble must not reach other calls
            self._failed(event, error)

    async def _handle(self, handler: Handler, event: Event) -> None:
        try:
            result = handler(event)
            if inspect.isawaitable(result):
                await result
        except BaseException as error:  # a user's handler may raise anything: sys.exit() as well
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            self._failed(event, error)

    def _failed(self, event: Event, error: BaseException) -> None:
        if is_operators(error):
            raise error
        self.counts["handler_failed"] += 1
        limited.warning(
            "webhook handlers that failed",
            "a handler of %s failed for call %s",
            shown(event.event_type),
            shown(event.call_control_id),
            exc_info=error,
            call=event.call_control_id,
        )

    def tell_once(self, message: str, *values: object) -> None:
        """Log what the user has to set right, once: it comes with every delivery."""
        if message % values not in self._told:
            self._told.add(message % values)
            limited.warning("webhooks refused", message, *values)


class _Endpoint:
    """The ASGI side: reads with a cap, answers at once, dispatches afterwards."""

    def __init__(self, receiver: WebhookReceiver) -> None:
        self._receiver = receiver

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        if scope["method"] != "POST":
            verdict = self._refused(HTTPStatus.METHOD_NOT_ALLOWED, "wrong_method")
            self._receiver.tell_once("webhook refused: %s", _POST_ONLY)
            response = PlainTextResponse(_POST_ONLY, verdict.status, headers={"allow": "POST"})
        else:
            verdict = await self._verdict(Request(scope, receive))
            response = PlainTextResponse(verdict.status.phrase, status_code=verdict.status)
        try:
            await response(scope, receive, send)
        finally:
            self._receiver.figures.observe("webhook_seconds", time.monotonic() - began)
            # Also if the peer has gone: its next try would be a duplicate.
            if verdict.event is not None:
                self._receiver.dispatch(verdict.event)

    async def _verdict(self, request: Request) -> Verdict:
        try:
            async with asyncio.timeout(BODY_DEADLINE_S):
                body = await _read(request)
        except (TimeoutError, ClientDisconnect):
            return self._refused(HTTPStatus.REQUEST_TIMEOUT, "unread")
        if body is None:
            return self._refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_big")
        return self._receiver.receive(request.headers.raw, body)

    def _refused(self, status: HTTPStatus, counted_as: str) -> Verdict:
        self._receiver.counts[counted_as] += 1
        return Verdict(status, counted_as)


async def _read(request: Request) -> bytes | None:
    """The body, or None once it is too long."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)


def webhook_route(receiver: WebhookReceiver, path: str = WEBHOOK_PATH) -> Route:
    """The Starlette route for a receiver: POST only, 200 at once, handlers afterwards."""
    return Route(path, _Endpoint(receiver))
