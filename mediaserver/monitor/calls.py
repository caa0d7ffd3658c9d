"""The admin pages about calls, live and ended.

GET  /calls               both; ``live``, ``bad``, ``last``, ``limit``, ``before`` choose
GET  /calls/{id}          one of them, whole
POST /calls/{id}/hangup   hang up its phone call
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mediaserver.errors import ConfigurationError, MediaServerError
from mediaserver.history.asking import NAMES, WrongQuestionError, live_of, place_text, query_of
from mediaserver.history.records import CallRecord
from mediaserver.history.stores import Query
from mediaserver.history.writer import read_history
from mediaserver.logs import MASKED, LimitedLog, Numbers, shown
from mediaserver.observer import CallSummary
from mediaserver.server.base import Service

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

Perform = Callable[[str, str, Sequence[Any], Mapping[str, Any]], Awaitable[Any]]

Shown = dict[str, Any]


class _Refusal(MediaServerError):
    """An answer that is not what was asked for: a status, and why."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text


class CallPages:
    """The pages.

    Args:
        service: has the live calls.
        history: the file of the ended ones; None: there is none.
        perform: commands a phone call by REST; None where there is no control client.
    """

    def __init__(
        self,
        service: Callable[[], Service],
        history: Path | None,
        perform: Perform | None,
        numbers: Numbers = MASKED,
    ) -> None:
        self._numbers = numbers
        self._service = service
        self._history = history
        self._perform = perform

    def routes(self) -> list[Route]:
        """Where they are. An id may hold anything, a slash too."""
        return [
            Route("/calls", _answering(self._calls), methods=["GET"]),
            Route("/calls/{call_id:path}/hangup", _answering(self._hang_up), methods=["POST"]),
            Route("/calls/{call_id:path}", _answering(self._call), methods=["GET"]),
        ]

    async def _calls(self, request: Request) -> Shown:
        asked = dict(request.query_params)
        unknown = asked.keys() - set(NAMES)
        if unknown:
            raise WrongQuestionError(f"what may be asked for is {', '.join(NAMES)}")
        query, live = query_of(asked), live_of(asked)
        found = await self._live() if live is not False and query.before is None else []
        if query.only_bad:
            wanted = query.trouble
            found = [each for each in found if (wanted in each["bad"] if wanted else each["bad"])]
        ended = await self._ended(query) if live is not True else []
        answer: Shown = {"calls": found + [_shown(record) for record in ended]}
        if len(ended) == query.limit:
            answer["next"] = place_text(ended[-1])
        return answer

    async def _call(self, request: Request) -> Shown:
        call_id = request.path_params["call_id"]
        live = await self._live_one(call_id)
        if live is not None:
            return live
        ended = await self._ended(Query(call_id=call_id, limit=1))
        if not ended:
            raise _Refusal(404, "there is no such call, live or in the history")
        return _shown(ended[0])

    async def _hang_up(self, request: Request) -> Shown:
        call_id = request.path_params["call_id"]
        if self._perform is None:
            raise _Refusal(501, "hanging up needs a Telnyx API key: set api_key (TELNYX_API_KEY)")
        if await self._live_one(call_id) is None:
            raise _Refusal(409, "no such call is live")
        text = "call %s is hung up by an admin"
        limited.info("hung up by an admin", text, shown(call_id), call=call_id)
        try:
            await self._perform(call_id, "hangup", (), {})
        except Exception as exc:  # whatever the control client raises: it is told
            raise _Refusal(502, f"it could not be hung up: {shown(exc, 400)}") from exc
        return {"call_id": call_id, "hung_up": True}

    async def _live(self) -> list[Shown]:
        """Live calls of all processes, the oldest first."""
        calls: list[tuple[str, CallSummary]] = []
        for _, body in await self._service().ask("calls"):
            calls += msgspec.msgpack.decode(body, type=list[tuple[str, CallSummary]])
        calls.sort(key=lambda call: call[1].started_at)
        return [
            {"state": state, "bad": summary.troubles, "summary": summary.hidden(self._numbers)}
            for state, summary in calls
        ]

    async def _live_one(self, call_id: str) -> Shown | None:
        return next((c for c in await self._live() if c["summary"].call_id == call_id), None)

    async def _ended(self, query: Query) -> list[CallRecord]:
        if self._history is None:
            return []
        return await asyncio.to_thread(read_history, self._history, query)


def _shown(record: CallRecord) -> Shown:
    """An ended call, beside live ones."""
    return {"state": "ended", **msgspec.structs.asdict(record)}


def _answering(page: Callable[[Request], Awaitable[Shown]]) -> Callable[..., Awaitable[Response]]:
    """A page whose answers, errors too, are JSON."""

    async def answer(request: Request) -> Response:
        try:
            return _json(await page(request))
        except WrongQuestionError as exc:
            return _json({"error": str(exc)}, 400)
        except _Refusal as exc:
            return _json({"error": exc.text}, exc.status)
        except ConfigurationError as exc:
            return _json({"error": str(exc)}, 500)

    return answer


def _json(content: Shown, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content) + b"\n", status, media_type="application/json")
