"""The states of one stream, as a table.

Rules:
- ``connected`` comes first, ``start`` second, once; then ``media``, ``mark``,
  ``dtmf`` and ``error`` in any order; ``stop`` ends it; so does the socket.
- A message that may not come in the present state is counted under its kind and dropped. It
  does not end the call.
- ``start`` without ``connected`` is counted, and taken.
- ``error`` may come at any time after ``connected``.
- A message with another stream's id is counted and dropped. Ids are compared without regard
  to case. A message without an id belongs to this stream.
- Only media may be longer than ``MAX_OTHER_BYTES``.
- A value of a wrong type is left out and counted. The message is refused only if it needs that
  value.
- The peer has ``start_within_s`` from the upgrade until ``connected``. Then the owner of the
  stream sets a longer time until ``start``, because the call may ring.
- If the socket closes between ``connected`` and ``start``, nobody answered the call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from enum import Enum

from mediaserver.wire.messages import (
    REFUSALS,
    Connected,
    Dtmf,
    Error,
    Mark,
    Media,
    Message,
    Start,
    Stop,
    decode,
    decode_media,
    kind_of,
    mend,
)


class State(Enum):
    """Where one stream stands."""

    OPENED = "opened"
    CONNECTED = "connected"
    STREAMING = "streaming"
    STOPPED = "stopped"
    CLOSED = "closed"


# (state, message) → next state. Any other pair is out of place.
_NEXT: dict[tuple[State, type], State] = {
    (State.OPENED, Connected): State.CONNECTED,
    (State.OPENED, Start): State.STREAMING,
    (State.CONNECTED, Start): State.STREAMING,
    (State.CONNECTED, Error): State.CONNECTED,
    (State.CONNECTED, Stop): State.STOPPED,
    (State.STREAMING, Media): State.STREAMING,
    (State.STREAMING, Mark): State.STREAMING,
    (State.STREAMING, Dtmf): State.STREAMING,
    (State.STREAMING, Error): State.STREAMING,
    (State.STREAMING, Stop): State.STOPPED,
    (State.STOPPED, Mark): State.STOPPED,
}

# How an out-of-place message is counted.
_MISPLACED: dict[State, str] = {
    State.OPENED: "before_connected",
    State.CONNECTED: "before_start",
    State.STREAMING: "repeated",
    State.STOPPED: "after_stop",
    State.CLOSED: "after_close",
}


MAX_OTHER_BYTES = 32 * 1024
"""At most so many octets in any message but media: nested JSON takes time by its length."""

_NO_ID = object()


def longest_text(max_payload_s: float) -> int:
    """At most so many octets in a media message: L16 at 48 kHz in base64, and the JSON around."""
    return 4096 + int(max_payload_s * 48_000 * 2 * 4 / 3)


class Stream:
    """One connection's messages, checked for shape and order.

    **Call `receive` for each message; look at `start_by` until ``start`` has come; call `close`
    when the socket is gone.**

    Attributes:
        state: where the stream stands.
        stream_id: Telnyx's id of it, once ``start`` came.
        violations: how many messages were refused, by kind.
        odd_fields: how many values were of a wrong type and left out, by field.
        start_by: monotonic seconds by which ``connected`` must have come, and after that
            ``start``; None when it has.
    """

    __slots__ = (
        "_live_id",
        "_odd",
        "_refused",
        "odd_fields",
        "start_by",
        "state",
        "stream_id",
        "violations",
    )

    def __init__(
        self,
        now: float,
        *,
        start_within_s: float = 30.0,
        refused: Callable[[str], None] | None = None,
        odd: Callable[[str], None] | None = None,
    ) -> None:
        """Begin at the upgrade.

        ``refused`` is called with the kind of each refused message, ``odd`` with the name of each
        field that was left out.
        """
        self.state: State = State.OPENED
        self.stream_id: str | None = None
        self.violations: Counter[str] = Counter()
        self.start_by: float | None = now + start_within_s
        self.odd_fields: Counter[str] = Counter()
        self._refused = refused
        self._odd = odd
        # The stream's id while media may come; else an object that equals no id.
        self._live_id: object = _NO_ID

    @classmethod
    def resumed(
        cls,
        now: float,
        violations: Mapping[str, int],
        *,
        start_within_s: float = 30.0,
        refused: Callable[[str], None] | None = None,
        odd: Callable[[str], None] | None = None,
    ) -> Stream:
        """A stream whose ``start`` comes next; another process has read what came before.

        It takes over the ``violations`` counted there; ``refused`` is not called for them again.
        """
        stream = cls(now, start_within_s=start_within_s, refused=refused, odd=odd)
        stream.state = State.CONNECTED  # it came, or was counted as missing
        stream.violations.update(violations)
        return stream

    def receive(self, data: bytes) -> Message | None:
        """The typed message in ``data``, or None if it was refused and counted."""
        is_long = len(data) > MAX_OTHER_BYTES
        try:
            message: Message = decode_media(data) if is_long else decode(data)
        except REFUSALS:
            if is_long:
                self.refuse("too_long")
                return None
            return self._receive_odd(data)
        if type(message) is Media and message.stream_id == self._live_id:
            return message
        return self._step(message)

    def _receive_odd(self, data: bytes) -> Message | None:
        """The message without its values of a wrong type; None if it cannot be used."""
        mended = mend(data)
        if mended is None:
            self.refuse(kind_of(data))
            return None
        message, fields = mended
        passed_on = self._step(message)  # first: ``start`` sets the id that is logged
        for name in fields:
            self.odd_fields[name] += 1
            if self._odd is not None:
                self._odd(name)
        return passed_on

    def refuse(self, kind: str) -> None:
        """Count one more refusal of this kind."""
        self.violations[kind] += 1
        if self._refused is not None:
            self._refused(kind)

    def start_within(self, now: float, within_s: float) -> None:
        """Set the time until ``start``, counted from now, unless it has come."""
        if self.start_by is not None:
            self.start_by = now + within_s

    def close(self) -> None:
        """The socket is gone."""
        self._move(State.CLOSED)
        self.start_by = None

    def tell_nobody(self) -> None:
        """Keep nobody who was told of refusals."""
        self._refused = self._odd = None

    def _step(self, message: Message) -> Message | None:
        following = _NEXT.get((self.state, type(message)))
        if following is None:
            self.refuse(f"{type(message).__name__.lower()}_{_MISPLACED[self.state]}")
            return None
        if not self._is_ours(message):
            self.refuse("wrong_stream_id")
            return None
        if isinstance(message, Start):
            self._note_start(message)
        self._move(following)
        return message

    def _move(self, state: State) -> None:
        self.state = state
        self._live_id = self.stream_id if state is State.STREAMING else _NO_ID

    def _is_ours(self, message: Message) -> bool:
        if self.stream_id is None or isinstance(message, Connected):
            return True
        return message.stream_id is None or message.stream_id.lower() == self.stream_id.lower()

    def _note_start(self, message: Start) -> None:
        if self.state is State.OPENED:
            self.refuse("start_before_connected")
        self.stream_id = message.stream_id
        self.start_by = None
