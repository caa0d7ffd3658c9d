"""A record has what came before, while and behind a call."""

from __future__ import annotations

import pytest

from mediaserver.history import recorder
from mediaserver.history.recorder import MOST_WEBHOOKS, CallRecorder
from mediaserver.history.records import CallRecord, HangUp
from mediaserver.observer import CallSummary, StreamRequest
from tests.history.made import summary

REQUEST = StreamRequest("G722", 16000, "rtp", "echo")


def test_a_webhook_behind_the_end_completes_the_record() -> None:
    """Those before are there at once; the hang-up's cause and quality come later."""
    put: list[CallRecord] = []
    made = CallRecorder(put.append)
    made.reported("v3:a", "call.initiated")
    made.opened("v3:a", REQUEST)
    made.reported("v3:a", "streaming.started")
    assert put == []
    made.closed(summary("v3:a"))
    hang_up = HangUp("normal_clearing", "caller", "200", {"inbound": {"mos": 4.4}})
    made.reported("v3:a", "call.hangup", hang_up)
    first, last = put
    assert [each.type for each in first.webhooks] == ["call.initiated", "streaming.started"]
    assert first.hang_up is None
    assert last.key == first.key
    assert last.place == first.place
    assert last.hang_up == hang_up
    assert last.webhooks[-1].type == "call.hangup"


def test_a_call_lost_with_its_worker_has_what_the_parent_knows() -> None:
    """When it began, for how long it lived, and what was sent."""
    put: list[CallRecord] = []
    made = CallRecorder(put.append)
    made.opened("v3:a", REQUEST)
    made.closed(CallSummary(call_id="v3:a", reason="worker", worker=1))
    (record,) = put
    assert set(record.bad) == {"worker"}
    assert record.summary.started_at > 0
    assert record.ended_at >= record.summary.started_at
    assert record.summary.send_codec == "G722"


def test_a_second_stream_of_a_call_has_a_record_of_its_own() -> None:
    """Webhooks behind it complete that one."""
    put: list[CallRecord] = []
    made = CallRecorder(put.append)
    for began_at in (1000.0, 2000.0):
        made.opened("v3:a", REQUEST)
        made.closed(summary("v3:a", began_at))
    made.opened("v3:a", REQUEST)
    made.reported("v3:a", "call.dtmf.received")  # while the third lives: that one has it
    assert [each.summary.started_at for each in put] == [1000.0, 2000.0]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of calls and of webhooks; a live call is not forgotten for others."""
    monkeypatch.setattr(recorder, "MOST_CALLS", 50)
    put: list[CallRecord] = []
    made = CallRecorder(put.append)
    made.opened("v3:live", REQUEST)
    for n in range(500):
        made.reported(f"v3:{n}", "call.initiated")
        made.reported("v3:many", "call." + "x" * 1000)
    assert len(made._known) < 60
    made.closed(CallSummary(call_id="v3:live", reason="worker"))
    assert put[-1].summary.send_codec == "G722"
    made.closed(summary("v3:many"))
    assert len(put[-1].webhooks) == MOST_WEBHOOKS
    assert len(put[-1].encode()) < 30_000
