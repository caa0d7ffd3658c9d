from __future__ import annotations

import pytest

from mediaserver.cluster.messages import Asked, Node
from mediaserver.cluster.placement import choose, wanted_nodes


def node(name: str, n_calls: int = 0, capacity: int = 10, **more: object) -> Node:
    return Node(
        name=name,
        public_url=f"https://{name}.example.com",
        capacity=capacity,
        n_calls=n_calls,
        **more,  # type: ignore[arg-type]  # fields of Node, by name
    )


def chosen(*nodes: Node, asked: Asked | None = None, **more: object) -> str | None:
    found = choose(nodes, asked or Asked(), **more)  # type: ignore[arg-type]  # as above
    return None if found is None else found.name


def test_the_fewest_calls_for_the_capacity_win() -> None:
    """It is the share that counts, and calls on their way count as well."""
    assert chosen(node("a", 3), node("b", 2)) == "b"
    assert chosen(node("a", 3, capacity=100), node("b", 2)) == "a"
    assert chosen(node("a", 2), node("b", 2), coming={"a": 1}) == "b"


def test_nodes_that_drain_are_suspected_or_full_get_none() -> None:
    """None where nobody is left."""
    assert chosen(node("a", draining=True), node("b", 9)) == "b"
    assert chosen(node("a", suspected=True), node("b", 9)) == "b"
    assert chosen(node("a", 10), node("b", 9), coming={"b": 1}) is None
    assert chosen(node("a", capacity=0)) is None
    assert chosen() is None


def test_zones_and_labels_are_preferences() -> None:
    """They come before the load; where they cannot be had, the call is placed all the same."""
    near, far = node("near", 8, zone="eu", labels=("gpu",)), node("far", 0, zone="us")
    assert chosen(near, far, asked=Asked(zone="eu")) == "near"
    assert chosen(near, far, asked=Asked(labels=("gpu",))) == "near"
    assert chosen(near, far, asked=Asked(zone="asia", labels=("tpu",))) == "far"
    assert chosen(node("near", 10, zone="eu"), far, asked=Asked(zone="eu")) == "far"


def test_a_node_to_avoid_is_taken_only_alone() -> None:
    assert chosen(node("a"), node("b", 9), avoid="a") == "b"
    assert chosen(node("a"), node("b", 10), avoid="a") == "a"


@pytest.mark.parametrize(
    ("n_calls", "buffer", "per_node", "wanted"),
    [(0, 0, 50, 0), (1, 0, 50, 1), (50, 0, 50, 1), (50, 1, 50, 2), (120, 30, 50, 3)],
)
def test_nodes_wanted(n_calls: int, buffer: int, per_node: int, wanted: int) -> None:
    """ceil((calls + buffer) / calls per node)."""
    assert wanted_nodes(n_calls, buffer, per_node) == wanted


def test_a_node_must_carry_calls() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        wanted_nodes(1, 0, 0)
