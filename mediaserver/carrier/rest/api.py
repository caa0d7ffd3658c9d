"""The fake Telnyx's REST side: calls to command, webhooks about them, streams from them."""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nacl.signing import SigningKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from mediaserver.carrier.rest import errors as refuse
from mediaserver.carrier.rest.bodies import engines
from mediaserver.carrier.rest.bodies.checks import RULES, check
from mediaserver.carrier.rest.calls import PhoneCall
from mediaserver.carrier.rest.errors import RefusalError, error_body
from mediaserver.carrier.rest.faults import RateLimit, RestFault, RestFaults
from mediaserver.carrier.rest.habits import Habits
from mediaserver.carrier.rest.server import serving
from mediaserver.carrier.rest.tell import Tell, request_line, silent
from mediaserver.carrier.rest.webhooks import WebhookFaults, WebhookSender, trusting

REMEMBER_COMMANDS_S = 60.0
"""How long a repeated ``command_id`` is known (protocol.md 3)."""


@dataclass(frozen=True)
class Commanded:
    """One request as it came in, for tests to look at."""

    command: str
    call_control_id: str | None
    body: Any = field(repr=False)
    status: int = 200


class FakeTelnyx:
    """A fake Telnyx. **Enter it as an async context; then it listens.**

    Args:
        api_key: the one it accepts; None makes one up.
        webhook_url: where it reports to; a dialled call may name its own.
        habits: how its calls behave.
        webhook_faults: what happens to its webhooks.
        signing_key: signs the webhooks; None makes one up.
        rate_limit: requests it takes; None: a thousand a second.
        host: address to listen on.
        port: 0 takes a free one.
        webhook_ca: file of an authority that vouches for a receiver behind https.
        tell: told in a line of each request, webhook and stream; no secret is in it.

    Attributes:
        api_key: the one it accepts.
        base_url: of its REST interface, once it listens.
        calls: by call_control_id, ended ones too.
        commanded: every authorised request so far, in order.
        applications: by id, what is read of each; one is there from the beginning.
        faults: trouble to come.
        webhooks: the sender, with its record of deliveries.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        webhook_url: str | None = None,
        habits: Habits | None = None,
        webhook_faults: WebhookFaults | None = None,
        signing_key: SigningKey | None = None,
        rate_limit: RateLimit | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        webhook_ca: Path | None = None,
        tell: Tell = silent,
    ) -> None:
        self.tell = tell
        self.api_key: str = api_key or f"KEY{secrets.token_hex(16)}"
        self.webhook_url = webhook_url
        self.base_url: str = ""
        self.calls: dict[str, PhoneCall] = {}
        self.commanded: list[Commanded] = []
        self.applications: dict[str, Body] = {
            "1494404757140276705": _application("1494404757140276705")
        }
        self.faults: RestFaults = RestFaults()
        self.rate_limit: RateLimit = rate_limit or RateLimit()
        self.webhooks: WebhookSender = WebhookSender(
            signing_key or SigningKey.generate(),
            webhook_faults or WebhookFaults(),
            tls=trusting(webhook_ca),
            tell=tell,
        )
        self.app: Starlette = _app(self)
        self._habits = habits or Habits()
        self._address = host, port
        self._stack = AsyncExitStack()
        self._answers: dict[tuple[str | None, str], tuple[float, Body]] = {}
        # Incoming calls, with the time at which each ends if no command comes.
        self._uncommanded: dict[str, asyncio.TimerHandle] = {}

    @property
    def public_key(self) -> str:
        """The public key of its webhooks, in base64."""
        return self.webhooks.public_key

    async def __aenter__(self) -> Self:
        host, port = self._address
        self.base_url = await self._stack.enter_async_context(
            serving(self.app, host=host, port=port)
        )
        self.base_url += "/v2"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await asyncio.gather(*(call.aclose() for call in self.calls.values()))
        await self.webhooks.aclose()
        await self._stack.aclose()

    def report_to(self, webhook_url: str) -> None:
        """Send webhooks there from now on."""
        self.webhook_url = webhook_url

    def ring(self, from_: str = "+13122010094", to: str = "+13122123456") -> PhoneCall:
        """A call comes in: send ``call.initiated``; the call waits for its first command."""
        call = self._new_call("incoming", from_, to)
        call.begin()
        wait_s, loop = self._habits.first_command_s, asyncio.get_running_loop()
        self._uncommanded[call.call_control_id] = loop.call_later(
            wait_s, call.hang_up, "unknown", "timeout"
        )
        return call

    def carry_out(self, command: str, call_control_id: str | None, body: Any) -> Body:
        """Do what an authorised request asks, once per command_id; gives ``data``.

        Raises:
            RefusalError: it cannot be done.
        """
        body = check(command, body)
        _check_engines(command, body)
        now = time.monotonic()
        self._answers = {
            key: kept for key, kept in self._answers.items() if now - kept[0] < REMEMBER_COMMANDS_S
        }
        known = (call_control_id, body.get("command_id", ""))
        if known[1] and known in self._answers:
            return self._answers[known][1]
        data = self._dial(body) if call_control_id is None else self._act(command, known[0], body)
        self._answers[known] = now, data
        return data

    def notify(self, call: PhoneCall, event_type: str, payload: Body) -> None:
        """See ``Exchange``."""
        url = call.webhook_url or self.webhook_url
        if url is None:
            self.tell(f"webhook {event_type} is not sent: there is no webhook URL")
        else:
            self.webhooks.send(url, event_type, payload)

    def new_leg(self, of: PhoneCall, body: Body) -> PhoneCall:
        """See ``Exchange``."""
        leg = self._new_call("outgoing", body.get("from", of.to), body["to"])
        leg.call_session_id, leg.connection_id = of.call_session_id, of.connection_id
        leg.webhook_url = body.get("webhook_url", of.webhook_url)
        leg.client_state = body.get("target_leg_client_state")
        leg.begin({name: body[name] for name in ("timeout_secs",) if name in body})
        return leg

    def find(self, call_control_id: str) -> PhoneCall:
        """See ``Exchange``."""
        call = self.calls.get(call_control_id)
        if call is None:
            raise refuse.no_such_call()
        return call

    def _dial(self, body: Body) -> Body:
        to = body["to"] if isinstance(body["to"], str) else body["to"][0]
        call = self._new_call("outgoing", body["from"], to)
        call.connection_id = body["connection_id"]
        call.webhook_url = body.get("webhook_url")
        call.client_state = body.get("client_state")
        call.begin(body)
        return {
            "record_type": "call",
            "call_control_id": call.call_control_id,
            "call_leg_id": call.call_leg_id,
            "call_session_id": call.call_session_id,
            "is_alive": True,
        }

    def _act(self, command: str, call_control_id: str | None, body: Body) -> Body:
        self.find(call_control_id or "").command(command, body)
        first = self._uncommanded.pop(call_control_id or "", None)
        if first is not None:
            first.cancel()
        return {"result": "ok"}

    def _new_call(self, direction: Any, from_: str, to: str) -> PhoneCall:
        call = PhoneCall(self, self._habits, direction, from_, to)
        self.calls[call.call_control_id] = call
        return call


Body = dict[str, Any]


class _Cut(Response):
    """A part of an answer; then the connection ends."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _CUT_HEADERS})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})
        # The server closes the connection, because 99 octets are missing.


def _check_engines(command: str, body: Body) -> None:
    if command == "transcription_start":
        engines.check(body)
    elif "transcription_config" in body:
        engines.check(body["transcription_config"])


_CUT_HEADERS = [(b"content-length", b"100"), (b"content-type", b"application/json")]


def _app(fake: FakeTelnyx) -> Starlette:
    async def dial(request: Request) -> Response:
        return await _answer(fake, request, "dial", None)

    async def act(request: Request) -> Response:
        call_control_id = request.path_params["call_control_id"]
        return await _answer(fake, request, request.path_params["action"], call_control_id)

    async def applications(request: Request) -> Response:
        found = list(fake.applications.values())
        return _told(fake, request, None, _read(fake, request, found))

    async def application(request: Request) -> Response:
        found = fake.applications.get(request.path_params["id"])
        return _told(fake, request, None, _read(fake, request, found))

    async def ring(request: Request) -> Response:
        ends = await _json(request) if await request.body() else {}
        return _told(fake, request, ends, _rung(fake, ends))

    async def nothing(request: Request, _: Exception) -> Response:
        return _told(fake, request, None, _refusal(fake, refuse.no_such_resource()))

    return Starlette(
        routes=[
            Route("/v2/calls", dial, methods=["POST"]),
            Route("/v2/calls/{call_control_id:path}/actions/{action}", act, methods=["POST"]),
            Route("/v2/call_control_applications", applications, methods=["GET"]),
            Route("/v2/call_control_applications/{id}", application, methods=["GET"]),
            Route("/fake/ring", ring, methods=["POST"]),
        ],
        exception_handlers={404: nothing},
    )


def _application(identity: str) -> Body:
    """An application as the portal makes it; over the API its webhooks would be of version 1."""
    return {
        "record_type": "call_control_application",
        "id": identity,
        "application_name": "fake",
        "active": True,
        "webhook_event_url": "https://media.example.com/webhooks/telnyx",
        "webhook_event_failover_url": None,
        "webhook_api_version": "2",
        "webhook_timeout_secs": 25,
        "first_command_timeout": True,
        "first_command_timeout_secs": 30,
    }


def _has_key(fake: FakeTelnyx, request: Request) -> bool:
    wanted = f"Bearer {fake.api_key}".encode()
    return hmac.compare_digest(request.headers.get("authorization", "").encode(), wanted)


def _read(fake: FakeTelnyx, request: Request, data: Any) -> Response:
    """The answer to a question; None is nothing that there is."""
    if not _has_key(fake, request):
        return _refusal(fake, refuse.unauthorized())
    if data is None:
        return _refusal(fake, refuse.no_such_resource())
    return JSONResponse({"data": data}, headers=_headers(fake))


async def _answer(
    fake: FakeTelnyx, request: Request, command: str, call_control_id: str | None
) -> Response:
    """Everything around a command: key, rate limit, faults, record."""
    if not _has_key(fake, request):
        return _told(fake, request, None, _refusal(fake, refuse.unauthorized()))
    body = await _json(request)
    fault = fake.faults.take(command)
    response = await _with_fault(fake, fault, command, call_control_id, body)
    fake.commanded.append(Commanded(command, call_control_id, body, response.status_code))
    return _told(fake, request, body, response)


def _told(fake: FakeTelnyx, request: Request, body: Any, response: Response) -> Response:
    """The same response; what was asked and answered has been said."""
    cut = isinstance(response, _Cut)
    status, answer = response.status_code, bytes(response.body)
    said = request_line(request.method, request.url.path, body, status, answer)
    fake.tell(said + " (cut on demand)" * cut)
    return response


def _rung(fake: FakeTelnyx, ends: Any) -> Response:
    if not isinstance(ends, dict) or not set(ends) <= {"from", "to"}:
        return _refusal(fake, refuse.invalid("body", "an object with from and to, or empty"))
    for name, value in ends.items():
        if not isinstance(value, str):
            return _refusal(fake, refuse.invalid(name, "text"))
    call = fake.ring(**{"from_" if name == "from" else name: end for name, end in ends.items()})
    return JSONResponse({"data": {"call_control_id": call.call_control_id}})


async def _with_fault(
    fake: FakeTelnyx, fault: RestFault | None, command: str, call_control_id: str | None, body: Any
) -> Response:
    if not fake.rate_limit.take(time.monotonic()):
        return _refusal(fake, refuse.rate_limited())
    if fault is None:
        return _carried_out(fake, command, call_control_id, body)
    if fault.kind == "status":
        trouble = error_body(fault.code, "Trouble on demand", "As asked for.")
        return JSONResponse(trouble, fault.status, _headers(fake) | dict(fault.headers))
    if fault.kind == "cut":
        return _Cut()
    await asyncio.sleep(fault.delay_s)
    response = _carried_out(fake, command, call_control_id, body)
    return _Cut() if fault.kind == "cut_after" else response


def _carried_out(
    fake: FakeTelnyx, command: str, call_control_id: str | None, body: Any
) -> Response:
    try:
        if command not in RULES:
            raise refuse.no_such_resource()
        data = fake.carry_out(command, call_control_id, body)
    except RefusalError as refusal:
        return _refusal(fake, refusal)
    return JSONResponse({"data": data}, headers=_headers(fake))


def _refusal(fake: FakeTelnyx, refusal: RefusalError) -> Response:
    return JSONResponse(refusal.body, refusal.status, _headers(fake))


def _headers(fake: FakeTelnyx) -> dict[str, str]:
    return {"x-request-id": secrets.token_hex(8)} | fake.rate_limit.headers(time.monotonic())


async def _json(request: Request) -> Any:
    try:
        return json.loads(await request.body() or b"{}")
    except ValueError:
        return None
