"""Messages between a process that carries calls, its spawner, and the processor hosts.

Audio is sent in packets of its own kinds (``FRAME``, ``LIVE``, ``PLAY``, ``FEED``). Everything else
is a tagged struct in MessagePack, in a packet of kind ``MESSAGE``. All three are of one program and
one version: the process that carries calls starts its spawner and checks the version in ``Hello``;
hosts are forked from that spawner.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from mediaserver.media.frames import Track
from mediaserver.observer import CallSummary, StreamRequest
from mediaserver.processes.messages import Failed, Heartbeat, Hello, Ready, Shutdown
from mediaserver.processors.api import Event, Interrupted, PlayReason, PlayState, Webhook
from mediaserver.server.calls.audio.formats import Formats
from mediaserver.server.calls.watching.load import RunnerLoad

__all__ = ["Failed", "Heartbeat", "Hello", "Ready", "Shutdown"]

VERSION = 3

MESSAGE, FRAME, LIVE, PLAY, FEED = range(5)
"""Kinds of packets."""

FRAME_HEAD = struct.Struct("<qddIBB2x")  # index, start, lag, rate, track, lost; then samples
LIVE_HEAD = struct.Struct("<I4x")  # rate or 0; then samples
PLAY_HEAD = struct.Struct("<IIB7x")  # play, rate or 0, flags; then samples
FEED_HEAD = struct.Struct("<I4x")  # play; then samples

TRACKS: tuple[Track, ...] = ("inbound", "outbound")
PLAY_LIVE, PLAY_RESUME, PLAY_WAITS, PLAY_GOES_ON = 1, 2, 4, 8
"""Flags of a play: live; to be resumed; its player waits for room; more samples follow."""


# Between a carrier and its spawner.


class SpawnHost(msgspec.Struct, frozen=True, tag=True):
    """To the spawner, with the host's end of its link: start a host."""

    host: int


class KillHost(msgspec.Struct, frozen=True, tag=True):
    """To the spawner: kill a host; if it ``hangs``, first have it log the line it hangs in."""

    host: int
    hangs: bool = False


class HostStarted(msgspec.Struct, frozen=True, tag=True):
    """From the spawner: a host runs."""

    host: int
    pid: int
    shared_bytes: int = 0  # resident from the start, shared with the spawner


class HostExited(msgspec.Struct, frozen=True, tag=True):
    """From the spawner: a host has ended; ``code`` is negative where a signal ended it."""

    host: int
    code: int


ToSpawner = SpawnHost | KillHost | Shutdown
FromSpawner = HostStarted | HostExited


# To a host.


class Facts(msgspec.Struct, frozen=True):
    """What is known of a call; without the token."""

    call_id: str
    start: bytes  # JSON: MessagePack has no numbers beyond 64 bits
    formats: Formats
    request: StreamRequest
    query: Mapping[str, str]
    path: str
    started_at: float
    takeovers: int


class OpenCall(msgspec.Struct, frozen=True, tag=True):
    """Run a chain for a call: the processors by their number in the settings."""

    facts: Facts
    chain: tuple[int, ...]
    outside: Mapping[str, str]
    stats: CallSummary


class RenewCall(msgspec.Struct, frozen=True, tag=True):
    """Another socket took the call over."""

    facts: Facts


class Publish(msgspec.Struct, frozen=True, tag=True):
    """An event of the call: its class and its fields as JSON."""

    kind: str
    body: bytes


class Status(msgspec.Struct, frozen=True, tag=True):
    """What has changed without an event; once a second."""

    stats: CallSummary
    l16_byte_order: Literal["little", "big"] | None = None


class EndCall(msgspec.Struct, frozen=True, tag=True):
    """The call's media is over."""

    reason: str
    stats: CallSummary


class CloseCall(msgspec.Struct, frozen=True, tag=True):
    """Cancel what is left of its chain; ``CallDone`` answers."""


class PlayNews(msgspec.Struct, frozen=True, tag=True):
    """The state of a play or mark."""

    play: int
    state: PlayState
    reason: PlayReason | None = None
    heard: float = 0.0


class Pull(msgspec.Struct, frozen=True, tag=True):
    """The next chunk of a play's source is wanted."""

    play: int


class StopSource(msgspec.Struct, frozen=True, tag=True):
    """Nobody wants more of a play's source."""

    play: int


class Reply(msgspec.Struct, frozen=True, tag=True):
    """What became of a ``Request``: a result, or an error.

    Attributes:
        request: its number.
        result: the result; that of ``perform`` is encoded by ``control.encoding``.
        error: an error of the control client, encoded in the same way.
        problem: why this server does not carry out the request.
    """

    request: int
    result: Any = None
    error: bytes | None = None
    problem: str | None = None


ToHost = (
    OpenCall | RenewCall | Publish | Status | EndCall | CloseCall
    | PlayNews | Pull | StopSource | Reply
)  # fmt: skip


# From a host.


class HostBeat(msgspec.Struct, frozen=True, tag=True):
    """Regularly: its loop runs, and it has dealt with so many frames."""

    n_frames: int


class HandlersDone(msgspec.Struct, frozen=True, tag=True):
    """All handlers of a call have returned."""


class CallDone(msgspec.Struct, frozen=True, tag=True):
    """Nothing of a call is left in the host, but for ``abandoned`` handlers."""

    abandoned: int = 0


class CallRefused(msgspec.Struct, frozen=True, tag=True):
    """A call's chain cannot be made: a parameter has a wrong value."""

    problem: str


class Load(msgspec.Struct, frozen=True, tag=True):
    """How a call's processors keep up."""

    load: RunnerLoad


class Counted(msgspec.Struct, frozen=True, tag=True):
    """One more of ``name``."""

    name: str


class HeldUp(msgspec.Struct, frozen=True, tag=True):
    """A processor has held up the host for so long; see ``RunningCall.held_up``."""

    by_call_id: str
    who: str
    seconds: float


class WantEnd(msgspec.Struct, frozen=True, tag=True):
    """End the call's media."""

    reason: str


class WantHangUp(msgspec.Struct, frozen=True, tag=True):
    """End the phone call; nobody waits for it."""

    after_playout: bool
    reason: str


class StartSource(msgspec.Struct, frozen=True, tag=True):
    """Start a play whose samples are pulled chunk by chunk; those of a ``clip``, all at once."""

    play: int
    rate: int
    live: bool = False
    ahead_s: float | None = None
    clip: bool = False


class SourceEnded(msgspec.Struct, frozen=True, tag=True):
    """A play's source has ended; if it failed, ``failed`` says why."""

    play: int
    failed: str | None = None


class CancelPlay(msgspec.Struct, frozen=True, tag=True):
    """Send no more of a play."""

    play: int


class PlaceMark(msgspec.Struct, frozen=True, tag=True):
    """A mark behind everything queued so far."""

    play: int
    name: str


class Request(msgspec.Struct, frozen=True, tag=True):
    """Do something that a ``Reply`` of the same number answers."""

    request: int
    what: Literal["clear", "hangup", "hangup_after_playout", "room", "send_text", "perform"]
    data: bytes = b""
    method: str = ""


class Abandon(msgspec.Struct, frozen=True, tag=True):
    """Nobody waits for a ``Request`` any more."""

    request: int


FromHost = (
    HostBeat | Publish | HandlersDone | CallDone | CallRefused | Load | Counted | HeldUp | WantEnd
    | WantHangUp | StartSource | SourceEnded | CancelPlay | PlaceMark | Request | Abandon
)  # fmt: skip


_EVENTS: dict[str, type[Any]] = {kind.__name__: kind for kind in Event.__args__}


def event_message(event: Event) -> Publish:
    """An event as a message.

    Raises:
        ValueError, TypeError, RecursionError: a webhook's event that cannot be encoded.
    """
    if isinstance(event, Webhook):
        body = msgspec.json.encode((event.event.event_type, msgspec.Raw(_json(event.event))))
    elif type(event).__name__ not in _EVENTS:
        raise TypeError(f"{type(event).__name__} is known in its own process only")
    elif isinstance(event, Interrupted):  # the plays are known there by what they tell of their end
        heard = tuple((None, seconds) for _, seconds in event.heard)
        body = _json(msgspec.structs.replace(event, heard=heard))
    else:
        body = _json(event)
    return Publish(type(event).__name__, body)


def event_of(message: Publish, decode_webhook: Any) -> Event:
    """The event of a message; ``decode_webhook(type, JSON)`` reads what Telnyx reported."""
    kind = _EVENTS[message.kind]
    if kind is Webhook:
        event_type, body = msgspec.json.decode(message.body, type=tuple[str, msgspec.Raw])
        return Webhook(decode_webhook(event_type, bytes(body)))
    event: Event = msgspec.json.decode(message.body, type=kind)
    return event


def _json(value: object) -> bytes:
    return msgspec.json.encode(value)
