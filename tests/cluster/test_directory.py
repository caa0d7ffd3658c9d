from __future__ import annotations

from typing import Any

import msgspec

from mediaserver.cluster.directory import COMING_S, MOVING, OVER_S, SUSPECTED_AFTER_S, Directory
from mediaserver.cluster.messages import Asked, Drain, Held, Node, Reply, Report, Take, Tried
from mediaserver.observer import StreamRequest

REQUEST = StreamRequest("PCMU", 8000, "rtp")


def node(name: str, **more: Any) -> Node:
    return Node(name=name, public_url=f"https://{name}.example.com", **{"capacity": 10, **more})


def held(epoch: int, *, is_lost: bool = False) -> Held:
    return Held(epoch, REQUEST, is_lost)


class Rig:
    """A directory, and nodes that report to it at a time that is told."""

    def __init__(self, *names: str, **more: Any) -> None:
        self.directory = Directory()
        self.now = 1000.0
        for name in names:
            self.full(name, **more)

    def full(self, name: str, calls: dict[str, Held] | None = None, **more: Any) -> Reply:
        return self.say(name, is_full=True, held=calls or {}, **more)

    def say(
        self, name: str, *, node_of: Node | None = None, instance: str = "", **more: Any
    ) -> Reply:
        own = node_of or node(name)
        if instance:
            own = msgspec.structs.replace(own, instance=instance)
        return self.directory.report(Report(node=own, **more), self.now)

    def after(self, s: float, *alive: str, refuses: str = "") -> dict[str, list[Take]]:
        """Time goes by; those alive report all the while. What each is told to take."""
        took: dict[str, list[Take]] = {name: [] for name in alive}
        ends_at = self.now + s
        while self.now < ends_at:
            self.now = min(ends_at, self.now + 0.1)
            self.directory.tick(self.now)
            for silent in self.directory.to_probe(self.now):
                said = "refused" if silent.name == refuses else "silent"
                self.directory.probed(silent.name, said, self.now)  # type: ignore[arg-type]  # one of both
            for name in alive:
                took[name] += self.say(name).take
        return took

    def owner(self, call: str) -> str | None:
        return self.directory.owner(call)


def test_call_report_for_each_report_and_tick_often() -> None:
    """A node that is new reports all; then only what has changed."""
    rig = Rig()
    assert rig.say("a").again
    assert not rig.full("a", {"x": held(1)}).again
    assert (rig.owner("x"), rig.owner("y")) == ("a", None)
    rig.say("a", held={"y": held(1)}, closed=("x",))
    assert (rig.owner("x"), rig.owner("y")) == (None, "a")
    assert rig.directory.calls() == {"y": ("a", 1)}


def test_a_new_directory_knows_all_once_each_node_has_reported() -> None:
    """Its state is the nodes' truth, and nothing else."""
    rig = Rig("a", "b")
    rig.say("a", held={"x": held(3)})
    rig.say("b", held={"y": held(1)})
    former, rig.directory = rig.directory.calls(), Directory()
    assert rig.say("a").again
    assert rig.say("b").again
    rig.full("a", {"x": held(3)})
    rig.full("b", {"y": held(1)})
    assert rig.directory.calls() == former


def test_places_spread_before_calls_have_come() -> None:
    """A burst goes to all nodes; a call that is asked for again stays where it is."""
    rig = Rig("a", "b")
    placed = [rig.directory.place(Asked(call=f"call {n}"), rig.now) for n in range(6)]
    assert sorted(p.node for p in placed if p) == ["a", "a", "a", "b", "b", "b"]
    assert rig.directory.place(Asked(call="call 0"), rig.now) == placed[0]
    assert placed[0] is not None
    assert rig.owner("call 0") == placed[0].node
    rig.after(COMING_S + 1, "a", "b")
    assert rig.owner("call 0") is None


def test_without_a_node_there_is_no_place() -> None:
    assert Rig().directory.place(Asked(), 0.0) is None
    assert Rig("a", node_of=node("a", capacity=0)).directory.place(Asked(), 0.0) is None


def test_a_silent_node_is_suspected_then_dead_and_its_calls_move() -> None:
    """Each to another node, with a higher epoch, once."""
    rig = Rig("a", "b")
    rig.say("a", held={"x": held(1), "y": held(4)})
    took = rig.after(SUSPECTED_AFTER_S + 0.3, "b")["b"]
    assert [(t.call, t.epoch, t.request, t.planned) for t in took] == [
        ("x", 2, REQUEST, False),
        ("y", 5, REQUEST, False),
    ]
    assert [n.suspected for n in rig.directory.nodes(rig.now)] == [True, False]
    assert rig.owner("x") == MOVING
    rig.say("b", held={"x": held(2), "y": held(5)})
    assert rig.owner("x") == "b"
    assert (rig.directory.n_moving, rig.directory.counts["moved"]) == (0, 2)
    assert rig.after(5.0, "b")["b"] == []


def test_while_nobody_can_take_a_call_it_is_known_to_move() -> None:
    """So that what comes for it meanwhile is kept, and not given to whoever has it not."""
    rig = Rig("a")
    rig.say("a", held={"x": held(1)})
    rig.after(SUSPECTED_AFTER_S + 0.3)
    assert rig.owner("x") == MOVING
    took = [take.call for take in rig.full("b").take]
    took += [take.call for take in rig.after(2.0, "b")["b"]]
    assert took == ["x"]
    rig.say("b", held={"x": held(2)})
    assert (rig.owner("x"), rig.owner("y")) == ("b", None)


def test_a_node_that_was_told_to_take_a_call_does_not_have_it_yet() -> None:
    """Where its stream is refused, another node may get it: nothing may be sent to the first."""
    rig = Rig("a", "b", "c")
    rig.say("a", held={"x": held(1)})
    took = rig.after(SUSPECTED_AFTER_S + 0.3, "b", "c")
    (first,) = [name for name, taken in took.items() if taken]
    rig.say(first, tried=(Tried("x", 2, "in_use"),))
    assert rig.owner("x") == MOVING
    (other,) = {"b", "c"} - {first}
    again = rig.after(1.0, other, refuses=first)
    (take,) = again[other]
    assert rig.owner("x") == MOVING
    rig.say(other, held={"x": held(take.epoch)})
    assert rig.owner("x") == other


def test_where_nobody_listens_any_more_the_node_is_dead_at_once() -> None:
    rig = Rig("a", "b")
    rig.say("a", held={"x": held(1)})
    assert rig.after(1.0, "b", refuses="a")["b"]


def test_a_media_server_that_answers_keeps_its_calls() -> None:
    """It is suspected, so it gets no new ones: only its agent, or Ray, is gone."""
    rig = Rig("a", "b")
    rig.say("a", held={"x": held(1)})
    for _ in range(40):
        rig.now += 0.1
        rig.directory.probed("a", "answers", rig.now)
        assert rig.say("b").take == ()
    assert rig.owner("x") == "a"
    assert [n.suspected for n in rig.directory.nodes(rig.now)] == [True, False]
    assert rig.directory.place(Asked(call="new"), rig.now).node == "b"  # type: ignore[union-attr]  # there is b
    rig.say("a")
    assert rig.directory.counts["dead"] == 0


def test_what_ray_misses_is_suspected_and_probed_at_once() -> None:
    """It is dead where nobody listens; where its media server answers, it is only suspected."""
    rig = Rig("a", "b")
    rig.say("a", held={"x": held(1)})
    rig.directory.present(["b"])
    assert [n.suspected for n in rig.directory.nodes(rig.now)] == [True, False]
    assert [n.name for n in rig.directory.to_probe(rig.now)] == ["a"]
    rig.directory.probed("a", "answers", rig.now)
    assert rig.owner("x") == "a"
    rig.directory.present(["a", "b"])
    assert not any(n.suspected for n in rig.directory.nodes(rig.now))
    rig.directory.present(["b"])
    rig.directory.probed("a", "refused", rig.now)
    assert rig.directory.counts["dead"] == 1


def test_probes_of_unknown_or_lively_nodes_mean_nothing() -> None:
    rig = Rig("a")
    rig.directory.probed("a", "refused", rig.now)
    rig.directory.probed("nobody", "refused", rig.now)
    assert rig.directory.counts["dead"] == 0


def test_one_that_was_thought_dead_lets_go_of_what_lives_elsewhere() -> None:
    """It is asked for all it has; what nobody else has stays there."""
    rig = Rig("a", "b")
    rig.say("a", held={"x": held(1), "y": held(1)})
    rig.after(2.0, "b")
    rig.say("b", held={"x": held(2)}, tried=(Tried("y", 2, "in_use"),))
    assert rig.say("a").again
    assert rig.full("a", {"x": held(1), "y": held(1)}).let_go == ("x",)
    assert rig.directory.calls() == {"x": ("b", 2), "y": ("a", 2)}
    assert rig.after(2.0, "a", "b") == {"a": [], "b": []}
    assert rig.directory.n_moving == 0


def test_the_higher_epoch_wins_whoever_reports_first() -> None:
    rig = Rig("a", "b")
    rig.say("a", held={"x": held(2)})
    assert rig.say("b", held={"x": held(1)}).let_go == ("x",)
    rig.say("b", held={"y": held(1)})
    rig.say("a", held={"y": held(2)})
    assert rig.say("b").let_go == ("y",)
    # Of the same epoch: the last one has the socket.
    rig.say("b", held={"x": held(2)})
    assert rig.say("a").let_go == ("x",)
    assert rig.directory.calls() == {"x": ("b", 2), "y": ("a", 2)}


def test_a_broken_stream_goes_back_to_its_session() -> None:
    """Telnyx says that it failed; the node still has the call."""
    rig = Rig("a", "b")
    rig.say("a", held={"x": held(1)})
    rig.say("b", broken=("x",))
    rig.say("a", held={"x": held(1, is_lost=True)})
    took = rig.after(0.5, "a", "b")
    assert ([t.epoch for t in took["a"]], took["b"]) == ([2], [])


def test_a_stream_that_is_there_after_all_is_left() -> None:
    """The report that it failed was of an earlier one."""
    rig = Rig("a", "b")
    rig.say("a", held={"x": held(1)})
    rig.say("b", broken=("x",))
    assert rig.after(1.0, "a", "b") == {"a": [], "b": []}


def test_a_broken_stream_of_a_call_that_nobody_knows_is_moved() -> None:
    """As behind a restart of the directory in which its node died."""
    rig = Rig("a")
    (take,) = rig.say("a", broken=("x",)).take
    assert (take.call, take.request) == ("x", None)


def test_a_phone_call_that_is_over_is_not_moved() -> None:
    rig = Rig("a", "b")
    rig.say("a", held={"x": held(1)})
    rig.say("b", over=("x",))
    rig.say("b", broken=("x",))
    assert rig.after(3.0, "b")["b"] == []
    rig.after(OVER_S, "b")
    assert rig.directory.n_moving == 0


def test_stopped_counts_only_where_the_node_is_gone() -> None:
    rig = Rig("a", "b")
    rig.say("a", held={"x": held(1)})
    rig.say("b", stopped=("x", "unknown"))
    assert rig.after(1.0, "a", "b") == {"a": [], "b": []}
    rig.after(0.7, "b")
    rig.say("b", stopped=("x",))
    assert [t.call for t in rig.after(0.75, "b")["b"]] == ["x"]


def test_a_failed_stream_moves_before_its_node_is_suspected() -> None:
    """Telnyx says that it failed, and nothing more is heard of the node."""
    rig = Rig("a", "b")
    rig.say("a", held={"x": held(1)})
    rig.say("b", broken=("x",))
    assert [t.call for t in rig.after(0.8, "b")["b"]] == ["x"]


def test_a_media_server_that_began_anew_has_lost_its_calls() -> None:
    rig = Rig("a")
    rig.say("a", held={"x": held(1)})
    assert rig.say("a", instance="second").again
    (take,) = rig.full("a", instance="second").take
    assert (take.call, take.epoch) == ("x", 2)


def test_a_full_report_forgets_what_has_ended_unheard() -> None:
    rig = Rig("a")
    rig.say("a", held={"x": held(1)})
    rig.full("a", {"y": held(1)})
    assert rig.directory.calls() == {"y": ("a", 1)}


def test_a_drained_node_gets_no_calls_and_keeps_what_it_has() -> None:
    """Until the deadline, where there is one: then they are moved, and may be stopped for it."""
    rig = Rig("a", "b")
    rig.say("a", held={"x": held(1)})
    assert rig.directory.drain("a", Drain(True, rig.now + 5.0))
    assert not rig.directory.drain("nobody", Drain(True))
    reply = rig.say("a")
    assert reply.drain == Drain(True, rig.now + 5.0)
    draining = node("a", draining=True, move_at=rig.now + 5.0)
    rig.say("a", node_of=draining)
    assert rig.directory.place(Asked(call="n"), rig.now).node == "b"  # type: ignore[union-attr]  # there is b
    took = []
    for _ in range(60):
        rig.now += 0.1
        rig.say("a", node_of=draining)
        took += [(rig.now, t) for t in rig.say("b").take]
    ((at, take),) = took[:1]
    assert at >= 1005.0
    assert (take.call, take.planned) == ("x", True)
    rig.say("b", held={"x": held(take.epoch)})
    assert rig.say("a", node_of=draining).let_go == ("x",)
    rig.say("a", node_of=draining, closed=("x",))
    assert rig.directory.calls() == {"x": ("b", take.epoch)}


def test_an_order_to_drain_holds_before_the_node_has_heard_of_it() -> None:
    """And is given again until the node says that it drains."""
    rig = Rig("a", "b")
    rig.directory.drain("a", Drain(True))
    for _ in range(2):
        assert rig.say("a").drain == Drain(True)
        assert [n.draining for n in rig.directory.nodes(rig.now)] == [True, False]
    assert rig.say("a", node_of=node("a", draining=True)).drain is None
    rig.directory.drain("a", Drain(False))
    assert rig.say("a", node_of=node("a", draining=True)).drain == Drain(False)
    assert [n.draining for n in rig.directory.nodes(rig.now)] == [False, False]


def test_a_call_that_ended_for_a_move_is_known_until_it_is_there() -> None:
    rig = Rig("a", "b")
    rig.say("a", held={"x": held(1)}, node_of=node("a", draining=True, move_at=0.0))
    (take,) = rig.say("b").take
    assert rig.owner("x") == "a"
    rig.say("a", closed=("x",))
    assert rig.owner("x") == MOVING
    rig.say("b", held={"x": held(take.epoch)})
    assert rig.directory.calls() == {"x": ("b", 2)}


def test_if_nobody_can_take_a_call_it_waits() -> None:
    rig = Rig("a")
    rig.say("a", held={"x": held(1)})
    rig.after(3.0)
    assert rig.directory.n_moving == 1
    rig.full("b")
    assert [t.call for t in rig.after(0.75, "b")["b"]] == ["x"]


def test_a_target_that_dies_is_not_waited_for() -> None:
    rig = Rig("a", "b", "c")
    rig.say("a", held={"x": held(1)})
    took = rig.after(2.0, "b", "c")
    (first,) = [name for name, takes in took.items() if takes]
    (other,) = {"b", "c"} - {first}
    assert [t.epoch for t in rig.after(2.0, other)[other]] == [3]


def test_messages_survive_their_way() -> None:
    """Equal on the other side."""
    report = Report(node=node("a"), held={"x": held(1)})
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(report), type=Report) == report
