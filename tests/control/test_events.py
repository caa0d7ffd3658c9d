from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediaserver.control import events
from mediaserver.control.events import Event, MalformedEventError, normal_type, parse_event

CALL = {
    "call_control_id": "v3:a",
    "call_leg_id": "leg",
    "call_session_id": "session",
    "connection_id": "connection",
    "client_state": "aGk=",
}
PARAMS = {"stream_url": "wss://a/b", "track": "inbound_track"}
SPOKEN = {"transcript": "hi", "confidence": 0.9, "is_final": True, "transcription_track": "inbound"}
ENDS = {"from": "+1", "to": "+2"}

CASES: list[tuple[str, type[Event], dict[str, Any], dict[str, Any]]] = [
    ("call.fork.started", events.ForkStarted, {"stream_type": "decrypted"}, {}),
    ("call.fork.stopped", events.ForkStopped, {"stream_type": "decrypted"}, {}),
    ("streaming.started", events.StreamingStarted, {"stream_url": "wss://a/b"}, {}),
    ("streaming.stopped", events.StreamingStopped, {"stream_url": "wss://a/b"}, {}),
    (
        "streaming.failed",
        events.StreamingFailed,
        {
            "failure_reason": "r",
            "stream_id": "s",
            "stream_type": "websocket",
            "stream_params": PARAMS,
        },
        {
            "failure_reason": "r",
            "stream_id": "s",
            "stream_type": "websocket",
            "stream_url": "wss://a/b",
            "stream_track": "inbound_track",
        },
    ),
    (
        "streaming.failed",
        events.StreamingFailed,
        {"stream_params": {"stream_track": "both_tracks"}},
        {"stream_track": "both_tracks", "failure_reason": None, "stream_url": None},
    ),
    ("call.transcription", events.Transcription, {"transcription_data": SPOKEN}, SPOKEN),
    (
        "call.initiated",
        events.CallInitiated,
        {
            "direction": "incoming",
            "state": "parked",
            "caller_id_name": "Shop",
            "offered_codecs": "PCMU, G722",
            "custom_headers": [{"name": "X-A", "value": "b"}, {"name": "X-A", "value": "c"}],
            "sip_headers": [{"name": "User-to-User", "value": "17"}],
            "start_time": "2026-11-28T10:00:00.000000Z",
            "tags": ["TAG1"],
            **ENDS,
        },
        {
            "direction": "incoming",
            "state": "parked",
            "from_": "+1",
            "to": "+2",
            "caller_id_name": "Shop",
            "offered_codecs": ("PCMU", "G722"),
            "custom_headers": (("X-A", "b"), ("X-A", "c")),
            "sip_headers": (("User-to-User", "17"),),
            "start_time": "2026-11-28T10:00:00.000000Z",
            "tags": ("TAG1",),
        },
    ),
    (
        "call.initiated",
        events.CallInitiated,
        {"offered_codecs": ["PCMU", 7], "custom_headers": [7, {"name": "a"}], "tags": "x"},
        {"offered_codecs": ("PCMU",), "custom_headers": (), "tags": ()},
    ),
    (
        "call.answered",
        events.CallAnswered,
        {**ENDS, "start_time": "2026-11-28T10:00:01.000000Z", "tags": ["TAG1"]},
        {
            "from_": "+1",
            "to": "+2",
            "state": None,
            "start_time": "2026-11-28T10:00:01.000000Z",
            "tags": ("TAG1",),
        },
    ),
    (
        "call.hangup",
        events.CallHangup,
        {
            "hangup_cause": "normal_clearing",
            "hangup_source": "caller",
            "sip_hangup_cause": "200",
            "call_quality_stats": {
                "inbound": {
                    "mos": "4.50",
                    "jitter_max_variance": "5.52",
                    "packet_count": "1024",
                    "skip_packet_count": "7",
                },
                "outbound": {"packet_count": 1000, "skip_packet_count": "none", "mos": "nan"},
            },
            "start_time": "2026-11-28T10:00:00.000000Z",
            "end_time": "2026-11-28T10:05:00.000000Z",
            **ENDS,
        },
        {
            "hangup_cause": "normal_clearing",
            "hangup_source": "caller",
            "sip_hangup_cause": "200",
            "call_quality_stats": {
                "inbound": {
                    "mos": 4.5,
                    "jitter_max_variance": 5.52,
                    "packet_count": 1024,
                    "skip_packet_count": 7,
                },
                "outbound": {"packet_count": 1000},
            },
            "start_time": "2026-11-28T10:00:00.000000Z",
            "end_time": "2026-11-28T10:05:00.000000Z",
            "from_": "+1",
            "to": "+2",
        },
    ),
    ("call.hangup", events.CallHangup, {}, {"call_quality_stats": None, "hangup_cause": None}),
    ("call.speak.started", events.SpeakStarted, {}, {}),
    ("call.speak.ended", events.SpeakEnded, {"status": "completed"}, {"status": "completed"}),
    (
        "call.playback.started",
        events.PlaybackStarted,
        {"media_url": "https://a/b.mp3", "media_name": "b", "overlay": True},
        {"media_url": "https://a/b.mp3", "media_name": "b", "overlay": True},
    ),
    (
        "call.playback.ended",
        events.PlaybackEnded,
        {
            "media_url": "https://a/b.mp3",
            "overlay": "no",
            "status": "completed",
            "status_detail": "none",
        },
        {
            "media_url": "https://a/b.mp3",
            "media_name": None,
            "overlay": None,
            "status": "completed",
            "status_detail": "none",
        },
    ),
    (
        "call.recording.saved",
        events.RecordingSaved,
        {
            "channels": "dual",
            "recording_started_at": "2026-11-28T10:00:00.000000Z",
            "recording_ended_at": "2026-11-28T10:05:00.000000Z",
            "recording_urls": {"mp3": "https://a/b.mp3", "wav": None},
            "public_recording_urls": {},
        },
        {
            "channels": "dual",
            "recording_started_at": "2026-11-28T10:00:00.000000Z",
            "recording_ended_at": "2026-11-28T10:05:00.000000Z",
            "recording_urls": {"mp3": "https://a/b.mp3"},
            "public_recording_urls": {},
        },
    ),
    ("call.bridged", events.CallBridged, ENDS, {"from_": "+1", "to": "+2"}),
    (
        "call.dtmf.received",
        events.DtmfReceived,
        {"digit": "5", **ENDS},
        {"digit": "5", "from_": "+1", "to": "+2"},
    ),
    ("call.gather.ended", Event, {"status": "valid"}, {}),
]


def body(event_type: str, payload: Any, **more: Any) -> bytes:
    data = {"record_type": "event", "event_type": event_type, "id": "e1", "payload": payload}
    return json.dumps({"data": data | more}).encode()


@pytest.mark.parametrize("is_underscored", [False, True])
@pytest.mark.parametrize(("event_type", "kind", "payload", "fields"), CASES)
def test_each_type_has_its_class_and_fields(
    event_type: str, kind: type[Event], payload: Any, fields: Any, is_underscored: bool
) -> None:
    """An event of either spelling becomes its class, with the call and its own fields."""
    spelt = event_type.replace(".", "_") if is_underscored else event_type
    event = parse_event(body(spelt, CALL | payload, occurred_at="2026-08-01T00:00:00Z"))
    assert type(event) is kind
    assert (event.id, event.event_type, event.attempt) == ("e1", event_type, None)
    assert event.occurred_at == "2026-08-01T00:00:00Z"
    assert event.client_state == b"hi"
    got = msgspec.structs.asdict(event)
    if isinstance(got.get("call_quality_stats"), events.CallQuality):
        got["call_quality_stats"] = msgspec.structs.asdict(got["call_quality_stats"])
    own = {name: value for name, value in payload.items() if name == "stream_type"} | fields
    expected = {name: CALL[name] for name in CALL if name != "client_state"} | own
    assert {name: got[name] for name in expected} == expected
    assert event.payload == CALL | payload


@pytest.mark.parametrize("event_type", [case[0] for case in CASES])
@pytest.mark.parametrize("filler", [None, 7, [], {}, "x", True])
def test_fields_may_be_null_or_of_any_kind(event_type: str, filler: Any) -> None:
    """A field that is null or mistyped is None in the event, and the event still comes."""
    names = [*CALL, "stream_type", "stream_url", "stream_params", "transcription_data", "from"]
    event = parse_event(body(event_type, dict.fromkeys(names, filler)))
    assert event.call_control_id == ("x" if filler == "x" else None)
    assert event.client_state is None


@pytest.mark.parametrize("payload", [None, 7, "x", []])
def test_the_payload_itself_may_be_missing(payload: Any) -> None:
    """An event without a payload is an event."""
    event = parse_event(body("call.hangup", payload))
    assert isinstance(event, events.CallHangup)
    assert event.payload == {}


def test_a_mistyped_confidence_is_none() -> None:
    """What is not a number or not a flag is None."""
    data = {"confidence": True, "is_final": "yes"}
    event = parse_event(body("call.transcription", {"transcription_data": data}))
    assert isinstance(event, events.Transcription)
    assert (event.confidence, event.is_final) == (None, None)


PAYLOAD = CALL | ENDS | {"state": "answered"}
V2 = {
    "data": {
        "record_type": "event",
        "event_type": "call.answered",
        "id": "e1",
        "occurred_at": "2026-11-28T10:00:00.000000Z",
        "payload": PAYLOAD,
    },
    "meta": {"attempt": 1, "delivered_to": "https://hooks.example.com/x"},
}
V1 = {
    "record_type": "event",
    "id": "e1",
    "event_type": "call_answered",
    "created_at": "2026-11-28T10:00:09.000000Z",
    "payload": PAYLOAD | {"occurred_at": "2026-11-28T10:00:00.000000Z"},
}
QUICKSTART = {
    "record_type": "event",
    "webhook_id": "e1",
    "event_type": "call.answered",
    "created_at": "2026-11-28T10:00:00.000000Z",
    "payload": PAYLOAD,
}


@pytest.mark.parametrize("shape", [V2, V1, QUICKSTART], ids=["v2", "v1", "quickstart"])
def test_an_event_of_any_of_the_three_shapes_is_read(shape: dict[str, Any]) -> None:
    """Under ``data`` or at the top level, ``id`` or ``webhook_id``, three places for the time."""
    event = parse_event(json.dumps(shape).encode())
    assert isinstance(event, events.CallAnswered)
    assert (event.id, event.event_type) == ("e1", "call.answered")
    assert event.occurred_at == "2026-11-28T10:00:00.000000Z"
    assert (event.call_control_id, event.from_, event.client_state) == ("v3:a", "+1", b"hi")
    assert event.attempt == (1 if shape is V2 else None)


@pytest.mark.parametrize("data", [None, 7, [], {}, {"id": "e1"}])
def test_data_that_holds_no_event_is_not_passed_over(data: Any) -> None:
    """A body with ``data`` is version 2: what stands beside it is no event."""
    with pytest.raises(MalformedEventError):
        parse_event(json.dumps({**V1, "data": data}).encode())


def test_meta_says_which_attempt_it_is() -> None:
    """The number of the delivery is taken from ``meta``."""
    data = {"event_type": "a.b", "id": "e"}
    got = parse_event(json.dumps({"data": data, "meta": {"attempt": 2}}).encode())
    assert got.attempt == 2


@pytest.mark.parametrize("state", ["é", "a", "!!!!"])
def test_a_client_state_that_is_no_base64_is_none(state: str) -> None:
    """A state that was not ours is left in the payload."""
    event = parse_event(body("call.hangup", {"client_state": state}))
    assert event.client_state is None
    assert event.payload["client_state"] == state


@pytest.mark.parametrize(
    ("spelt", "normal"),
    [
        ("streaming_started", "streaming.started"),
        ("call_fork_started", "call.fork.started"),
        ("call.fork_started", "call.fork.started"),
        ("some_thing_new", "some.thing.new"),
        ("call.machine_detection.ended", "call.machine_detection.ended"),
    ],
)
def test_types_are_spelt_with_dots(spelt: str, normal: str) -> None:
    """Known types are recognised in any spelling; names with real underscores keep them."""
    assert normal_type(spelt) == normal


@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "data",
                        "id",
                        "webhook_id",
                        "event_type",
                        "payload",
                        "meta",
                        "call_quality_stats",
                    ]
                ),
                inner,
            )
        ),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_body_is_an_event_or_refused(body: bytes) -> None:
    """Whatever comes in, the outcome is an event or the one declared error."""
    with contextlib.suppress(MalformedEventError):
        assert isinstance(parse_event(body), Event)
