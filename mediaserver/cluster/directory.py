"""Which node has which call: pure, rebuilt from what nodes report; ``now`` is unix seconds.

The nodes know best which calls are live. The directory only remembers their reports, so a new one
knows everything as soon as each node has reported once.

Rules of a call, by who reports it:

    a node reports it with            the directory
    the highest epoch so far          takes it as the owner; any other node must let go
    a lower epoch                     tells that node to let go, if another node has the call
    the same epoch, from elsewhere    takes it as the owner: the last to report has the socket

Rules of a node:

    no report for                     it is
    0.75 s                            to be probed: does its media server answer?
    0.75 s, and the probe is refused  dead
    1.5 s                             suspected: no new calls; also if Ray says it is gone
    1.5 s, and no probe answered      dead: its calls are moved
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from mediaserver.cluster.messages import (
    Asked,
    Drain,
    Held,
    Node,
    Placement,
    Reply,
    Report,
    Take,
)
from mediaserver.cluster.moves import Move, Moves
from mediaserver.cluster.placement import choose

PROBE_AFTER_S = 0.75
PROBE_EVERY_S = 0.4
SUSPECTED_AFTER_S = 1.5
# Beats come every 0.2 s.
SPEAKS_S = 0.6
LOOK_S = 0.1
# So long a place is kept for a call that was placed.
COMING_S = 15.0
# In the place of an owner: the call is on its way to another node. No node has this name.
MOVING = "*"
# So long an ended phone call is known to be over, against webhooks that come late.
OVER_S = 120.0
# `streaming.stopped` and `call.hangup` come together: so long the second is waited for.
STOPPED_S = 0.4

ProbeResult = Literal["answers", "silent", "refused"]


@dataclass
class _Node:
    """A node, and what it is to be told."""

    info: Node
    heard_at: float
    answered_at: float = float("-inf")
    probed_at: float = float("-inf")
    is_dead: bool = False
    is_absent: bool = False
    take: list[Take] = field(default_factory=list)
    let_go: list[str] = field(default_factory=list)
    drain: Drain | None = None


@dataclass
class _Known:
    """A call: its highest epoch so far, and its owner; empty while it is being moved."""

    epoch: int
    owner: str = ""
    held: Held | None = None


class Directory:
    """Places calls, and has them moved. **Call ``report`` for each report, ``tick`` often.**

    Args:
        moves: the rate of moves.

    Attributes:
        counts: what happened how often: ``placed``, ``moved``, ``let_go``, ``dead``.
    """

    def __init__(self, moves: Moves | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self._moves = moves or Moves()
        self._nodes: dict[str, _Node] = {}
        self._calls: dict[str, _Known] = {}
        self._coming: dict[str, tuple[Placement, float]] = {}
        self._over: dict[str, float] = {}

    # What is asked.

    def nodes(self, now: float) -> tuple[Node, ...]:
        """All nodes that are known, as placing sees them."""
        n_calls = Counter(known.owner for known in self._calls.values())
        return tuple(
            msgspec.structs.replace(
                node.info,
                n_calls=n_calls[name],
                suspected=self._is_suspected(node, now),
            )
            for name, node in sorted(self._nodes.items())
        )

    def owner(self, call: str) -> str | None:
        """The node that has a call, or where it was placed; ``MOVING``; None: nobody does.

        A node that was told to take a call does not have it yet: another one may get it after all.
        """
        known = self._calls.get(call)
        if known is not None and known.owner:
            return known.owner
        if self._moves.get(call) is not None:
            return MOVING
        coming = self._coming.get(call)
        return None if coming is None else coming[0].node

    def calls(self) -> dict[str, tuple[str, int]]:
        """Node and epoch of each call that is held."""
        return {c: (k.owner, k.epoch) for c, k in sorted(self._calls.items()) if k.owner}

    @property
    def n_moving(self) -> int:
        """Calls that are to stream elsewhere."""
        return len(self._moves)

    def place(self, asked: Asked, now: float) -> Placement | None:
        """Where a new call goes; None: no node can take it. A call asked for again stays."""
        if asked.call in self._coming:
            return self._coming[asked.call][0]
        node = choose(self.nodes(now), asked, self._n_coming())
        if node is None:
            return None
        known = self._calls.get(asked.call)
        epoch = 1 if known is None else known.epoch + 1
        if known is not None:
            known.epoch = epoch
        placement = Placement(asked.call, node.name, node.public_url, epoch)
        self._coming[asked.call or f"to be dialled, {now}"] = placement, now
        self.counts["placed"] += 1
        return placement

    def drain(self, name: str, drain: Drain) -> bool:
        """Have a node drain, or take calls again; False: there is no such node."""
        node = self._nodes.get(name)
        if node is not None:
            node.drain = drain
            self._settle_drain(node)
        return node is not None

    def _settle_drain(self, node: _Node) -> None:
        """An order holds at once, and is given until the node reports that it does so."""
        order = node.drain
        if order is None:
            return
        if (node.info.draining, node.info.move_at) == (order.on, order.move_at):
            node.drain = None
        node.info = msgspec.structs.replace(node.info, draining=order.on, move_at=order.move_at)

    # What nodes say.

    def report(self, report: Report, now: float) -> Reply:
        """Take a report; the answer holds what the node is to do."""
        name = report.node.name
        node = self._nodes.get(name)
        is_known = (
            node is not None and node.info.instance == report.node.instance and not node.is_dead
        )
        if not is_known and not report.is_full:  # of one thought dead, calls may live elsewhere
            return Reply(again=True)
        if node is None or report.is_full:
            node = self._begin(node, report, now)
        node.info, node.heard_at, node.is_dead = report.node, now, False
        self._settle_drain(node)
        for call, held in report.held.items():
            self._hold(name, call, held)
        self._ends(name, report, now)
        self.tick(now)
        return self._reply(node, now)

    def _begin(self, former: _Node | None, report: Report, now: float) -> _Node:
        """A node reports for the first time, or all it has."""
        name = report.node.name
        is_new = former is None or former.info.instance != report.node.instance
        gone = [c for c in self._of(name) if c not in report.held]
        for call in gone:
            if is_new:  # its media server has died, and another one began
                self._orphan(call, now)
            else:
                self._close(name, call)
        if former is not None and not is_new:
            return former
        node = self._nodes[name] = _Node(report.node, now)
        return node

    def _hold(self, name: str, call: str, held: Held) -> None:
        known = self._calls.setdefault(call, _Known(held.epoch))
        if held.epoch < known.epoch and (known.owner or self._moves.get(call)):
            if known.owner == name or not known.owner:  # it is there still, until it is moved
                known.owner, known.held = name, held
                return
            self._tell_let_go(name, call)
            return
        if known.owner not in ("", name):
            self._tell_let_go(known.owner, call)
        known.epoch = max(known.epoch, held.epoch)
        known.owner, known.held = name, held
        self._coming.pop(call, None)
        move = self._moves.get(call)
        if move is not None and not held.is_lost and (not move.planned or move.target == name):
            self._moves.done(call)
            self.counts["moved"] += 1

    def _tell_let_go(self, name: str, call: str) -> None:
        node = self._nodes.get(name)
        if node is not None and not node.is_dead and call not in node.let_go:
            node.let_go.append(call)
            self.counts["let_go"] += 1

    def _ends(self, name: str, report: Report, now: float) -> None:
        for call in report.over:
            self._over[call] = now
            self._calls.pop(call, None)
            self._coming.pop(call, None)
            self._moves.done(call)
        for tried in report.tried:
            known = self._calls.get(tried.call)
            if known is not None and known.epoch == tried.epoch:
                self._moves.tried(tried.call, tried.outcome, now)
        for call in report.closed:
            self._close(name, call)
        for call in report.broken:
            self._break(call, now)
        for call in report.stopped:
            known = self._calls.get(call)
            if known is not None and not self._speaks(known.owner, now):
                self._moves.add(call, now, in_s=STOPPED_S)

    def _close(self, name: str, call: str) -> None:
        known = self._calls.get(call)
        if known is None or known.owner != name:
            return
        if self._moves.get(call) is None:
            del self._calls[call]
        else:
            known.owner = ""

    def _break(self, call: str, now: float) -> None:
        """A stream broke: a moment later somebody must have it, or it is moved."""
        if call in self._over:
            return
        self._coming.pop(call, None)
        known = self._calls.setdefault(call, _Known(1))
        self._moves.add(call, now, in_s=LOOK_S if known.owner else 0.0)

    def _orphan(self, call: str, now: float) -> None:
        self._calls[call].owner = ""
        self._moves.add(call, now)

    # Time.

    def present(self, names: Collection[str]) -> None:
        """Ray says that these nodes are there, and no others."""
        for name, node in self._nodes.items():
            node.is_absent = name not in names

    def _is_suspected(self, node: _Node, now: float) -> bool:
        return node.is_dead or node.is_absent or now - node.heard_at > SUSPECTED_AFTER_S

    def to_probe(self, now: float) -> list[Node]:
        """Nodes of which nothing is heard: ask their media servers, and tell ``probed``."""
        found = []
        for node in self._nodes.values():
            is_silent = node.is_absent or now - node.heard_at > PROBE_AFTER_S
            if is_silent and not node.is_dead and now - node.probed_at > PROBE_EVERY_S:
                node.probed_at = now
                found.append(node.info)
        return found

    def probed(self, name: str, result: ProbeResult, now: float) -> None:
        """What the media server of a silent node said."""
        node = self._nodes.get(name)
        if node is None or not (node.is_absent or now - node.heard_at > PROBE_AFTER_S):
            return
        if result == "answers":
            node.answered_at = now
        elif result == "refused":
            self._died(name, node, now)

    def tick(self, now: float) -> None:
        """Look at who is silent, and at what is due."""
        for name, node in self._nodes.items():
            last = max(node.heard_at, node.answered_at)
            if not node.is_dead and now - last > SUSPECTED_AFTER_S:
                self._died(name, node, now)
        self._coming = {c: kept for c, kept in self._coming.items() if now - kept[1] < COMING_S}
        self._over = {call: at for call, at in self._over.items() if now - at < OVER_S}
        for name, node in self._nodes.items():
            if node.info.move_at is not None and now >= node.info.move_at and not node.is_dead:
                for call in self._of(name):
                    if self._moves.get(call) is None:
                        self._moves.add(call, now, planned=True)
        for move in self._moves.due(now):
            self._follow(move, now)

    def _died(self, name: str, node: _Node, now: float) -> None:
        node.is_dead = True
        node.take.clear()
        self.counts["dead"] += 1
        for call in self._of(name):
            self._orphan(call, now)
        self._moves.target_gone(name, now)

    def _follow(self, move: Move, now: float) -> None:
        known = self._calls.get(move.call)
        if known is None:
            self._moves.done(move.call)
            return
        held = known.held
        owner = self._nodes.get(known.owner)
        if owner is not None and held is not None and not held.is_lost and not move.planned:
            if owner.heard_at > move.since:
                self._moves.done(move.call)
                return
            if now - move.since < SPEAKS_S:  # it may be dead, or have not said yet what it knows
                self._moves.put_off(move, now, LOOK_S)
                return
        target = self._target(move, known, now)
        if target is None:
            self._moves.put_off(move, now)
            return
        known.epoch += 1
        request, snapshot = (None, "") if held is None else (held.request, held.snapshot)
        self._nodes[target].take.append(
            Take(
                call=move.call,
                epoch=known.epoch,
                request=request,
                planned=move.planned,
                snapshot=snapshot,
            )
        )
        self._moves.take(move, target, now)

    def _target(self, move: Move, known: _Known, now: float) -> str | None:
        """Where the call goes: back to its session if that lives, else to whom it suits."""
        if self._speaks(known.owner, now) and not self._nodes[known.owner].info.draining:
            return None if move.planned else known.owner
        node = choose(self.nodes(now), Asked(call=move.call), self._n_coming(), known.owner)
        return None if node is None or node.name == known.owner else node.name

    def _speaks(self, name: str, now: float) -> bool:
        node = self._nodes.get(name)
        return node is not None and not node.is_dead and now - node.heard_at <= SPEAKS_S

    def _of(self, name: str) -> list[str]:
        return [call for call, known in self._calls.items() if known.owner == name]

    def _n_coming(self) -> Counter[str]:
        coming = Counter(placement.node for placement, _ in self._coming.values())
        return coming + Counter(self._targets())

    def _targets(self) -> Iterator[str]:
        return (move.target for move in self._moves if move.target)

    def _reply(self, node: _Node, now: float) -> Reply:
        take, node.take = tuple(node.take), []
        let_go, node.let_go = tuple(node.let_go), []
        return Reply(nodes=self.nodes(now), take=take, let_go=let_go, drain=node.drain)
