"""What nodes and the directory say to each other."""

from __future__ import annotations

import msgspec

from mediaserver.observer import StreamRequest


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A node, as placing sees it.

    Attributes:
        name: of the node, unique in the cluster.
        public_url: how Telnyx reaches its media server, ``https://…``.
        capacity: calls it may have.
        n_calls: calls it has.
        draining: it gets no new calls.
        move_at: when the calls that it still has are moved, in unix seconds; None: they end by
            themselves.
        suspected: it has not reported for a while, or it is known to be gone.
        zone: where it is; calls that ask for this zone are placed there.
        labels: what it has, such as ``gpu``.
        instance: a new one each time its media server starts.
    """

    name: str
    public_url: str
    capacity: int
    n_calls: int = 0
    draining: bool = False
    move_at: float | None = None
    suspected: bool = False
    zone: str = ""
    labels: tuple[str, ...] = ()
    instance: str = ""


class Held(msgspec.Struct, frozen=True):
    """A call that a node has.

    Attributes:
        epoch: of the placement that brought it; 0: its token named none.
        request: the request that started its stream.
        is_lost: it has no socket at the moment.
        snapshot: what its processor keeps for the case that the call is moved.
    """

    epoch: int
    request: StreamRequest
    is_lost: bool = False
    snapshot: str = ""


class Tried(msgspec.Struct, frozen=True):
    """What became of a ``Take``: ``started``, ``in_use``, ``over`` or ``failed``."""

    call: str
    epoch: int
    outcome: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a node says of itself, several times a second.

    Attributes:
        node: itself.
        is_full: ``held`` are all its calls; else those that are new or have changed.
        held: calls by their id.
        closed: calls that have ended there.
        broken: calls whose stream broke, and that nobody stopped.
        stopped: calls whose stream Telnyx has stopped.
        over: phone calls that are over.
        tried: what became of orders.
    """

    node: Node
    is_full: bool = False
    held: dict[str, Held] = {}
    closed: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()
    over: tuple[str, ...] = ()
    tried: tuple[Tried, ...] = ()


class Take(msgspec.Struct, frozen=True, kw_only=True):
    """An order: have the stream of a call start at this node.

    Attributes:
        call: its id.
        epoch: for its token and its ``command_id``.
        request: as it was asked for before; None: not known.
        planned: the call streams, and may be stopped for this.
        snapshot: see ``Held``.
    """

    call: str
    epoch: int
    request: StreamRequest | None = None
    planned: bool = False
    snapshot: str = ""


class Drain(msgspec.Struct, frozen=True):
    """An order: take no new calls, or take them again; ``move_at`` as in ``Node``."""

    on: bool
    move_at: float | None = None


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The directory's answer to a report.

    Attributes:
        again: the next report must be full.
        nodes: all known nodes; None: no change.
        take: calls whose stream this node is to start.
        let_go: calls that another node has now.
        drain: whether to drain; None: no change.
    """

    again: bool = False
    nodes: tuple[Node, ...] | None = None
    take: tuple[Take, ...] = ()
    let_go: tuple[str, ...] = ()
    drain: Drain | None = None


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A call that wants a place.

    Attributes:
        call: its id; empty: it is to be dialled, and has none yet.
        zone: where it should be, if that can be had.
        labels: what its node should have, if that can be had.
    """

    call: str = ""
    zone: str = ""
    labels: tuple[str, ...] = ()


class Placement(msgspec.Struct, frozen=True):
    """Where a call goes.

    Attributes:
        call: its id, as it was asked.
        node: the name of the node.
        public_url: of that node.
        epoch: higher than that of each placement of this call before.
    """

    call: str
    node: str
    public_url: str
    epoch: int


class Forward(msgspec.Struct, frozen=True):
    """A webhook that has been verified, for whoever has its call."""

    call: str
    event_type: str
    event: bytes
