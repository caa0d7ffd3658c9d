from __future__ import annotations

from mediaserver.cluster.moves import Moves, command_id


def due(moves: Moves, now: float) -> list[str]:
    return [move.call for move in moves.due(now)]


def test_call_add_then_go_through_due_and_call_take() -> None:
    """What was taken is due again only if nobody has the call by then."""
    moves = Moves(within_s=3.0)
    moves.add("x", 10.0)
    assert due(moves, 9.9) == []
    (move,) = moves.due(10.0)
    moves.take(move, "b", 10.0)
    moves.add("x", 10.1)  # reported broken once more: it is under way
    assert due(moves, 12.9) == []
    assert due(moves, 13.0) == ["x"]
    moves.done("x")
    assert (len(moves), due(moves, 99.0)) == (0, [])


def test_moves_are_begun_at_a_bounded_rate() -> None:
    """The longest due come first."""
    moves = Moves(per_s=2.0, burst=2.0)
    for n in range(5):
        moves.add(f"call {n}", 0.0, in_s=0.1 * n)
    taken = []
    for now in (1.0, 1.1, 1.5, 2.0, 3.0):
        for move in moves.due(now):
            moves.take(move, "b", now)
            taken.append((now, move.call))
    assert taken == [
        (1.0, "call 0"),
        (1.0, "call 1"),
        (1.5, "call 2"),
        (2.0, "call 3"),
        (3.0, "call 4"),
    ]


def test_a_call_that_still_streams_is_left_and_looked_at_again() -> None:
    moves = Moves(look_s=0.4)
    moves.add("x", 0.0)
    (move,) = moves.due(0.0)
    moves.take(move, "b", 0.0)
    moves.tried("x", "in_use", 1.0)
    assert due(moves, 1.3) == []
    assert due(moves, 1.4) == ["x"]
    assert move.target == ""


def test_a_call_that_is_over_is_not_moved() -> None:
    moves = Moves()
    moves.add("x", 0.0)
    moves.tried("x", "over", 0.0)
    moves.tried("unknown", "over", 0.0)
    assert len(moves) == 0


def test_failures_make_it_wait_longer_and_then_it_is_given_up() -> None:
    moves = Moves(look_s=1.0, max_tries=3, per_s=1000.0)
    moves.add("x", 0.0)
    now, waits = 0.0, []
    while moves.get("x") is not None:
        (move,) = moves.due(now)
        moves.take(move, "b", now)
        moves.tried("x", "failed", now)
        waits.append(move.due_at - now)
        now = move.due_at
    assert waits == [1.0, 2.0, 3.0]


def test_a_target_that_is_gone_makes_its_moves_due() -> None:
    moves = Moves()
    moves.add("x", 0.0)
    (move,) = moves.due(0.0)
    moves.take(move, "b", 0.0)
    moves.target_gone("c", 0.1)
    assert due(moves, 0.2) == []
    moves.target_gone("b", 0.1)
    assert due(moves, 0.2) == ["x"]


def test_put_off_and_planned() -> None:
    """A planned move stays planned; one nobody can take waits a moment."""
    moves = Moves(look_s=0.4)
    moves.add("x", 0.0, planned=True)
    moves.add("x", -1.0)
    (move,) = list(moves)
    assert (move.planned, move.due_at) == (True, -1.0)
    moves.put_off(move, 1.0)
    assert due(moves, 1.3) == []


def test_a_command_has_one_id_whoever_gives_it() -> None:
    """Of call and epoch, and of nothing else."""
    assert command_id("v3:x", 2) == command_id("v3:x", 2)
    assert len({command_id("v3:x", 2), command_id("v3:x", 3), command_id("v3:y", 2)}) == 3
    assert command_id("v3:x", 2, "again") != command_id("v3:x", 2)
