"""The limits that the server sets to others, with their reasons; the numbers are the code's.

``docs/security.md`` has them as a table, made by ``make docs``. A row names a setting, a
constant (``module.NAME``), or a default (``module.Class(argument)``).
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from mediaserver.settings import Settings


class Limit(NamedTuple):
    """One row.

    Attributes:
        what: is bounded.
        where: the number is; a setting's name, or where in the code.
        then: what happens beyond it.
        why: the number is what it is.
    """

    what: str
    where: str
    then: str
    why: str


SOCKETS = "mediaserver.server.sockets"
WEBHOOKS = "mediaserver.control.webhooks"

LIMITS: dict[str, tuple[Limit, ...]] = {
    "At the door": (
        Limit(
            "time until a request's head is complete",
            f"{SOCKETS}.first_bytes.HEAD_WITHIN_S",
            "closed",
            "a real client sends its head at once; a mute one must not hold a descriptor",
        ),
        Limit(
            "size of a request's head",
            f"{SOCKETS}.heads.MAX_HEAD_BYTES",
            "431",
            "Telnyx' has a token of at most 4,000 characters and an URL of 2,000",
        ),
        Limit(
            "length of a line in it",
            f"{SOCKETS}.heads.MAX_LINE_BYTES",
            "431",
            "the same",
        ),
        Limit(
            "its fields",
            f"{SOCKETS}.heads.MAX_FIELDS",
            "431",
            "real clients send about ten",
        ),
        Limit(
            "connections whose head is not complete",
            "mediaserver.server.listener.MAX_MUTE",
            "the oldest gives way",
            "with the head's size it bounds what strangers can make the server hold",
        ),
        Limit(
            "the same from one address",
            "mediaserver.server.listener.MAX_MUTE_OF_ADDRESS",
            "its oldest gives way",
            "one address must not take the room of all",
        ),
        Limit(
            "sockets that have proven nothing",
            "mediaserver.server.listener.MAX_UNPROVEN",
            "the oldest gives way",
            "calls that are proven have a room of their own",
        ),
        Limit(
            "the same from one address",
            "mediaserver.server.listener.MAX_UNPROVEN_OF_ADDRESS",
            "its oldest gives way",
            "one address must not take the room of all",
        ),
        Limit(
            "size of a message of one that has proven nothing",
            "mediaserver.server.calls.connection.UNPROVEN_BYTES",
            "1009",
            "`connected` and `start` are smaller",
        ),
        Limit(
            "the same of one that is proven, up to its `start`",
            "mediaserver.server.calls.connection.BEFORE_START_BYTES",
            "1009",
            "room for custom parameters",
        ),
        Limit(
            "HTTP connections",
            f"{SOCKETS}.http.MAX_CONNECTIONS",
            "the oldest idle one gives way, else the oldest",
            "webhooks and health need few",
        ),
        Limit(
            "the same from one address",
            f"{SOCKETS}.http.MAX_OF_ADDRESS",
            "its oldest idle one gives way, else its oldest",
            "one address must not take the room of all",
        ),
        Limit(
            "life of an HTTP connection",
            f"{SOCKETS}.http.CONNECTION_S",
            "closed behind its last response",
            "a slow sender has no other deadline",
        ),
        Limit(
            "requests on one",
            f"{SOCKETS}.http.MAX_REQUESTS",
            "closed behind its last response, which says so",
            "whoever has more to ask connects again",
        ),
        Limit(
            "requests in a second on one",
            f"{SOCKETS}.http.REQUESTS_PER_SECOND",
            "429, closed, counted as `refused_requests`",
            "health checks are a few; webhooks behind a proxy may be hundreds",
        ),
        Limit(
            "time from the upgrade to `connected`",
            "connected_within_s",
            "1002",
            "Telnyx sends it at once",
        ),
        Limit(
            "time from there to `start`, with a right token",
            "start_within_s",
            "1002",
            "a call may ring for 600 s; the token shows that it is Telnyx",
        ),
        Limit(
            "the same where there is no token",
            "start_without_token_s",
            "1002",
            "anybody could hold the socket",
        ),
        Limit(
            "calls at once",
            "max_calls",
            "503, or 1013 at `start`",
            "set it to what your processors can carry",
        ),
    ),
    "On a media socket": (
        Limit(
            "size of a message, fragments together",
            f"{SOCKETS}.frames.websocket.MAX_MESSAGE_BYTES",
            "1009, from its head alone",
            "24 s of L16 at 16 kHz fit in it as base64; 20 ms are usual",
        ),
        Limit(
            "fragments of a message",
            f"{SOCKETS}.frames.websocket.MAX_FRAGMENTS",
            "1009",
            "Telnyx sends none; each costs more memory than its octets",
        ),
        Limit(
            "frames behind the server's close",
            f"{SOCKETS}.frames.websocket.FRAMES_BEHIND_CLOSE",
            "no more is read",
            "seconds of media may be under way",
        ),
        Limit(
            "pings a second",
            f"{SOCKETS}.frames.websocket.PINGS_PER_SECOND",
            "1008",
            "each costs a pong",
        ),
        Limit(
            "time to finish the closing handshake",
            f"{SOCKETS}.media_socket.CLOSE_WITHIN_S",
            "cut",
            "a peer that does not answer must not keep its socket",
        ),
        Limit(
            "octets written that the peer has not taken",
            f"{SOCKETS}.media_socket.WRITE_HIGH_BYTES",
            "nothing more is sent",
            "about two seconds of L16 at 16 kHz",
        ),
        Limit(
            "time that it may take none of them",
            f"{SOCKETS}.media_socket.BLOCKED_FOR_S",
            "cut",
            "who reads nothing for so long is gone",
        ),
        Limit(
            "time between our pings",
            "ping_every_s",
            "–",
            "finds a peer that vanished",
        ),
        Limit(
            "time for the answer, once one has come",
            "ping_timeout_s",
            "cut",
            "whether Telnyx answers pings is not known: only who did is judged by them",
        ),
        Limit(
            "time without media, for one that never answered a ping",
            "mediaserver.server.calls.connection.SILENT_S",
            "cut",
            "a call on hold may be quiet for a while",
        ),
        Limit(
            "audio in one payload",
            "max_payload_s",
            "refused, counted",
            "what a decoder may be made to do at a time",
        ),
        Limit(
            "odd values that one message is mended of",
            "mediaserver.wire.messages._MAX_ODD",
            "refused, counted",
            "each costs another look at the message",
        ),
    ),
    "In a call": (
        Limit(
            "life behind a lost socket",
            "reconnect_grace_s",
            "the call ends",
            "Telnyx reconnects within seconds; the place is held meanwhile",
        ),
        Limit(
            "time for handlers behind the end",
            "handler_grace_s",
            "cancelled",
            "for what is left to do, such as writing a record",
        ),
        Limit("length", "max_call_s", "told, then hung up", "yours to say"),
        Limit("silence of everybody", "idle_s", "told, then hung up", "yours to say"),
        Limit(
            "frames that wait for a processor",
            "mediaserver.server.calls.view.FRAMES_LIMIT",
            "the oldest is dropped; the call's summary says how many",
            "ten seconds",
        ),
        Limit(
            "events that wait for a processor",
            "mediaserver.server.calls.event_hub.EVENTS_LIMIT",
            "the oldest is dropped",
            "a flood of keys must not fill the memory",
        ),
        Limit(
            "audio that waits to be sent",
            "mediaserver.server.calls.audio.outbound.QUEUE_LIMIT_S",
            "`play` waits",
            "a minute of speech may be said at once",
        ),
        Limit(
            "delay of live audio",
            "backlog_ms",
            "the oldest is dropped; the summary says how much",
            "older audio is of no use in a conversation",
        ),
    ),
    "History": (
        Limit(
            "age of a call's record",
            "history_days",
            "it goes",
            "whoever called need not be remembered for ever",
        ),
        Limit("size of the file, in MiB", "history_mb", "the oldest go", "disks are finite"),
        Limit(
            "records that wait for the file",
            "mediaserver.history.writer.QUEUED_MOST",
            "lost, counted",
            "a disk that stands still must not fill the memory",
        ),
        Limit(
            "webhooks in a record",
            "mediaserver.history.recorder.MOST_WEBHOOKS",
            "left out",
            "a call has a dozen",
        ),
    ),
    "Webhooks": (
        Limit(
            "size of a body",
            f"{WEBHOOKS}.receiver.MAX_BODY_BYTES",
            "413",
            "the largest known is a few KiB",
        ),
        Limit(
            "time for a body",
            f"{WEBHOOKS}.receiver.BODY_DEADLINE_S",
            "408",
            "Telnyx gives up after 2 s itself",
        ),
        Limit(
            "how far a timestamp is off, either way",
            f"{WEBHOOKS}.receiver.WebhookReceiver(tolerance_s)",
            "refused",
            "a delivery that somebody recorded is worthless behind it",
        ),
        Limit(
            "how long an id is remembered",
            f"{WEBHOOKS}.receiver.WebhookReceiver(dedup_s)",
            "it would be handled again",
            "twice the tolerance: no replay passes",
        ),
        Limit(
            "ids remembered",
            f"{WEBHOOKS}.delivery.SeenIds(max_ids)",
            "the oldest is forgotten",
            "333 a second for the whole time",
        ),
        Limit(
            "handlers at work",
            f"{WEBHOOKS}.receiver.WebhookReceiver(max_running)",
            "503, and Telnyx comes again",
            "a handler that hangs must not gather more",
        ),
        Limit(
            "calls whose events wait for them",
            f"{WEBHOOKS}.delivery.CallEvents(max_calls)",
            "those that wait longest go",
            "webhooks may come before their socket",
        ),
        Limit(
            "how long they wait",
            f"{WEBHOOKS}.delivery.CallEvents(keep_s)",
            "forgotten",
            "the socket comes within seconds, if it comes",
        ),
        Limit(
            "legs whose call is remembered",
            f"{WEBHOOKS}.delivery.CallEvents(max_legs)",
            "the oldest goes",
            "`call.recording.saved` names the leg alone, and may come late",
        ),
    ),
    "Tokens": (
        Limit(
            "life of a per-call token that no call has used",
            "mediaserver.tokens.TokenGate(unclaimed_s)",
            "refused",
            "longer than any call rings",
        ),
        Limit(
            "how far ahead the issuer's clock may be",
            "mediaserver.tokens.TokenGate(skew_s)",
            "refused",
            "clocks of two machines differ",
        ),
        Limit(
            "used tokens remembered",
            "mediaserver.tokens.TokenGate(max_claims)",
            "the oldest is forgotten, and all as old as it refused",
            "a token must not open a second call",
        ),
    ),
    "What Telnyx answers to commands": (
        Limit(
            "size of a reply",
            "mediaserver.control.rest.transport.MAX_REPLY_BYTES",
            "an error",
            "the largest known is a few KiB",
        ),
        Limit(
            "time from the first try to the last",
            "mediaserver.control.rest.retry.LAST_TRY_S",
            "an error",
            "a `command_id` protects a repeated command for about 60 s",
        ),
    ),
}


def limits_rows(group: str) -> Iterator[tuple[str, ...]]:
    """The cells of each row of a group."""
    for limit in LIMITS[group]:
        name = limit.where.rpartition(".")[2]
        shown = f"`{limit.where}`" if is_setting(limit.where) else ""
        number = in_words(value_of(limit.where), name)
        yield limit.what, number, shown, limit.then, limit.why


def is_setting(where: str) -> bool:
    """Whether a row's number is a setting's default."""
    return where in Settings.__struct_fields__


def value_of(where: str) -> Any:
    """The number in the code.

    Raises:
        LookupError: nothing of that name is there any more.
    """
    if is_setting(where):
        fields = {field.name: field.default for field in msgspec.structs.fields(Settings)}
        return fields[where]
    path, _, argument = where.rstrip(")").partition("(")
    module, _, name = path.rpartition(".")
    found = getattr(importlib.import_module(module), name, None)
    if argument and found is not None:
        parameter = inspect.signature(found).parameters.get(argument)
        found = None if parameter is None else parameter.default
    if found is None:
        raise LookupError(f"tools/limits.py has a row for {where}, which is not in the code")
    return found


def in_words(value: Any, name: str) -> str:
    """A number with its unit, which the end of its name says."""
    name = re.sub(r".*\(|\)", "", name).lower()
    if value is None:
        return "–"
    if name.endswith("_bytes"):
        return f"{value >> 20} MiB" if value >= 1 << 20 else f"{value >> 10} KiB"
    unit = next((u for end, u in (("_ms", " ms"), ("_s", " s")) if name.endswith(end)), "")
    return f"{value:,g}{unit}"
