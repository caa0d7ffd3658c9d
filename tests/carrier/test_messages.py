"""The text on the wire against the literals of protocol.md 1.1 and 1.2."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from mediaserver.carrier import messages
from mediaserver.carrier.messages import (
    ClearIn,
    MalformedFrameError,
    MarkBody,
    MarkIn,
    MediaBody,
    MediaFormat,
    MediaIn,
    StartBody,
)

STREAM = "32DE0DEA-53CB-4B21-89A4-9E1819C043BC"
BODY = StartBody(
    user_id="3E6F",
    call_control_id="v2:T02",
    call_session_id="ff55a038",
    from_="+13122010094",
    to="+13122123456",
    tags=["TAG1"],
    client_state="aGF2ZSBhIG5pY2UgZGF5ID1d",
    custom_parameters={"customer_id": "customer_123"},
    media_format=MediaFormat("PCMU", 8000),
)
AT = datetime(2025, 6, 5, 8, 54, 19, 698408, UTC)

SENT = {
    "connected": (messages.connected(), '{"event":"connected","version":"1.0.0"}'),
    "connected with a token": (
        messages.connected("t0"),
        '{"event":"connected","version":"1.0.0",'
        '"connected":{"x-telnyx-streaming-auth-token":"t0"}}',
    ),
    "start": (
        messages.start(1, BODY, STREAM),
        """{"event":"start","sequence_number":"1",
        "start":{"user_id":"3E6F","call_control_id":"v2:T02","call_session_id":"ff55a038",
          "from":"+13122010094","to":"+13122123456","tags":["TAG1"],
          "client_state":"aGF2ZSBhIG5pY2UgZGF5ID1d",
          "custom_parameters":{"customer_id":"customer_123"},
          "media_format":{"encoding":"PCMU","sample_rate":8000,"channels":1}},
        "stream_id":"32DE0DEA-53CB-4B21-89A4-9E1819C043BC"}""",
    ),
    "media": (
        messages.media(4, "inbound", 2, 5, "no+Jhg==", STREAM),
        """{"event":"media","sequence_number":"4",
        "media":{"track":"inbound","chunk":"2","timestamp":"5","payload":"no+Jhg=="},
        "stream_id":"32DE0DEA-53CB-4B21-89A4-9E1819C043BC"}""",
    ),
    "stop": (
        messages.stop(5, "3E6F", "v2:T02", STREAM),
        """{"event":"stop","sequence_number":"5",
        "stop":{"user_id":"3E6F","call_control_id":"v2:T02"},
        "stream_id":"32DE0DEA-53CB-4B21-89A4-9E1819C043BC"}""",
    ),
    "mark": (
        messages.mark(5, 'a "quoted" name', STREAM),
        r"""{"event":"mark","stream_id":"32DE0DEA-53CB-4B21-89A4-9E1819C043BC",
        "sequence_number":"5","mark":{"name":"a \"quoted\" name"}}""",
    ),
    "dtmf": (
        messages.dtmf(5, "1", AT, STREAM),
        """{"event":"dtmf","stream_id":"32DE0DEA-53CB-4B21-89A4-9E1819C043BC",
        "occurred_at":"2025-06-05T08:54:19.698408Z","sequence_number":"5",
        "dtmf":{"digit":"1"}}""",
    ),
    "error under payload": (
        messages.error(6, 100004, "…", STREAM, "payload"),
        """{"event":"error","payload":{"code":100004,"title":"invalid_media","detail":"…"},
        "stream_id":"32DE0DEA-53CB-4B21-89A4-9E1819C043BC"}""",
    ),
    "error under error": (
        messages.error(6, 100005, "…", STREAM, "error"),
        """{"event":"error","error":{"code":"100005","title":"rate_limit_reached","detail":"…"},
        "sequence_number":"6","stream_id":"32DE0DEA-53CB-4B21-89A4-9E1819C043BC"}""",
    ),
}


@pytest.mark.parametrize("name", SENT)
def test_sent_messages_are_those_of_the_documentation(name: str) -> None:
    """Every message sent equals its literal, keys and types alike."""
    text, literal = SENT[name]
    assert json.loads(text) == json.loads(literal)


RECEIVED = {
    '{"event":"media","media":{"payload":"AAAA"}}': MediaIn(MediaBody("AAAA")),
    '{"event":"media","stream_id":"x","media":{"payload":"","more":1}}': MediaIn(MediaBody("")),
    '{"event":"mark","mark":{"name":"utt-17"}}': MarkIn(MarkBody("utt-17")),
    '{"event":"clear"}': ClearIn(),
}


@pytest.mark.parametrize("text", RECEIVED)
def test_the_three_commands_are_understood(text: str) -> None:
    """Media, mark and clear are read; keys that mean nothing are ignored."""
    assert messages.parse(text) == RECEIVED[text]


MALFORMED: list[Any] = [
    "",
    "hello",
    "[]",
    "7",
    "{}",
    '{"event":"media"}',
    '{"event":"media","media":{}}',
    '{"event":"media","media":{"payload":7}}',
    '{"event":"media","media":"AAAA"}',
    '{"event":"mark","mark":{}}',
    '{"event":"mark","mark":null}',
    '{"event":"dance"}',
    '{"event":7}',
    '{"event":"clear"',
    '{"event":"mark","mark":{"name":"\ud800"}}',
    '{"event":"clear","x":' + "[" * 100_000 + "]" * 100_000 + "}",
]


@pytest.mark.parametrize("text", MALFORMED, ids=range(len(MALFORMED)))
def test_anything_else_is_malformed(text: str) -> None:
    """What is none of the three commands raises the one declared error."""
    with pytest.raises(MalformedFrameError):
        messages.parse(text)
