"""Who may come in: judged at the upgrade, and again when the call is known.

What is counted are calls, not sockets. A call in its reconnect grace keeps its place, and a
further socket of a live call needs none. At the upgrade it is not known yet whose socket it
is, so where no new call can come in:

    token                                       upgrade
    of a live call                              goes on
    made for one call, which has not come yet   503
    the shared one, or none                     goes on while a live call might be meant:
                                                one that has lost its socket, or is quiet

What goes on is judged at its ``start``: a call that is not live is refused then.
"""

from __future__ import annotations

import http
import time
import uuid
from collections.abc import Mapping
from typing import NamedTuple, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from websockets.http11 import Request

from mediaserver.conversion import did_you_mean
from mediaserver.settings import Settings
from mediaserver.steady import SteadyClock
from mediaserver.tokens import Admission, TokenGate
from mediaserver.wire.messages import TOKEN_KEY, TOKEN_PARAMETER, Start

MEDIA_PATH = "/media"


class Upgrade(NamedTuple):
    """An upgrade request that may go on.

    Attributes:
        path: without the token.
        query: without the token.
        token: what it presented, in its header, path or query.
        is_proven: the token is right.
    """

    path: str
    query: Mapping[str, str]
    token: str | None
    is_proven: bool


class Admitted(NamedTuple):
    """A call that may come in: its id, and by what right."""

    call_id: str
    admission: Admission


class Elsewhere(NamedTuple):
    """A call that an older generation of the server has."""

    call_id: str


class Refused(NamedTuple):
    """A stream that may not: its socket is closed with this."""

    code: int
    reason: str


class OlderCalls(Protocol):
    """The calls of generations of the server before this one."""

    def __len__(self) -> int:
        """How many they are."""

    def has_call(self, call_id: str) -> bool:
        """Whether the call is one of them."""

    def accepts(self, token: str) -> bool:
        """Whether one of these calls may have this token."""


class NoOlderCalls:
    """What a server has whose calls are all its own."""

    def __len__(self) -> int:
        return 0

    def has_call(self, call_id: str) -> bool:
        """See ``OlderCalls``."""
        return False

    def accepts(self, token: str) -> bool:
        """See ``OlderCalls``."""
        return False


class AdmissionHost(Protocol):
    """What is to be known of the calls."""

    @property
    def draining(self) -> bool:
        """No new calls are taken."""

    @property
    def is_able(self) -> bool:
        """There is a process that can take a call."""

    @property
    def overload(self) -> str:
        """Why new calls must wait; empty: they need not."""

    @property
    def n_placed(self) -> int:
        """Calls that have a place, with or without a socket at the moment."""

    @property
    def n_unstarted(self) -> int:
        """Proven connections whose ``start`` has not come."""

    @property
    def n_quiet(self) -> int:
        """Calls whose socket is gone, or has brought no media for a while."""

    def has_call(self, call_id: str) -> bool:
        """Whether the call has a place."""

    def count(self, name: str) -> None:
        """One more of ``name``."""


def id_of(start: Start) -> str | None:
    """What the call of a ``start`` is known by; None where it does not say."""
    return start.start.call_control_id or start.stream_id


class AdmissionControl:
    """Decides which connections and which calls come in.

    Args:
        settings: see ``Settings``.
        host: who has the calls.
        elsewhere: calls that go on in older generations; they count like the others.

    Attributes:
        gate: what is known of tokens.
    """

    def __init__(
        self, settings: Settings, host: AdmissionHost, elsewhere: OlderCalls | None = None
    ) -> None:
        self._settings = settings
        self._host = host
        self._elsewhere = NoOlderCalls() if elsewhere is None else elsewhere
        self._prefix = settings.path_prefix
        self._allowed_origins = {each.lower().rstrip("/") for each in settings.allowed_origins}
        self._now = SteadyClock()
        self._names = settings.path_names
        self.gate: TokenGate = TokenGate(settings.auth_token, grace_s=settings.reconnect_grace_s)

    def judge_upgrade(self, request: Request) -> Upgrade | tuple[http.HTTPStatus, str]:
        """What this upgrade request brought, or status and text of its refusal."""
        if not self._is_origin_allowed(request.headers.get_all("Origin")):
            self._host.count("refused_origin")
            return http.HTTPStatus.FORBIDDEN, "This origin is not in `allowed_origins`.\n"
        try:
            url = urlsplit(request.path)
        except ValueError:  # a bracket that nothing closes
            return http.HTTPStatus.BAD_REQUEST, "The path is not that of a URL.\n"
        path, _, last = url.path.removeprefix(self._prefix).partition(MEDIA_PATH)
        if path or (last and not last.startswith("/")):
            return http.HTTPStatus.NOT_FOUND, "Media streams connect to /media.\n"
        query = dict(parse_qsl(url.query))
        # Where no token is asked for, a parameter of that name is the user's own.
        in_query = query.pop(TOKEN_PARAMETER, None) if self._settings.auth_token else None
        in_head = request.headers.get_all(TOKEN_KEY)
        if len(in_head) > 1:
            return http.HTTPStatus.BAD_REQUEST, "There is more than one auth token.\n"
        name, rest = self._split(last)
        beside = "".join(in_head) or in_query
        if rest and not self._is_token(rest, beside):
            self._host.count("refused_path")
            return http.HTTPStatus.NOT_FOUND, self._no_route(rest)
        token = "".join(in_head) or rest or in_query or None
        refusal = self._no_room(token)
        if refusal is not None:
            return http.HTTPStatus.SERVICE_UNAVAILABLE, refusal
        if self.must_refuse(token):
            self._host.count("refused_token")
            return http.HTTPStatus.UNAUTHORIZED, self._wrong_token(in_path=token == rest)
        is_proven = token is not None and self._settings.auth_token is not None
        path = f"{MEDIA_PATH}/{name}" if name else MEDIA_PATH
        return Upgrade(path, query, token, is_proven)

    def _is_origin_allowed(self, origins: list[str]) -> bool:
        """Whether whoever wrote the page that connects may; a peer that is no browser has none."""
        if not origins:
            return True
        return len(origins) == 1 and origins[0].lower() in self._allowed_origins

    def _split(self, last: str) -> tuple[str, str]:
        """What is behind ``/media``: the name of a route, or nothing; and the rest."""
        first, _, rest = last.strip("/").partition("/")
        if unquote(first) in self._names:
            return unquote(first), unquote(rest)
        return "", unquote(last.strip("/"))

    def _is_token(self, rest: str, beside: str | None) -> bool:
        """Whether the end of a path is meant as a token; else it is the name of a route."""
        if self._settings.auth_token is None:
            return False
        return not beside or self._looks_valid(rest)

    def _no_route(self, name: str) -> str:
        # The name itself is not told: it may be a token that was meant for another server.
        also = "" if self._settings.auth_token else ", and no auth_token is set"
        guess = did_you_mean(name, self._names)
        return f"no route has the name that is behind /media{also}{guess}\n"

    def _wrong_token(self, *, in_path: bool) -> str:
        if in_path and self._names:
            return "Wrong auth token: what is behind /media/ is no route's name either.\n"
        return "Wrong auth token.\n"

    def must_refuse(self, token: str | None) -> bool:
        """Whether a stream that presented ``token`` must be refused before its ``start``.

        Without one it may go on: ``start`` may bring it as a custom parameter. One that an older
        generation knows is judged there.
        """
        if token is None or self._looks_valid(token):
            return False
        return not self._elsewhere.accepts(token)

    def judge_start(self, token: str | None, start: Start) -> Admitted | Elsewhere | Refused:
        """Whether the call that starts may come in, or goes to an older generation."""
        call_id = id_of(start) or str(uuid.uuid4())
        token = token or start.start.parameters.get(TOKEN_PARAMETER)
        if self._elsewhere.has_call(call_id):
            # It is judged there; here its token is bound to it.
            self.gate.admit(token, call_id, self._now(), time.time())
            return Elsewhere(call_id)
        # Room first: who finds none has not claimed a token, which is good the next time.
        if not self._host.has_call(call_id) and self._looks_valid(token):
            refused = self._no_new_call()
            if refused is not None:
                return refused
        admission = self.gate.admit(token, call_id, self._now(), time.time())
        self._host.count(f"tokens.{admission.name.lower()}")
        if admission.admitted:
            return Admitted(call_id, admission)
        self._host.count("refused_token")
        return Refused(1008, admission.value)

    def call_over(self, call_id: str) -> None:
        """The call has ended: its tokens have their grace, and then are refused."""
        self.gate.call_ended(call_id, self._now())

    def _looks_valid(self, token: str | None) -> bool:
        return self.gate.looks_valid(token, self._now(), time.time())

    def _no_new_call(self) -> Refused | None:
        """Why no new call can come in now; counted."""
        if self._host.draining:
            return Refused(1001, "the server takes no new calls")
        if self._is_full:
            self._host.count("refused_full")
            return Refused(1013, "the server is full")
        if self._host.overload:
            self._host.count("refused_overload")
            return Refused(1013, "the server has too much to do")
        return None

    def _no_room(self, token: str | None) -> str | None:
        """Why a connection with this token cannot be of use now."""
        host = self._host
        full = self._is_full
        if (full or host.draining or host.overload) and not self._may_be_live(token):
            if host.draining:
                return "This server takes no new calls.\n"
            host.count("refused_full" if full else "refused_overload")
            return "This server is full.\n" if full else "This server has too much to do.\n"
        if self._too_many_wait() and not self._is_of_live_call(token):
            host.count("refused_full")
            return "Too many connections wait for their start.\n"
        if not host.is_able:
            host.count("refused_no_worker")
            return "No worker is ready.\n"
        return None

    @property
    def _is_full(self) -> bool:
        return self._host.n_placed + len(self._elsewhere) >= self._settings.max_calls

    @property
    def _n_may_come_back(self) -> int:
        """Calls of which a further socket may come; of older generations it may be any."""
        return self._host.n_quiet + len(self._elsewhere)

    def _too_many_wait(self) -> bool:
        """As many proven connections as there may be calls have brought no ``start``.

        Beside them each call that may come back has room for its next socket.
        """
        host, max_calls = self._host, self._settings.max_calls
        return (
            host.n_unstarted >= max_calls and host.n_unstarted >= max_calls + self._n_may_come_back
        )

    def _may_be_live(self, token: str | None) -> bool:
        """Whether a connection with this token may be a further one of a live call."""
        if self.gate.owner(token) is not None:
            return self._is_of_live_call(token)
        return self._n_may_come_back > 0 and not self.gate.is_per_call(token)

    def _is_of_live_call(self, token: str | None) -> bool:
        """Whether a token belongs to a live call alone."""
        owner = self.gate.owner(token)
        if owner is None:
            return False
        return self._host.has_call(owner) or self._elsewhere.has_call(owner)
