"""What became of the audio for the caller."""

from __future__ import annotations

import json
from base64 import b64encode

from mediaserver.carrier.intake import Complaint, Intake
from mediaserver.carrier.plan import CallPlan
from mediaserver.carrier.record import Record, ReturnedMark
from mediaserver.phone.earpiece import Earpiece
from mediaserver.phone.ledger import MAX_NEWS, Entry, Ledger

LOUD_S = json.dumps({"event": "media", "media": {"payload": b64encode(b"\x80" * 8000).decode()}})
CLEAR = '{"event":"clear"}'


def call() -> tuple[Record, Ledger]:
    """The record of a call, and its ledger."""
    plan, earpiece = CallPlan(keep="figures"), Earpiece(8000)
    record = Record(plan, Intake(plan, earpiece), {})
    return record, Ledger(record, earpiece.heard)


def test_call_news_again_and_again_each_entry_comes_once() -> None:
    """Speech when it is over, marks, a clear with what it left unheard, keys, errors."""
    record, ledger = call()
    record.intake.accept(LOUD_S, 1.0)
    assert ledger.news(1.5) == []
    record.marks.append(ReturnedMark(1.2, "asked", cleared=False))
    record.marks.append(ReturnedMark(1.75, "bye", cleared=True))
    record.intake.accept(CLEAR, 1.75)
    record.dtmf += "5"
    record.complaints.append(Complaint(100004, "x" * 500))
    entries = ledger.news(2.1)
    assert [entry[:2] for entry in entries] == [
        (1.2, "mark"),
        (1.75, "heard"),
        (1.75, "cleared"),
        (1.75, "clear"),
        (2.1, "key"),
        (2.1, "error"),
    ]
    assert [round(entry.for_s, 2) for entry in entries] == [0, 0.75, 0, 0.25, 0, 0]
    assert entries[-1].text.startswith("100004: xxx")
    assert len(entries[-1].text) == 100
    assert (ledger.unheard_s, ledger.clears) == (0.25, 1)
    assert ledger.news(9.0) == []


def test_of_a_flood_the_last_entries_come() -> None:
    """They are counted all the same."""
    record, ledger = call()
    record.marks += [ReturnedMark(float(n), f"m{n}", cleared=False) for n in range(1000)]
    for n in range(1000):
        record.intake.accept(CLEAR, float(n))
    entries = ledger.news(2000.0)
    assert len(entries) == MAX_NEWS
    assert Entry(999.0, "mark", "m999") in entries
    assert ledger.clears == 1000
    assert ledger.news(2000.0) == []
