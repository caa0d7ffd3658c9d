"""Telnyx' messages: one by one, and as a stream with its states."""

from __future__ import annotations

import base64
from contextlib import suppress

from mediaserver.carrier import messages as carrier
from mediaserver.counters import VALUES
from mediaserver.wire.messages import (
    Connected,
    Dtmf,
    Error,
    MalformedMessageError,
    Media,
    Message,
    Start,
    mark_text,
    mend,
    parse,
)
from mediaserver.wire.stream import State, Stream
from tests.fuzz.harness import Target

KINDS = set(VALUES["refused.*"])
TRACKS = ("inbound", "outbound", None)


def look(message: Message) -> None:
    """Read of a message what the server reads: it never raises."""
    match message:
        case Connected():
            assert message.auth_token is None or isinstance(message.auth_token, str)
        case Start():
            assert message.media_format.codec
            for name, value in message.start.parameters.items():
                assert isinstance(name, str)
                assert isinstance(value, str)
        case Media():
            assert isinstance(message.media.payload, bytes)
        case Dtmf():
            assert message.occurred_s is None or isinstance(message.occurred_s, float)
        case Error():
            assert message.body is not None


def one_message(data: bytes) -> bool:
    """A message is typed, or refused under a kind that has a counter."""
    round_trip(data)
    try:
        message = parse(data)
    except MalformedMessageError as error:
        kind = error.kind
    else:
        look(message)
        return True
    assert kind in KINDS, kind
    mended = mend(data)
    if mended is None:
        return False
    look(mended[0])
    # None, where a key comes twice and only the first value is odd: the last one counts.
    assert len(mended[1]) <= 16
    return True


def round_trip(data: bytes) -> None:
    """What the carrier says is what the server reads, and the other way round."""
    text = base64.b64encode(data).decode()
    said = parse(carrier.media(7, "inbound", 2, 20, text, "id").encode())
    assert isinstance(said, Media)
    assert (said.media.payload, said.media.chunk) == (data, 2)
    with suppress(UnicodeDecodeError):
        name = data.decode()
        asked = carrier.parse(mark_text(name).decode())
        assert isinstance(asked, carrier.MarkIn)
        assert asked.mark.name == name


WIRE_MESSAGES = Target(one_message, calls=1500, calls_per_octet=8.0, octets_per_octet=400.0)


def a_stream(data: bytes) -> bool:
    """Each line is one message: passed on or counted, never both, never neither."""
    counted: list[str] = []
    odd: list[str] = []
    stream = Stream(0.0, refused=counted.append, odd=odd.append)
    started = 0
    for line in data.split(b"\n"):
        before, n_counted = stream.state, len(counted)
        message = stream.receive(line)
        refused = counted[n_counted:]
        if message is None:
            assert len(refused) == 1, refused
            assert stream.state is before
            continue
        look(message)
        assert refused in ([], ["start_before_connected"])
        started += isinstance(message, Start)
        assert before is not State.CLOSED
        assert isinstance(message, Connected) or stream.state is not State.OPENED
    assert started <= 1
    assert set(counted) <= KINDS, set(counted) - KINDS
    assert sum(stream.violations.values()) == len(counted)
    assert sum(stream.odd_fields.values()) == len(odd)
    # A name that the peer chooses would let it fill the counters.
    assert len(stream.odd_fields) <= 64
    taken = not counted
    stream.close()
    assert stream.receive(b'{"event":"connected"}') is None
    return taken


STREAM_STATES = Target(a_stream, calls=1500, calls_per_octet=40.0, octets_per_octet=600.0)
