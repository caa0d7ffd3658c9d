"""What the page ``/live`` asks for. The page itself is static: see ``monitor.static``.

GET  /live/needs               whether the page must ask for a token
GET  /live/rights              what whoever asks may do
GET  /live/feed                overview, table and levels, without an end
GET  /live/calls/{id}/feed     one call, without an end
GET  /live/calls/{id}/listen   its audio; these need the right to listen:
GET  /live/calls/{id}/recordings/{number}   of an ended call; ``started_at`` chooses its record
POST /live/calls/{id}/say      a text to its processors
POST /live/calls/{id}/mute     silence in place of its bot; ``unmute`` ends that
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from functools import partial
from pathlib import Path
from time import monotonic

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mediaserver.errors import ConfigurationError
from mediaserver.logs import LimitedLog, shown
from mediaserver.monitor.access import may_listen
from mediaserver.monitor.live.feed import AUDIO, Feed, json_part, part
from mediaserver.monitor.live.gathering import LEVELS_EVERY_S, TABLE_EVERY_S, Found, Gathering
from mediaserver.monitor.live.recordings import NotThereError, Recording, find_recording
from mediaserver.server.base import Service
from mediaserver.server.live.forms import PRIVATE, CallEvent, Look, LookFor, Operate
from mediaserver.settings import Settings

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

CALL = "/live/calls/{call_id:path}"
MOST_FEEDS = 128
LOOK_EVERY_S = 0.2
SUMMARY_EVERY_S = 1.0
LISTEN_EVERY_S = 0.06
MOST_TEXT = 2000
MOST_BODY = 16_384
HIDDEN = "hidden: it is shown to those who may listen"
_LISTENED = struct.Struct("!dB")
_CHUNK = struct.Struct("!BdII")

Parts = AsyncIterator[bytes]


class LivePages:
    """The routes, and what goes out by them.

    Args:
        settings: see ``Settings``.
        service: the media side.
        count: counts who looks and listens.
    """

    def __init__(
        self, settings: Settings, service: Callable[[], Service], count: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self.count = count
        self._gathering = Gathering(settings, service)
        self._history = Path(settings.history) if settings.history is not None else None
        self._phone_url: str | None = None
        self._n_feeds = 0
        self._is_over = False

    def show_phone(self, url: str) -> None:
        """The page leads to the phone's page at this URL."""
        self._phone_url = url

    def routes(self) -> list[Route]:
        """For whoever may see the admin pages."""
        return [
            Route("/live/rights", self._rights, methods=["GET"]),
            Route("/live/feed", self._all, methods=["GET"]),
            Route(f"{CALL}/feed", self._one, methods=["GET"]),
        ]

    def open_routes(self) -> list[Route]:
        """For whoever reaches the page."""
        return [Route("/live/needs", self._needs, methods=["GET"])]

    def listener_routes(self) -> list[Route]:
        """For whoever may listen in."""
        return [
            Route(f"{CALL}/listen", self._listen, methods=["GET"]),
            Route(f"{CALL}/recordings/{{number}}", self._recording, methods=["GET"]),
            *(self._operating(what) for what in ("say", "mute", "unmute")),
        ]

    def close(self) -> None:
        """End all feeds soon."""
        self._is_over = True

    async def _needs(self, _: Request) -> Response:
        return JSONResponse({"token": self._settings.admin_token is not None})

    async def _rights(self, request: Request) -> Response:
        listen = may_listen(request.headers, self._settings)
        is_set = self._settings.listen_token is not None
        return JSONResponse(
            {"listen": listen, "listen_token_is_set": is_set, "phone": self._phone_url}
        )

    # Feeds.

    def _feed(self, parts: Parts) -> Response:
        return self._too_many() or Feed(parts, lambda: self._is_over)

    def _too_many(self) -> Response | None:
        if self._n_feeds < MOST_FEEDS:
            return None
        return _refused(503, "too many look at calls already")

    @contextmanager
    def _looking(self) -> Iterator[None]:
        self._n_feeds += 1
        try:
            yield
        finally:
            self._n_feeds -= 1

    async def _all(self, _: Request) -> Response:
        self.count("live_viewers")
        return self._feed(self._all_parts())

    async def _all_parts(self) -> Parts:
        gathering, table_at = self._gathering, 0.0
        with self._looking():
            while True:
                began = monotonic()
                if began >= table_at:
                    table_at = began + TABLE_EVERY_S
                    yield await gathering.table.get()
                yield await gathering.levels.get()
                await _rest_of(LEVELS_EVERY_S, began)

    async def _one(self, request: Request) -> Response:
        call_id = request.path_params["call_id"]
        found = await self._gathering.look(LookFor(call_id, summary=True))
        if found is None:
            return _refused(404, "no such call is live")
        self.count("live_viewers")
        return self._feed(
            self._one_parts(call_id, found, may_listen(request.headers, self._settings))
        )

    async def _one_parts(self, call_id: str, found: Found | None, all_of_it: bool) -> Parts:
        summary_at = monotonic() + SUMMARY_EVERY_S
        with self._looking():
            while found is not None:
                began, (look, worker) = monotonic(), found
                yield json_part({"type": "call", "look": look if all_of_it else _hidden(look)})
                await _rest_of(LOOK_EVERY_S, began)
                wants_summary = began >= summary_at
                if wants_summary:
                    summary_at = began + SUMMARY_EVERY_S
                wanted = LookFor(call_id, look.seq, summary=wants_summary)
                found = await self._look_again(wanted, worker)
            yield json_part({"type": "gone"})

    async def _look_again(self, wanted: LookFor, worker: int | None) -> Found | None:
        """The next look; a worker that does not answer once has its call still."""
        for _ in range(3):
            found = await self._gathering.look(wanted, worker)
            if found is not None and found.look.state == "ending" and not found.look.chunks:
                return None
            if found is not None:
                return found
            await asyncio.sleep(LOOK_EVERY_S)
        return None

    # Listening.

    async def _listen(self, request: Request) -> Response:
        call_id = request.path_params["call_id"]
        found = await self._gathering.look(LookFor(call_id, audio=True))
        if found is None:
            return _refused(404, "no such call is live")
        return self._feed(self._heard(call_id, found, _who(request)))

    async def _heard(self, call_id: str, found: Found | None, who: str) -> Parts:
        began_at = monotonic()
        self.count("listens")
        text = "call %s is listened to from %s"
        limited.each(logging.INFO, "listened", text, shown(call_id), who, call=call_id)
        try:
            with self._looking():
                while found is not None:
                    began, (look, worker) = monotonic(), found
                    for _ in range(look.skipped):
                        self.count("listen_skipped")
                    yield part(AUDIO, _audio(look))
                    await _rest_of(LISTEN_EVERY_S, began)
                    found = await self._look_again(LookFor(call_id, look.seq, audio=True), worker)
                yield json_part({"type": "gone"})
        finally:
            text, for_s = "call %s is listened to no more, after %.0f s", monotonic() - began_at
            limited.each(
                logging.INFO, "listened no more", text, shown(call_id), for_s, call=call_id
            )

    async def _recording(self, request: Request) -> Response:
        call_id, number = request.path_params["call_id"], request.path_params["number"]
        try:
            asked = request.query_params.get("started_at")
            started_at = None if asked is None else float(asked)
        except ValueError:
            return _refused(400, "started_at is a number: that of the call's record")
        find = partial(find_recording, self._history, call_id, number, started_at)
        try:
            found = await asyncio.to_thread(find)
        except NotThereError as exc:
            return _refused(404, str(exc))
        except ConfigurationError as exc:
            return _refused(500, str(exc))
        # Its length has been said, so that it comes whole, or its connection is cut.
        parts = self._fetched(call_id, number, found, _who(request))
        return self._too_many() or Feed(parts, lambda: False, found.fields)

    async def _fetched(self, call_id: str, number: str, found: Recording, who: str) -> Parts:
        self.count("recordings_fetched")
        text = "recording %s of call %s is fetched from %s"
        what = number, shown(call_id), who
        limited.each(logging.INFO, "recordings fetched", text, *what, call=call_id)
        with self._looking():
            async with aclosing(found.chunks()) as chunks:
                async for chunk in chunks:
                    yield chunk

    # Taking part.

    def _operating(self, what: str) -> Route:
        page = partial(self._operate, what=what)
        return Route(f"{CALL}/{what}", page, methods=["POST"])

    async def _operate(self, request: Request, what: str) -> Response:
        call_id, text = request.path_params["call_id"], ""
        if what == "say":
            read = await _text_of(request)
            if read is None:
                return _refused(400, 'the body is JSON: {"text": …}, of 2,000 characters at most')
            text = read
        if not await self._gathering.operate(Operate(call_id, what, text)):
            return _refused(404, "no such call is live")
        self.count("operator_messages" if what == "say" else "operator_mutes")
        told = {"say": "is told something", "mute": "has its bot muted", "unmute": "is not muted"}
        line = f"call %s {told[what]} by an operator"
        limited.each(logging.INFO, "operators", line, shown(call_id), call=call_id)
        return JSONResponse({"call_id": call_id, "done": what})


def _who(request: Request) -> str:
    return request.client.host if request.client is not None else "an unknown address"


def _audio(look: Look) -> bytes:
    """The call's time and law, then each chunk: side, time, rate, length, G.711."""
    parts = [_LISTENED.pack(look.now, look.law == "PCMA")]
    for chunk in look.chunks:
        parts += (_CHUNK.pack(chunk.side, chunk.at, chunk.rate_hz, len(chunk.audio)), chunk.audio)
    return b"".join(parts)


def _hidden(look: Look) -> Look:
    """Without what is said in the call."""
    events = tuple(CallEvent(e.at, e.kind, HIDDEN) if e.kind in PRIVATE else e for e in look.events)
    return msgspec.structs.replace(look, events=events)


async def _text_of(request: Request) -> str | None:
    """What is to be said; None: the body is none."""
    body = b""
    async for more in request.stream():
        body += more
        if len(body) > MOST_BODY:
            return None
    try:
        text = msgspec.json.decode(body, type=dict[str, str]).get("text", "").strip()
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return text if 0 < len(text) <= MOST_TEXT else None


async def _rest_of(every_s: float, began: float) -> None:
    await asyncio.sleep(max(0.0, began + every_s - monotonic()))


def _refused(status: int, why: str) -> Response:
    return JSONResponse({"error": why}, status)
