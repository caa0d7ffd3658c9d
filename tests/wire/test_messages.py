"""Telnyx's messages, read from the literals of its documentation."""

from __future__ import annotations

import contextlib
import json

import pybase64
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mediaserver.wire.messages import (
    CLEAR,
    MEDIA_HEAD,
    MEDIA_TAIL,
    Connected,
    Dtmf,
    Error,
    MalformedMessageError,
    Mark,
    Media,
    Start,
    Stop,
    mark_text,
    mend,
    parse,
)

START = b"""{"event":"start","sequence_number":"1",
 "start":{"user_id":"3E6F","call_control_id":"v2:T02","call_session_id":"ff55a038",
   "from":"+13122010094","to":"+13122123456","tags":["TAG1"],
   "client_state":"aGF2ZSBhIG5pY2UgZGF5ID1d",
   "custom_parameters":{"customer_id":"customer_123"},
   "media_format":{"encoding":"PCMU","sample_rate":8000,"channels":1}},
 "stream_id":"32DE0DEA-53CB-4B21-89A4-9E1819C043BC"}"""
MEDIA = b"""{"event":"media","sequence_number":"4",
 "media":{"track":"inbound","chunk":"2","timestamp":"5","payload":"no+JhoaJjpz/"},
 "stream_id":"32DE"}"""


def start_with(body: bytes) -> Start:
    message = parse(b'{"event":"start","start":' + body + b"}")
    assert isinstance(message, Start)
    return message


def test_connected() -> None:
    """The first message carries a version and, where one is set, the auth token."""
    assert parse(b'{"event":"connected","version":"1.0.0"}') == Connected(version="1.0.0")


@pytest.mark.parametrize(
    "text",
    [
        b'{"event":"connected","connected":{"x-telnyx-streaming-auth-token":"s3"}}',
        b'{"event":"connected","x-telnyx-streaming-auth-token":"s3","protocol":"Call"}',
    ],
)
def test_connected_token_in_both_places(text: bytes) -> None:
    """The token is found nested and at top level."""
    message = parse(text)
    assert isinstance(message, Connected)
    assert message.auth_token == "s3"


@pytest.mark.parametrize(
    "text",
    [
        b'{"event":"connected"}',
        b'{"event":"connected","connected":[1]}',
        b'{"event":"connected","connected":{"x-telnyx-streaming-auth-token":7}}',
    ],
)
def test_connected_without_a_usable_token(text: bytes) -> None:
    """What is no text is no token."""
    message = parse(text)
    assert isinstance(message, Connected)
    assert message.auth_token is None


def test_start() -> None:
    """Every documented field arrives under its name, numbers as ints."""
    message = parse(START)
    assert isinstance(message, Start)
    body = message.start
    assert (message.sequence_number, message.stream_id) == (
        1,
        "32DE0DEA-53CB-4B21-89A4-9E1819C043BC",
    )
    assert (body.call_control_id, body.from_, body.to) == ("v2:T02", "+13122010094", "+13122123456")
    assert (body.user_id, body.call_session_id, body.tags) == ("3E6F", "ff55a038", ["TAG1"])
    assert body.client_state == "aGF2ZSBhIG5pY2UgZGF5ID1d"
    assert body.parameters == {"customer_id": "customer_123"}
    format_ = message.media_format
    assert (format_.codec, format_.sample_rate, format_.channels) == ("PCMU", 8000, 1)


def test_start_of_nulls_and_strings() -> None:
    """Nulls, absent keys, unknown keys and numbers as strings are all read."""
    message = start_with(
        b'{"from":null,"to":null,"client_state":null,"tags":null,"custom_parameters":null,'
        b'"new_key":{"a":[1]},"media_format":{"encoding":"L16","sample_rate":"16000","channels":"1"}}'
    )
    assert message.start.parameters == {}
    assert message.media_format.sample_rate == 16000
    assert start_with(b"{}").media_format.codec == "PCMU"


def test_custom_parameters_in_both_shapes() -> None:
    """The object of the socket and the array of REST give the same names."""
    as_object = start_with(b'{"custom_parameters":{"a":"1","b":2,"c":null}}')
    as_array = start_with(
        b'{"custom_parameters":[{"name":"a","value":"1"},{"name":"b","value":2},{"name":"c"},5]}'
    )
    assert as_object.start.parameters == as_array.start.parameters == {"a": "1", "b": "2"}
    assert start_with(b'{"custom_parameters":"odd"}').start.parameters == {}


@pytest.mark.parametrize(
    ("encoding", "codec"),
    [
        ("PCMU", "PCMU"),
        ("pcma", "PCMA"),
        ("audio/x-mulaw", "PCMU"),
        ("Audio/X-ALAW", "PCMA"),
        ("AMR-WB", "AMR-WB"),
        ("amr-wb", "AMR-WB"),
        ("opus", "OPUS"),
        ("EVS", "EVS"),
    ],
)
def test_encodings(encoding: str, codec: str) -> None:
    """Old names and any case give the registry's name; unknown ones stay to be refused."""
    message = start_with(b'{"media_format":{"encoding":"%b"}}' % encoding.encode())
    assert message.media_format.codec == codec


def test_media() -> None:
    """The payload arrives as octets, the chunk as an int."""
    message = parse(MEDIA)
    assert isinstance(message, Media)
    assert message.media.payload == bytes.fromhex("9e8f8986868 98e9cff".replace(" ", ""))
    assert (message.media.track, message.media.chunk) == ("inbound", 2)
    assert message.stream_id == "32DE"


@pytest.mark.parametrize(
    "body", [b'"chunk":2,"timestamp":5', b'"chunk":"2","track":null', b'"x":1']
)
def test_media_variants(body: bytes) -> None:
    """Ints for strings, nulls and absent keys are read."""
    message = parse(b'{"media":{"payload":"AA==",' + body + b'},"event":"media"}')
    assert isinstance(message, Media)
    assert message.media.payload == b"\0"
    assert message.media.chunk in (2, None)


def test_stop_mark_dtmf() -> None:
    """The small messages of the documentation."""
    stop = parse(
        b'{"event":"stop","sequence_number":"5","stop":{"user_id":"u"},"stream_id":"32DE"}'
    )
    assert stop == Stop(sequence_number=5, stream_id="32DE")
    mark = parse(b'{"event":"mark","stream_id":"s","mark":{"name":"utt-17"}}')
    assert isinstance(mark, Mark)
    assert mark.mark.name == "utt-17"
    dtmf = parse(
        b'{"event":"dtmf","stream_id":"s","occurred_at":"2025-06-05T08:54:19.698408Z",'
        b'"sequence_number":"5","dtmf":{"digit":"1"}}'
    )
    assert isinstance(dtmf, Dtmf)
    assert (dtmf.dtmf.digit, dtmf.occurred_at) == ("1", "2025-06-05T08:54:19.698408Z")
    assert dtmf.occurred_s == 1749113659.698408


@pytest.mark.parametrize("stamp", [b"null", b'""', b'"yesterday"', b'"99999-01-01"'])
def test_a_time_that_is_none(stamp: bytes) -> None:
    """A digit without a readable time is a digit all the same."""
    dtmf = parse(b'{"event":"dtmf","dtmf":{"digit":"1"},"occurred_at":%b}' % stamp)
    assert isinstance(dtmf, Dtmf)
    assert dtmf.occurred_s is None


@pytest.mark.parametrize(
    "text",
    [
        b'{"event":"error","payload":{"code":100004,"title":"t","detail":"d"},"stream_id":"s"}',
        b'{"event":"error","error":{"code":"100004","title":"t","detail":"d"},"stream_id":"s"}',
    ],
)
def test_error_in_both_shapes(text: bytes) -> None:
    """Both shapes give code, title and detail."""
    message = parse(text)
    assert isinstance(message, Error)
    assert (message.body.code, message.body.title, message.body.detail) == (100004, "t", "d")


def test_error_without_a_body() -> None:
    """An error that says nothing is still an error."""
    message = parse(b'{"event":"error"}')
    assert isinstance(message, Error)
    assert message.body.code is None


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (b"", "not_json"),
        (b"nonsense", "not_json"),
        (b'{"event":"stop"', "not_json"),
        (b'{"event":"stop"}x', "not_json"),
        (b'{"event":"stop","x":NaN}', "not_json"),
        (b'{"event":"mark","mark":{"name":"\\ud800"}}', "not_json"),
        (b'\xef\xbb\xbf{"event":"stop"}', "not_json"),
        (b"[]", "not_object"),
        (b'"text"', "not_object"),
        (b"{}", "no_event"),
        (b'{"event":null}', "no_event"),
        (b'{"event":7}', "no_event"),
        (b'{"event":"bogus"}', "unknown_event"),
        (b'{"event":"media"}', "bad_field"),
        (b'{"event":"media","media":null}', "bad_field"),
        (b'{"event":"media","media":{}}', "bad_field"),
        (b'{"event":"media","media":{"payload":null}}', "bad_field"),
        (b'{"event":"media","media":{"payload":7}}', "bad_field"),
        (b'{"event":"media","media":{"payload":"AA==","chunk":-1}}', "bad_field"),
        (b'{"event":"media","media":{"payload":"AA==","chunk":"two"}}', "bad_field"),
        (b'{"event":"media","media":{"payload":"AA==","chunk":true}}', "bad_field"),
        (b'{"event":"media","media":{"payload":"AA==","chunk":%b}}' % (b"9" * 30), "bad_field"),
        (b'{"event":"media","media":{"payload":"AA==","chunk":"%b"}}' % (b"9" * 5000), "bad_field"),
        (b'{"event":"media","media":{"payload":"A"}}', "bad_base64"),
        (b'{"event":"media","media":{"payload":"A*=="}}', "bad_base64"),
        (b'{"event":"media","media":{"payload":"ab-_"}}', "bad_base64"),
        (b'{"event":"dtmf","dtmf":{"digit":""}}', "bad_field"),
        (b'{"event":"dtmf","dtmf":"1"}', "bad_field"),
        (b'{"event":"mark","mark":{}}', "bad_field"),
        (b'{"event":"start"}', "bad_field"),
        (b'{"event":"start","start":{"media_format":{"sample_rate":"fast"}}}', "bad_field"),
        (b'{"event":"start","start":{"media_format":{"sample_rate":0}}}', "bad_field"),
        (b'{"event":"stop","x":' + b"[" * 100_000, "too_deep"),
    ],
)
def test_malformed(text: bytes, kind: str) -> None:
    """Each way to be wrong has its counter's name, and a line without the content."""
    with pytest.raises(MalformedMessageError) as caught:
        parse(text)
    assert caught.value.kind == kind
    assert str(caught.value) == f"malformed message: {kind}"


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_octets_are_a_message_or_malformed(data: bytes) -> None:
    """No input raises anything but the declared error."""
    with contextlib.suppress(MalformedMessageError):
        parse(data)


@settings(max_examples=300)
@given(st.sampled_from([START, MEDIA]), st.integers(0, 600), st.binary(min_size=1, max_size=3))
def test_mutations_are_a_message_or_malformed(text: bytes, at: int, with_: bytes) -> None:
    """Damaged real messages neither crash nor raise anything else."""
    at %= len(text)
    with contextlib.suppress(MalformedMessageError):
        parse(text[:at] + with_ + text[at + len(with_) :])


def test_what_is_sent() -> None:
    """The three messages to Telnyx, to the letter."""
    assert (
        MEDIA_HEAD + pybase64.b64encode(b"\x00\xff") + MEDIA_TAIL
        == b'{"event":"media","media":{"payload":"AP8="}}'
    )
    assert mark_text("utt-17") == b'{"event":"mark","mark":{"name":"utt-17"}}'
    assert mark_text('"\n') == b'{"event":"mark","mark":{"name":"\\"\\n"}}'
    assert CLEAR == b'{"event":"clear"}'


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        (
            b'{"event":"start","start":{"from":13122010094,"tags":"VIP"}}',
            ("start.from", "start.tags"),
        ),
        (b'{"event":"start","stream_id":7,"start":{"client_state":{"a":1}}}', None),
        (b'{"event":"media","media":{"payload":"AA==","chunk":"two"}}', ("media.chunk",)),
        (b'{"event":"media","stream_id":[],"media":{"payload":"AA=="}}', ("stream_id",)),
        (b'{"event":"dtmf","dtmf":{"digit":"1"},"occurred_at":1}', ("occurred_at",)),
        (b'{"event":"error","error":{"code":[],"title":true}}', None),
        (b'{"event":"start","start":{"media_format":{"sample_rate":"fast"}}}', None),
    ],
)
def test_an_odd_value_is_left_out(data: bytes, fields: tuple[str, ...] | None) -> None:
    """The message is whole without it; a number or truth value of a text is its text."""
    mended = mend(data)
    assert mended is not None
    message, odd = mended
    assert fields is None or odd == fields
    assert odd
    if isinstance(message, Start) and "start.from" in odd:
        assert (message.start.from_, message.start.tags) == ("13122010094", None)
    if isinstance(message, Error):
        assert (message.body.code, message.body.title) == (None, "true")


@pytest.mark.parametrize(
    "data",
    [
        b"no JSON",
        b"[" * 5000,
        b"7",
        b'{"event":7}',
        b'{"event":"start"}',
        b'{"event":"start","start":[]}',
        b'{"event":"start","start":{"media_format":"PCMU"}}',
        b'{"event":"start","start":{"media_format":{"encoding":7}}}',
        b'{"event":"media","media":{"payload":7}}',
        b'{"event":"media","media":{"payload":"AA==","track":"both"}}',
        b'{"event":"mark","mark":{"name":7}}',
        b'{"event":"dtmf","dtmf":{"digit":1}}',
    ],
)
def test_what_a_message_is_for_may_refuse_it(data: bytes) -> None:
    """Without it nothing of use is left."""
    assert mend(data) is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=8,
    ),
    st.sampled_from(["from", "to", "user_id", "tags", "client_state", "call_session_id"]),
)
def test_no_value_of_an_optional_field_refuses_a_start(value: object, name: str) -> None:
    """Whatever stands there, the call's id and format are read."""
    body = {"call_control_id": "v3:a", "media_format": {"encoding": "PCMA"}, name: value}
    data = json.dumps({"event": "start", "start": body}).encode()
    try:
        message = parse(data)
    except MalformedMessageError:
        mended = mend(data)
        assert mended is not None
        message = mended[0]
    assert isinstance(message, Start)
    assert (message.start.call_control_id, message.media_format.codec) == ("v3:a", "PCMA")
