"""Where a new call goes, and how many nodes are wanted: pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from mediaserver.cluster.messages import Asked, Node


def choose(
    nodes: Iterable[Node],
    asked: Asked,
    coming: Mapping[str, int] | None = None,
    avoid: str = "",
) -> Node | None:
    """The node for a call; None: none can take it.

    Never one that drains, is suspected or is full. Of the others those in the zone asked for
    come first, then those with most of the labels, then the one with the lowest load.

    Args:
        nodes: all known nodes.
        asked: the zone and the labels that the call should have.
        coming: calls that were placed but have not arrived yet, by node.
        avoid: a node that is taken only if there is no other.
    """
    coming = coming or {}

    def load(node: Node) -> float:
        return (node.n_calls + coming.get(node.name, 0)) / node.capacity

    def rank(node: Node) -> tuple[bool, bool, int, float, str]:
        is_elsewhere = bool(asked.zone) and node.zone != asked.zone
        n_missing = len(set(asked.labels) - set(node.labels))
        return node.name == avoid, is_elsewhere, n_missing, load(node), node.name

    able = (n for n in nodes if not (n.draining or n.suspected) and n.capacity > 0)
    return min((node for node in able if load(node) < 1), key=rank, default=None)


def wanted_nodes(n_calls: int, buffer: int, calls_per_node: int) -> int:
    """How many nodes these calls need, with room for ``buffer`` more.

    Raises:
        ValueError: a node that carries no calls.
    """
    if calls_per_node < 1:
        raise ValueError("calls_per_node must be at least 1")
    return math.ceil((n_calls + buffer) / calls_per_node)
