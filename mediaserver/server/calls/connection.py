"""One media WebSocket as a Telnyx stream: its messages go to the call's session."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Protocol

from pybase64 import b64encode

from mediaserver.logs import LimitedLog, shown
from mediaserver.server.admission import Refused, Upgrade
from mediaserver.server.calls.session import Session
from mediaserver.server.calls.starting import Answer, Opened, StartLimits
from mediaserver.server.sockets.deadline import Deadline
from mediaserver.server.sockets.frames.framing import text_head
from mediaserver.server.sockets.frames.websocket import MAX_MESSAGE_BYTES
from mediaserver.server.sockets.media_socket import Socket
from mediaserver.settings import Settings
from mediaserver.wire.messages import (
    CLEAR,
    MEDIA_HEAD,
    MEDIA_TAIL,
    Connected,
    Dtmf,
    Error,
    Mark,
    Media,
    MediaBody,
    Message,
    Start,
    Stop,
    mark_text,
)
from mediaserver.wire.rates import Rates
from mediaserver.wire.stream import State, Stream, longest_text

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))


UNPROVEN_BYTES = 16 * 1024
"""The longest message from a peer that has proven nothing."""
BEFORE_START_BYTES = 64 * 1024
"""The longest message from a peer that is proven, until its ``start``."""
SILENT_S = 60.0
"""In a call, a peer that answers no pings is gone if nothing came for so long."""
_WENT_AWAY = (1000, 1001, 1005, 1006)
"""Close codes of a peer that goes without an error, with or without a close frame."""


class StreamHost(Protocol):
    """What a connection needs of the owner of all calls."""

    settings: Settings

    def must_refuse(self, token: str | None) -> bool:
        """Whether a stream that presented ``token`` must be refused."""

    def open_session(self, connection: MediaConnection, start: Start, now: float) -> Answer:
        """Decide what becomes of the call that starts."""

    def proven(self, connection: MediaConnection) -> None:
        """The connection has proven that it is no stranger's."""

    def connection_closed(self, connection: MediaConnection) -> None:
        """The socket is gone; called once."""

    def count(self, name: str) -> None:
        """One more of ``name``."""


class MediaConnection:
    """One WebSocket from its upgrade to its end: its messages go to the call's session.

    **`MediaSocket` calls it; `socket_closed` is the last call.** To a session it is its `Line`.

    Args:
        host: owns the calls.
        upgrade: what the request brought: path, query, token.
        now: monotonic seconds.
        limits: the peer's time until ``start``.
        violations: messages refused so far, by kind, of a stream whose ``start`` comes next;
            None: it begins here.

    Attributes:
        is_proven: it has presented a right token; where none is asked for, ``connected``.
    """

    __slots__ = (
        "_call_id",
        "_closed_here",
        "_host",
        "_limits",
        "_media_received",
        "_n_media",
        "_rates",
        "_send_text",
        "_start_timer",
        "_write",
        "is_proven",
        "path",
        "query",
        "session",
        "socket",
        "stream",
        "token",
    )

    def __init__(
        self,
        host: StreamHost,
        upgrade: Upgrade,
        now: float,
        *,
        limits: StartLimits,
        violations: Mapping[str, int] | None = None,
    ) -> None:
        self._host = host
        self.path: str = upgrade.path
        self.query: Mapping[str, str] = upgrade.query
        self.token = upgrade.token
        self.is_proven: bool = upgrade.is_proven
        self._limits = limits
        if violations is None:
            self.stream: Stream = Stream(
                now, start_within_s=limits.connected_s, refused=self._refused, odd=self._odd
            )
        else:
            self.stream = Stream.resumed(
                now,
                violations,
                start_within_s=limits.connected_s,
                refused=self._refused,
                odd=self._odd,
            )
        self.session: Session | None = None
        self.socket: Socket | None = None
        self._media_received: Callable[[MediaBody, float], None] = _nobody
        self._send_text: Callable[[bytes], object] = _nowhere
        self._write: Callable[[bytes], object] = _nowhere
        self._start_timer: Deadline | None = None
        self._closed_here = False
        self._rates = Rates()
        self._n_media = 0
        self._call_id = ""  # of the call that starts, for logs

    def opened(self, socket: Socket) -> None:
        """The handshake is done; the peer has until ``stream.start_by`` for its start."""
        self.socket = socket
        self._send_text = socket.send_text
        self._write = socket.write
        socket.limit_messages(BEFORE_START_BYTES if self.is_proven else UNPROVEN_BYTES)
        self._await_start()

    def text_received(self, data: bytes, now: float) -> None:
        """From the socket: one message."""
        message = self.stream.receive(data)
        if type(message) is Media:
            media_received = self._media_received  # hot path: bound once, see docs/architecture.md
            media_received(message.media, now)
        elif message is not None:
            self._control_received(message, now)

    def long_text_received(self, data: bytes, now: float) -> None:
        """From the socket: one message longer than usual; only media at high rates may be."""
        if len(data) > longest_text(self._host.settings.max_payload_s):
            self.stream.refuse("too_long")
        else:
            self.text_received(data, now)

    def binary_received(self, now: float) -> None:
        """From the socket: Telnyx sends no binary messages; it is counted, and the call goes on."""
        self.stream.refuse("binary")

    def flooded_behind_close(self) -> None:
        """From the socket: its peer goes on sending behind our close frame."""
        self.stream.refuse("too_many_behind_close")
        self._log("floods", "too many messages behind its close", "it is read no more")

    @property
    def may_be_silent_s(self) -> float | None:
        """For the socket: longer until the first media, because the call may ring."""
        if self.session is None:
            return None  # the limit is ``stream.start_by``
        if self.session.inbound.had_media:
            return SILENT_S
        return max(SILENT_S, self._limits.start_s)

    def pings_unanswered(self) -> None:
        """From the socket: its peer answers no pings."""
        self._host.count("no_pong")

    def closing(self) -> None:
        """From the socket: no message can be sent any more."""
        self._send_text = self._write = _nowhere

    def writing_blocked(self, blocked: bool) -> None:
        """From the socket: the peer reads too slowly, or again."""
        if self.session is not None and self.session.line is self:
            self.session.writing_blocked(blocked)

    def socket_closed(self, code: int, reason: str) -> None:
        """From the socket: it is gone."""
        is_ringing = self.stream.state is State.CONNECTED and not self._closed_here
        self.stream.close()
        self._stop_start_timer()
        if is_ringing and code in _WENT_AWAY:
            self._host.count("unanswered")
            text = "a call that rang was not answered: its socket closed before `start`"
            limited.info("calls not answered", text)
        elif code not in (1000, 1001):
            self._host.count(f"closed.{code}")
            if code not in _WENT_AWAY and not self._closed_here:
                self._log("sockets closed", f"its socket was closed with {code}", shown(reason))
        if self.stream.violations:
            refused = str(dict(self.stream.violations))
            self._log("streams with refused messages", "refused messages", refused)
        self._host.connection_closed(self)
        self._media_received = _nobody
        self.stream.tell_nobody()

    def send_media(self, payload: bytes) -> None:
        """Playout's sink: one payload into the call."""
        base64 = b64encode(payload)
        head = _MEDIA_HEADS.get(len(base64)) or _media_head(len(base64))
        write = self._write  # hot path: bound once, see docs/architecture.md
        write(head + base64 + MEDIA_TAIL)

    def send_text(self, data: bytes) -> None:
        """A message of a processor's own."""
        self._send_text(data)

    def send_mark(self, name: str) -> None:
        """Playout's sink: ask for a mark."""
        self._send_text(mark_text(name))

    def send_clear(self) -> None:
        """Playout's sink: stop what plays."""
        self._send_text(CLEAR)

    def close(self, code: int, reason: str = "") -> None:
        """Close the socket."""
        self._closed_here = True
        if self.socket is not None:
            self.socket.close(code, reason)

    def abort(self) -> None:
        """End the connection without a close frame."""
        if self.socket is not None:
            self.socket.abort()

    def _control_received(self, message: Message, now: float) -> None:
        if isinstance(message, Connected):
            self.token = self.token or message.auth_token
            if self._host.must_refuse(self.token):
                self._host.count("refused_token")
                self.refused(1008, "auth token missing or wrong")
            elif self.token is not None or not self._limits.needs_token:
                self._prove(BEFORE_START_BYTES)
                self.stream.start_within(now, self._limits.start_s)
                self._await_start()
        elif isinstance(message, Start):
            self._stop_start_timer()
            self._call_id = message.start.call_control_id or message.stream_id or ""
            self.answered(self._host.open_session(self, message, now))
        elif self.session is not None:
            self._session_received(self.session, message, now)

    def _session_received(self, session: Session, message: Message, now: float) -> None:
        allow = self._rates.allow
        if isinstance(message, Mark):
            if allow("mark", now):
                session.outbound.mark_returned(message.mark.name, now)
            else:
                self.refuse("too_many_marks")
        elif isinstance(message, Dtmf):
            if allow("dtmf", now):
                session.dtmf.received(message, now)
            else:
                self.refuse("too_many_dtmf")
        elif isinstance(message, Error):
            if allow("error", now):
                session.error_received(message.body)
            else:
                self.refuse("too_many_errors")
        elif isinstance(message, Stop):
            session.end("stop")

    def answered(self, answer: Answer) -> None:
        """Act on the decision: the call is here, is refused, or another process takes it."""
        if isinstance(answer, Refused):
            self.refused(answer.code, answer.reason)
            return
        self._prove(MAX_MESSAGE_BYTES)
        if isinstance(answer, Opened):
            self.session = answer.session
            self._rates = self.session.rates  # another socket gets no new ones
            self._media_received = self.session.inbound.receive

    def refused(self, code: int, reason: str) -> None:
        """Close a socket whose call is refused; log the call and the peer."""
        peer = "an unknown address" if self.socket is None else self.socket.peer
        call_id = self._call_id or None
        call = f"call {shown(call_id)}" if call_id else "a call"
        kind, text = f"calls refused with {code}", "%s from %s refused: %s"
        limited.warning(kind, text, call, peer, shown(reason, 300), call=call_id)
        self.close(code, reason)

    def _prove(self, max_message_bytes: int) -> None:
        """It is no stranger's: allow longer messages, and tell the host."""
        if self.socket is not None:
            self.socket.limit_messages(max_message_bytes)
        if not self.is_proven:
            self.is_proven = True
            self._host.proven(self)

    @property
    def n_refused(self) -> int:
        """Messages that were refused."""
        return self.stream.violations.total()

    def refuse(self, kind: str) -> None:
        """Count a message whose content cannot be used."""
        self.stream.refuse(kind)

    def look(self, n_media: int, now: float) -> None:
        """Called once a second with the number of media messages so far; too many end it."""
        n_new, self._n_media = n_media - self._n_media, n_media
        if n_new and not self._rates.allow("media", now, n_new):
            self.refuse("too_many_media")
            self._flooded()

    def _refused(self, kind: str) -> None:
        self._host.count(f"refused.{kind}")
        if not self._rates.allow("refused", monotonic()):
            self._flooded()

    def _flooded(self) -> None:
        """The peer sends too much and takes time from other calls: close its socket."""
        if self.socket is not None and not self._closed_here:
            self._closed_here = True
            self._log("floods", "too many messages", "its socket is closed")
            self.socket.fail(1008, "too many messages")

    def _odd(self, name: str) -> None:
        self._host.count("odd_field")
        if self.stream.odd_fields[name] == 1:
            limited.warning(
                "fields of a wrong type",
                "%s: the field %s is of a wrong type: read as text, or left out",
                self._whose,
                name,
                call=self._call_id or None,
            )

    def _log(self, kind: str, what: str, why: str) -> None:
        limited.warning(kind, "%s: %s: %s", self._whose, what, why, call=self._call_id or None)

    @property
    def _whose(self) -> str:
        """What a line of the log is about."""
        stream = f"stream {shown(self.stream.stream_id)}"
        return f"call {shown(self._call_id)}, {stream}" if self._call_id else stream

    def _await_start(self) -> None:
        """Close the socket when the time until ``connected``, or until ``start``, is over."""
        self._stop_start_timer()
        if self.stream.start_by is not None:
            delay_s = self.stream.start_by - monotonic()
            self._start_timer = Deadline(delay_s, self._start_missing)

    def _start_missing(self) -> None:
        self._host.count("start_missing")
        missing = "connected" if self.stream.state is State.OPENED else "start"
        if missing == "start" and not self._limits.needs_token:
            self._host.count("cut_ringing")
        self.refused(1002, f"no {missing} message came")

    def _stop_start_timer(self) -> None:
        if self._start_timer is not None:
            self._start_timer.cancel()
            self._start_timer = None


def _nobody(body: MediaBody, now: float) -> None:
    """Receives media while there is no session, as after a refusal."""


def _nowhere(_: bytes) -> None:
    """Receives messages while there is no socket."""


def _media_head(n_base64: int) -> bytes:
    """A media frame up to its payload: head of the WebSocket frame, head of the message."""
    return text_head(len(MEDIA_HEAD) + n_base64 + len(MEDIA_TAIL)) + MEDIA_HEAD


# hot path: payloads have a few lengths, so the heads of the short ones are made once.
_MEDIA_HEADS = {n: _media_head(n) for n in range(0, 2048, 4)}
