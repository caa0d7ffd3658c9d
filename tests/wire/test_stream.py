"""The states of one stream: what passes where, and how the rest is counted."""

from __future__ import annotations

import tracemalloc

import pytest

from mediaserver.wire.messages import Media, Start, Stop
from mediaserver.wire.stream import MAX_OTHER_BYTES, State, Stream

CONNECTED = b'{"event":"connected","version":"1.0.0"}'
START = b'{"event":"start","start":{"call_control_id":"c"},"stream_id":"32DE-ab"}'
MEDIA = b'{"event":"media","media":{"payload":"AA=="},"stream_id":"32DE-ab"}'
MARK = b'{"event":"mark","mark":{"name":"m"},"stream_id":"32DE-ab"}'
DTMF = b'{"event":"dtmf","dtmf":{"digit":"1"},"stream_id":"32DE-ab"}'
ERROR = b'{"event":"error","error":{"code":"100002"},"stream_id":"32DE-ab"}'
STOP = b'{"event":"stop","stop":{},"stream_id":"32DE-ab"}'

REACH = {
    State.OPENED: [],
    State.CONNECTED: [CONNECTED],
    State.STREAMING: [CONNECTED, START],
    State.STOPPED: [CONNECTED, START, STOP],
}
NAMES = {
    "connected": CONNECTED,
    "start": START,
    "media": MEDIA,
    "mark": MARK,
    "dtmf": DTMF,
    "error": ERROR,
    "stop": STOP,
}

# state: what it lets through → where that leads; all else is counted and stays.
TABLE = {
    State.OPENED: {"connected": State.CONNECTED, "start": State.STREAMING},
    State.CONNECTED: {"start": State.STREAMING, "error": State.CONNECTED, "stop": State.STOPPED},
    State.STREAMING: {
        "media": State.STREAMING,
        "mark": State.STREAMING,
        "dtmf": State.STREAMING,
        "error": State.STREAMING,
        "stop": State.STOPPED,
    },
    State.STOPPED: {"mark": State.STOPPED},
    State.CLOSED: {},
}


def stream_in(state: State) -> Stream:
    stream = Stream(0.0)
    for data in REACH.get(state, REACH[State.STREAMING]):
        assert stream.receive(data) is not None
    if state is State.CLOSED:
        stream.close()
    assert stream.state is state
    return stream


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("name", NAMES)
def test_every_message_in_every_state(state: State, name: str) -> None:
    """What is in its place passes and moves the state; the rest is counted and does nothing."""
    stream = stream_in(state)
    message = stream.receive(NAMES[name])
    following = TABLE[state].get(name)
    if following is None:
        assert message is None
        assert stream.state is state
        assert sum(stream.violations.values()) == 1
    else:
        assert type(message).__name__.lower() == name
        assert stream.state is following


def test_start_without_connected_is_counted_and_obeyed() -> None:
    """Nothing is lost by a missing greeting."""
    stream = Stream(0.0)
    assert isinstance(stream.receive(START), Start)
    assert stream.violations == {"start_before_connected": 1}


def test_stream_ids_compare_without_case() -> None:
    """Case varies on the wire; another id is another stream's."""
    stream = stream_in(State.STREAMING)
    assert isinstance(stream.receive(MEDIA.replace(b"32DE-ab", b"32de-AB")), Media)
    assert isinstance(stream.receive(MEDIA.replace(b',"stream_id":"32DE-ab"', b"")), Media)
    assert stream.receive(MEDIA.replace(b"32DE-ab", b"other")) is None
    assert stream.violations == {"wrong_stream_id": 1}


def test_a_stream_without_an_id_takes_any() -> None:
    """Where ``start`` named none, nothing can be another stream's."""
    stream = Stream(0.0)
    stream.receive(b'{"event":"start","start":{}}')
    assert isinstance(stream.receive(MEDIA), Media)
    assert isinstance(stream.receive(STOP), Stop)


def test_malformed_messages_are_counted_by_kind() -> None:
    """A refused message leaves the state alone."""
    stream = stream_in(State.STREAMING)
    for data in (b"{", b"{", b"[]"):
        assert stream.receive(data) is None
    assert stream.violations == {"not_json": 2, "not_object": 1}
    assert stream.state is State.STREAMING


def test_who_asked_is_told_of_each_refusal() -> None:
    """By its kind, as it is counted, in order."""
    told: list[str] = []
    stream = Stream(0.0, refused=told.append)
    for data in (b"[]", MEDIA, START, STOP, START):
        stream.receive(data)
    assert told == [
        "not_object",
        "media_before_connected",
        "start_before_connected",
        "start_after_stop",
    ]
    assert stream.violations == dict.fromkeys(told, 1)


def test_the_peer_has_a_deadline_until_start() -> None:
    """It stands from the upgrade, may be put off while the call rings, and falls with ``start``."""
    stream = Stream(100.0, start_within_s=30.0)
    assert stream.start_by == 130.0
    stream.receive(CONNECTED)
    assert stream.start_by == 130.0
    stream.start_within(105.0, 660.0)
    assert stream.start_by == 765.0
    stream.receive(START)
    stream.start_within(106.0, 660.0)
    assert stream.start_by is None
    begun = Stream(100.0)
    begun.receive(START)
    assert begun.start_by is None
    waiting = Stream(0.0)
    waiting.close()
    assert waiting.start_by is None


def test_odd_values_are_counted_and_the_message_goes_on() -> None:
    """Each field by its name, told once a value; what is of no use is refused as before."""
    told: list[str] = []
    stream = Stream(0.0, odd=told.append)
    stream.receive(b'{"event":"connected"}')
    message = stream.receive(b'{"event":"start","stream_id":"s","start":{"from":7,"tags":1}}')
    assert isinstance(message, Start)
    assert stream.stream_id == "s"
    assert told == ["start.from", "start.tags"]
    assert stream.odd_fields == {"start.from": 1, "start.tags": 1}
    assert stream.violations == {}
    assert stream.receive(b'{"event":"mark","mark":{"name":7}}') is None
    assert stream.violations == {"bad_field": 1}
    silent = Stream(0.0)
    silent.receive(b'{"event":"start","start":{"to":7}}')
    assert silent.odd_fields == {"start.to": 1}


def test_a_resumed_stream_waits_for_its_start() -> None:
    """What came before was read elsewhere: its refusals are taken over, and told to nobody."""
    told: list[str] = []
    stream = Stream.resumed(0.0, {"binary": 2}, refused=told.append)
    assert isinstance(stream.receive(b'{"event":"start","start":{}}'), Start)
    assert stream.violations == {"binary": 2}
    assert told == []


def test_only_media_may_be_long() -> None:
    """Another message is refused by its length; one that cannot be read is not looked at again."""
    stream = stream_in(State.STREAMING)
    long = b"A" * MAX_OTHER_BYTES
    assert isinstance(stream.receive(MEDIA.replace(b'"payload":"', b'"payload":"' + long)), Media)
    assert stream.receive(b'{"event":"mark","mark":{"name":"%b"}}' % long) is None
    assert stream.receive(b'["%b"]' % long) is None
    assert stream.violations == {"too_long": 2}


@pytest.mark.parametrize(
    ("head", "tail"),
    [
        (b'{"event":"start","start":{"tags":[', b"]}}"),
        (b'{"event":"media","start":{"tags":[', b']},"event":"start"}'),
        (b'{"start":{"tags":[', b']},"event":"start"}'),
        (b'{"event":"connected","tags":[', b"]}"),
    ],
)
def test_what_is_too_long_is_refused_before_it_is_made(head: bytes, tail: bytes) -> None:
    """Of 43,000 lists in a message that is no media none is made."""
    data = head + b",".join([b"[]"] * 43_000) + tail
    stream = stream_in(State.CONNECTED)
    tracemalloc.start()
    try:
        assert stream.receive(data) is None
        assert tracemalloc.get_traced_memory()[1] < 20_000
    finally:
        tracemalloc.stop()
    assert stream.violations == {"too_long": 1}


def test_an_id_that_is_none_is_left_out() -> None:
    """Of more than 512 characters; the call is known by what is left."""
    stream = stream_in(State.CONNECTED)
    message = stream.receive(
        b'{"event":"start","start":{"call_control_id":"%b","from":"%b"},"stream_id":"a"}'
        % (b"A" * 513, b"B" * 512)
    )
    assert isinstance(message, Start)
    assert message.start.call_control_id is None
    assert message.start.from_ == "B" * 512
    assert stream.odd_fields == {"start.call_control_id": 1}
