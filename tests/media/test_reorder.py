"""Reorder: equal to a plain model, every chunk accounted for exactly once."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mediaserver.media.frames import Track
from mediaserver.media.reorder import MAX_JUMP, RESTART_RUN, Lost, Numbering, Reorder
from tests.media.ordering import (
    Event,
    Model,
    arrivals,
    counts,
    drive,
)


@settings(max_examples=2500, deadline=None)
@given(arrivals(), st.sampled_from([0.0, 0.02, 0.06, 0.5]), st.sampled_from(["per_track", "auto"]))
def test_equals_the_model(
    numbered: list[tuple[int, float]], wait_s: float, numbering: Numbering
) -> None:
    """Shuffled, lost, repeated and wrapping chunks come out as a plain model says."""
    events = [Event("inbound", n, serial, at) for serial, (n, at) in enumerate(numbered)]
    reorder: Reorder[int] = Reorder(wait_s, numbering)
    model = Model(wait_s)
    for event in events:
        model.settle(event.at)
        model.push(event)
    model.settle(float("inf"))
    assert drive(reorder, events) == model.out
    assert counts(reorder) == model.counts
    assert reorder.received == len(events)
    assert reorder.received == reorder.delivered + reorder.late + reorder.duplicate
    assert reorder.next_at is None


@settings(max_examples=500, deadline=None)
@given(
    arrivals(),
    st.sampled_from([0.0, 0.06]),
    st.lists(st.sampled_from(["inbound", "outbound"]), min_size=60, max_size=60),
)
def test_shared_numbers_equal_the_model_on_one_line(
    numbered: list[tuple[int, float]],
    wait_s: float,
    owners: list[Literal["inbound", "outbound"]],
) -> None:
    """With shared numbers both tracks together come out as one line; each number has one track."""
    first = min((n for n, _ in numbered), default=0)
    events = [Event(owners[n - first], n, serial, at) for serial, (n, at) in enumerate(numbered)]
    model = Model(wait_s)
    for event in events:
        model.settle(event.at)
        model.push(event)
    model.settle(float("inf"))
    for numbering in ("shared", "auto"):
        reorder: Reorder[int] = Reorder(wait_s, "shared" if numbering == "shared" else "auto")
        assert drive(reorder, events) == model.out
        assert counts(reorder) == model.counts


@settings(max_examples=500, deadline=None)
@given(arrivals(4), arrivals(4))
def test_auto_accounts_for_every_chunk_of_tracks_numbered_apart(
    inbound: list[tuple[int, float]], outbound: list[tuple[int, float]]
) -> None:
    """Whatever auto takes the numbers for, each chunk ends as one of three, none twice."""
    tracks: tuple[tuple[Track, list[tuple[int, float]]], ...] = (
        ("inbound", inbound),
        ("outbound", outbound),
    )
    raw = sorted(
        ((at, track, n) for track, numbered in tracks for n, at in numbered), key=lambda e: e[0]
    )
    events = [Event(track, n, serial, at) for serial, (at, track, n) in enumerate(raw)]
    reorder: Reorder[int] = Reorder(0.06, "auto")
    given_out = [item for item in drive(reorder, events) if isinstance(item, int)]
    assert len(set(given_out)) == len(given_out) == reorder.delivered
    assert reorder.received == reorder.delivered + reorder.late + reorder.duplicate


def push_all(
    reorder: Reorder[str], chunks: list[tuple[Track, int]], at: float = 0.0
) -> list[str | Lost]:
    out: list[str | Lost] = []
    for track, chunk in chunks:
        out += reorder.push(track, chunk, f"{track[0]}{chunk}", at)
    return out


@pytest.mark.parametrize("numbering", ["auto", "per_track", "shared"])
def test_an_ordered_stream_is_never_held(numbering: Numbering) -> None:
    """Each chunk in order is given back by its own push, and no time is asked for."""
    reorder: Reorder[str] = Reorder(0.06, numbering)
    for chunk in range(1, 200):
        assert push_all(reorder, [("inbound", chunk)]) == [f"i{chunk}"]
        assert reorder.next_at is None


def test_tracks_numbered_apart_are_told_by_the_first_shared_number() -> None:
    """Auto gives each track its own line once a number is seen on both, without a wait."""
    reorder: Reorder[str] = Reorder()
    chunks: list[tuple[Track, int]] = [
        (track, n) for n in range(1, 50) for track in ("inbound", "outbound")
    ]
    assert push_all(reorder, chunks) == [f"{track[0]}{n}" for track, n in chunks]
    assert not reorder.shared
    assert (reorder.missing, reorder.late, reorder.duplicate) == (0, 0, 0)


def test_tracks_that_share_numbers_stay_on_one_line() -> None:
    """In shared numbering a number seen on the other track is no gap."""
    reorder: Reorder[str] = Reorder()
    chunks: list[tuple[Track, int]] = [
        ("outbound" if n % 2 else "inbound", n) for n in range(1, 50)
    ]
    assert push_all(reorder, chunks) == [f"{track[0]}{n}" for track, n in chunks]
    assert reorder.shared


def test_a_held_number_seen_on_the_other_track_tells_them_apart() -> None:
    """What waited on the shared line goes on along its own track's line."""
    reorder: Reorder[str] = Reorder()
    assert push_all(reorder, [("inbound", 1), ("inbound", 2), ("outbound", 5)]) == ["i1", "i2"]
    assert push_all(reorder, [("inbound", 5)]) == ["o5"]
    assert push_all(reorder, [("inbound", 3), ("inbound", 4)]) == ["i3", "i4", "i5"]
    assert not reorder.shared


def test_a_track_beginning_far_below_the_other_has_its_own_numbers() -> None:
    """An outbound track that starts at 1 while inbound is at 60 loses nothing."""
    for start in (50, 5000):
        reorder: Reorder[str] = Reorder()
        push_all(reorder, [("inbound", n) for n in range(start, start + 10)])
        assert push_all(reorder, [("outbound", 1), ("outbound", 2)]) == ["o1", "o2"]
        assert push_all(reorder, [("inbound", start + 10)]) == [f"i{start + 10}"]
        assert (reorder.restarts, reorder.shared) == (0, False)


def test_a_reordered_start_is_late_and_proves_nothing() -> None:
    """The chunk before the first one is late; shared numbering goes on."""
    reorder: Reorder[str] = Reorder()
    assert push_all(reorder, [("inbound", 2), ("outbound", 1), ("outbound", 3)]) == ["i2", "o3"]
    assert (reorder.late, reorder.shared) == (1, True)


def test_shared_setting_keeps_one_line_whatever_comes() -> None:
    """With numbering set to shared, a number seen on both tracks is a duplicate."""
    reorder: Reorder[str] = Reorder(0.06, "shared")
    assert push_all(reorder, [("inbound", 1), ("outbound", 1), ("inbound", 2)]) == ["i1", "i2"]
    assert reorder.duplicate == 1


def test_a_lost_shared_number_is_of_the_track_whose_turn_it_was() -> None:
    """Alternating tracks lose on the track of two numbers before; a lone track on itself."""
    reorder: Reorder[str] = Reorder(0.0)
    chunks: list[tuple[Track, int]] = [("inbound", 1), ("outbound", 2), ("inbound", 3)]
    assert push_all(reorder, [*chunks, ("outbound", 6)])[3:] == [
        Lost("outbound", 4),
        Lost("inbound", 5),
        "o6",
    ]
    push_all(reorder, [("outbound", 7), ("outbound", 8)])
    assert push_all(reorder, [("outbound", 10)]) == [Lost("outbound", 9), "o10"]


def test_a_gap_is_given_up_when_its_time_has_come_and_no_earlier() -> None:
    """The wait counts from the first chunk behind the gap; a chunk after it is late."""
    reorder: Reorder[str] = Reorder(0.06)
    push_all(reorder, [("inbound", 1)])
    assert push_all(reorder, [("inbound", 3)], 1.0) == []
    assert push_all(reorder, [("inbound", 4)], 1.02) == []
    assert reorder.next_at == pytest.approx(1.06)
    assert reorder.poll(1.059) == ()
    assert reorder.poll(1.06) == (Lost("inbound", 2), "i3", "i4")
    assert reorder.next_at is None
    assert push_all(reorder, [("inbound", 2)], 1.07) == []
    assert (reorder.late, reorder.missing) == (1, 1)


def test_a_second_gap_has_its_own_time() -> None:
    """After the first gap the next waits for what arrived behind it."""
    reorder: Reorder[str] = Reorder(0.06)
    push_all(reorder, [("inbound", 1)])
    push_all(reorder, [("inbound", 3)], 1.0)
    push_all(reorder, [("inbound", 5)], 1.02)
    assert reorder.poll(1.06) == (Lost("inbound", 2), "i3")
    assert reorder.next_at == pytest.approx(1.08)
    assert reorder.poll(1.08) == (Lost("inbound", 4), "i5")


@pytest.mark.parametrize("restart_at", [0, 1, 7000, 2_000_000_000])
def test_a_far_jump_starts_the_line_anew(restart_at: int) -> None:
    """Far numbers, up or down, are delivered at once; what was held goes before them."""
    reorder: Reorder[str] = Reorder()
    push_all(reorder, [("inbound", n) for n in range(1000, 1010)])
    push_all(reorder, [("inbound", 1011)])
    after: list[tuple[Track, int]] = [("inbound", restart_at + n) for n in range(3)]
    assert push_all(reorder, after) == [
        Lost("inbound", 1010),
        "i1011",
        *(f"i{n}" for _, n in after),
    ]
    assert reorder.restarts == 1


def test_one_wild_number_loses_nothing() -> None:
    """A single absurd number is delivered and the stream goes on behind it."""
    reorder: Reorder[str] = Reorder()
    push_all(reorder, [("inbound", 5)])
    chunks: list[tuple[Track, int]] = [("inbound", n) for n in (10**12, 6, 7)]
    assert push_all(reorder, chunks) == [f"i{n}" for _, n in chunks]


def test_a_restart_close_by_is_told_by_duplicates_that_count_up() -> None:
    """After a restart from 30 to 1 the fifth chunk is delivered and all after it."""
    reorder: Reorder[str] = Reorder()
    push_all(reorder, [("inbound", n) for n in range(1, 31)])
    out = push_all(reorder, [("inbound", n) for n in range(1, 11)])
    assert out == [f"i{n}" for n in range(RESTART_RUN, 11)]
    assert (reorder.duplicate, reorder.restarts) == (RESTART_RUN - 1, 1)


def test_a_restart_of_shared_numbers_keeps_both_tracks_on_one_line() -> None:
    """After a restart the other track's numbers fit in without a wait."""
    reorder: Reorder[str] = Reorder()
    push_all(reorder, [("outbound" if n % 2 else "inbound", n) for n in range(500, 520)])
    chunks: list[tuple[Track, int]] = [("outbound" if n % 2 else "inbound", n) for n in range(9)]
    assert push_all(reorder, chunks) == [f"{track[0]}{n}" for track, n in chunks]
    assert reorder.shared


@pytest.mark.parametrize("wrap", [1 << 16, 1 << 31, 1 << 32])
def test_a_wrap_is_crossed_in_order(wrap: int) -> None:
    """A chunk from before the wrap that comes after it is put in its place, or lost by name."""
    reorder: Reorder[str] = Reorder()
    push_all(reorder, [("inbound", wrap - 3)])
    out = push_all(reorder, [("inbound", 0), ("inbound", wrap - 2), ("inbound", 1)])
    assert out == [f"i{wrap - 2}"]
    assert reorder.drain() == (Lost("inbound", wrap - 1), "i0", "i1")
    assert push_all(reorder, [("inbound", 2)]) == ["i2"]
    assert push_all(reorder, [("inbound", wrap - 1)]) == []
    assert (reorder.late, reorder.restarts) == (1, 0)


def test_chunks_without_a_number_are_delivered_at_once() -> None:
    """A message without a chunk number waits for nothing and disturbs nothing."""
    reorder: Reorder[str] = Reorder()
    assert reorder.push("inbound", None, "a", 0.0) == ("a",)
    push_all(reorder, [("inbound", 1), ("inbound", 3)])
    assert reorder.push("inbound", None, "b", 0.0) == ("b",)
    assert push_all(reorder, [("inbound", 2)]) == ["i2", "i3"]
    assert reorder.received == reorder.delivered == 5


def test_a_long_lossy_stream_forgets_old_losses() -> None:
    """Memory of what was lost stays bounded; old numbers then count as duplicates."""
    reorder: Reorder[str] = Reorder(0.0)
    push_all(reorder, [("inbound", 2 * n) for n in range(5 * MAX_JUMP)])
    assert reorder.missing == 5 * MAX_JUMP - 1
    newest = 2 * (5 * MAX_JUMP - 1)
    push_all(reorder, [("inbound", newest - 1)])
    assert reorder.late == 1


def test_arrival_ignores_the_numbers() -> None:
    """Each chunk is given out as it comes, whatever its number, and nothing waits."""
    reorder: Reorder[str] = Reorder(0.06, "arrival")
    chunks: list[tuple[Track, int]] = [("inbound", n) for n in (5, 5, 9, 1, 2)]
    assert [reorder.pass_on(track, n) for track, n in chunks] == [True] * 5
    assert push_all(reorder, chunks) == ["i5", "i5", "i9", "i1", "i2"]
    assert (reorder.received, reorder.delivered, reorder.next_at) == (10, 10, None)


def test_numbers_can_be_ignored_from_a_moment_on() -> None:
    """What was held is given out in order, nothing as lost; then all goes as it comes."""
    reorder: Reorder[str] = Reorder(0.06, "per_track")
    push_all(reorder, [("inbound", 1), ("inbound", 9), ("inbound", 4), ("outbound", 1)])
    push_all(reorder, [("outbound", 3)])
    assert reorder.ignore_numbers() == ("i4", "i9", "o3")
    assert reorder.next_at is None
    assert push_all(reorder, [("inbound", 4), ("inbound", 4)]) == ["i4", "i4"]
    assert (reorder.missing, reorder.late, reorder.duplicate) == (0, 0, 0)
    assert reorder.received == reorder.delivered == 7


def test_the_wait_follows_what_late_chunks_need() -> None:
    """After one chunk too late by 50 ms the next like it is waited for; then less again."""
    reorder: Reorder[str] = Reorder(0.06, follows=True)
    push_all(reorder, [("inbound", 1)])
    push_all(reorder, [("inbound", 3)], 1.0)
    assert reorder.poll(1.06) == (Lost("inbound", 2), "i3")
    push_all(reorder, [("inbound", 2)], 1.11)
    assert reorder.wait_s == pytest.approx(0.13, abs=0.001)
    push_all(reorder, [("inbound", 5)], 2.0)
    assert reorder.next_at == pytest.approx(2.0 + reorder.wait_s)
    assert push_all(reorder, [("inbound", 4)], 2.11) == ["i4", "i5"]
    assert reorder.late == 1
    push_all(reorder, [("inbound", 7)], 40.0)
    assert reorder.next_at is not None
    reorder.poll(reorder.next_at)
    assert reorder.wait_s == pytest.approx(0.04, abs=0.01)


def test_a_chunk_in_a_later_gap_says_what_its_own_gap_needed() -> None:
    """Two gaps: what fills the second is measured from the first chunk behind that one."""
    reorder: Reorder[str] = Reorder(0.06, follows=True)
    push_all(reorder, [("inbound", 1)])
    push_all(reorder, [("inbound", 3)], 1.0)
    push_all(reorder, [("inbound", 5)], 1.05)
    push_all(reorder, [("inbound", 4)], 1.055)
    assert reorder.wait_s == 0.06


@settings(max_examples=500, deadline=None)
@given(arrivals(), st.sampled_from([0.0, 0.06, 0.5]))
def test_every_chunk_is_accounted_for_while_the_wait_follows(
    numbered: list[tuple[int, float]], start_s: float
) -> None:
    """A wait that moves changes when gaps are given up, not what becomes of a chunk."""
    events = [Event("inbound", n, serial, at) for serial, (n, at) in enumerate(numbered)]
    reorder: Reorder[int] = Reorder(start_s, "per_track", follows=True)
    given_out = [item for item in drive(reorder, events) if isinstance(item, int)]
    assert len(set(given_out)) == len(given_out) == reorder.delivered
    assert reorder.received == reorder.delivered + reorder.late + reorder.duplicate
    assert reorder.next_at is None
    assert min(0.04, start_s) <= reorder.wait_s <= max(0.2, start_s)
