"""Events of a call in words."""

from __future__ import annotations

import pytest

from mediaserver.control.events import parse_event
from mediaserver.processors import api
from mediaserver.server.live.events import event_of


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (api.Dtmf("7", "2026-11-29T00:00:00Z"), (9.0, "dtmf", "7")),
        (api.SpeechStarted(3.5), (3.5, "speech starts", "")),
        (api.SpeechStopped(4.5, 1.0), (4.5, "speech ends", "1.0 s")),
        (api.Hint("silent", "nobody speaks"), (9.0, "hint", "nobody speaks")),
        (api.StreamError(100004, None, "bad", "no audio"), (9.0, "error", "100004 bad no audio")),
        (api.OperatorMessage("be brief"), (9.0, "operator", "be brief")),
        (api.LimitReached("idle_s", 5.0), (9.0, "limit", "limit idle_s, within_s 5.00")),
        (api.Beep(2.0, 1000.0, 0.5), (9.0, "beep", "at 2.00, frequency 1000.00, duration 0.50")),
        (api.Draining(None), (9.0, "draining", "")),
        (api.Interrupted(2.0, ((None, 0.5),)), (9.0, "interrupted", "at 2.00")),
    ],
)
def test_each_event(event: api.Event, told: tuple[float, str, str]) -> None:
    """When it was, what it is, and what it says."""
    assert event_of(event, 9.0) == told


def test_a_transcript_and_another_webhook() -> None:
    """What was said, and by whom; of any other its type."""
    said = {"transcript": "good morning", "is_final": True, "transcription_track": "inbound"}
    for track, text in (("inbound", "good morning"), ("outbound", "bot: good morning")):
        data = {**said, "transcription_track": track}
        event = parsed("call.transcription", {"transcription_data": data})
        assert event_of(api.Webhook(event), 9.0) == (9.0, "transcript", text)
    assert event_of(api.Webhook(parsed("call.hangup", {})), 9.0) == (9.0, "webhook", "call.hangup")


def parsed(event_type: str, payload: dict[str, object]) -> object:
    import json

    body = {"data": {"event_type": event_type, "id": "e", "payload": payload}}
    return parse_event(json.dumps(body).encode())
