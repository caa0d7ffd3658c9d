"""Which events reach which call, and which ids were seen, in bounded memory."""

from __future__ import annotations

from mediaserver.control.events import Event
from mediaserver.control.webhooks.delivery import CallEvents, SeenIds


def make(id: str, call: str | None = "v3:a") -> Event:
    return Event(id=id, event_type="x.y", call_control_id=call)


def test_an_event_waits_for_its_call_for_a_while_only() -> None:
    """What came too long before the call is not handed over."""
    calls = CallEvents(keep_s=60)
    assert calls.callbacks(make("old"), now=0) == []
    assert calls.callbacks(make("new"), now=30) == []
    assert [event.id for event in calls.attach("v3:a", print, now=61)] == ["new"]
    assert calls.callbacks(make("no call", None), now=61) == []


def test_waiting_events_are_bounded() -> None:
    """Neither many calls nor many events of one call fill the memory."""
    calls = CallEvents(keep_s=60, max_calls=10, max_events=3)
    for n in range(100):
        calls.callbacks(make(f"e{n}"), now=0)
        calls.callbacks(make("x", f"v3:{n}"), now=0)
    assert len(calls._waiting) <= 10
    assert len(calls.attach("v3:a", print, now=1)) <= 3
    assert len(calls.attach("v3:99", print, now=1)) == 1


def test_waiting_events_of_calls_that_never_came_go_away() -> None:
    """A later event drops what has waited too long."""
    calls = CallEvents(keep_s=60)
    calls.callbacks(make("old", "v3:gone"), now=0)
    calls.callbacks(make("new"), now=61)
    assert list(calls._waiting) == ["v3:a"]


def test_seen_ids_are_forgotten_by_age_and_by_number() -> None:
    """An id is remembered for its time, and the memory has a limit."""
    seen = SeenIds(keep_s=600, max_ids=3)
    assert [seen.is_new("a", now, now) for now in (0, 599, 600)] == [True, False, True]
    for n in range(10):
        assert seen.is_new(str(n), 600, 601 + n)
    assert len(seen) == 3


def test_what_was_signed_before_a_forgotten_id_is_not_new() -> None:
    """However the clock is set by which it would be fresh: nothing passes twice."""
    seen = SeenIds(keep_s=600)
    assert seen.is_new("a", 0, 1000)
    assert seen.is_new("b", 300, 1300)
    assert seen.is_new("c", 700, 1700)  # "a" is forgotten
    assert [seen.is_new("a", 701, at) for at in (1000, 999)] == [False, False]
    assert not seen.is_new("b", 701, 1300)
    assert seen.is_new("late", 701, 1001)


def test_legs_are_remembered_in_bounded_memory() -> None:
    """The call of a leg is known until too many other legs came after it."""
    calls = CallEvents(max_legs=3)
    for n in range(10):
        calls.joined(Event(id="x", event_type="x.y", call_control_id=f"v3:{n}", call_leg_id=f"{n}"))
    joined = [
        calls.joined(Event(id="x", event_type="x.y", call_leg_id=str(n))).call_control_id
        for n in range(10)
    ]
    assert joined == [None] * 7 + ["v3:7", "v3:8", "v3:9"]
