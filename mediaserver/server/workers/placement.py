"""Sockets on their way to workers, until one has taken them.

A silent worker cannot be told that a socket is no longer its own, and may go on at any time. So a
socket belongs to no worker until one asks for it, and only one of them is told yes. The states of
one socket:

    state    event                                            next
    sent     its worker asks for it                           taken: the worker's alone
    sent     its worker is suspected, another one is able,
             and nothing else of the call is there            sent to the other
    sent     its worker is gone                               waiting
    waiting  a worker is able                                 sent
    waiting  none is for ``PLACE_WITHIN_S``                   closed, with 1013
    any      the server ends                                  closed
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable
from time import monotonic

import msgspec
from websockets.frames import Close, Frame, Opcode

from mediaserver.logs import LimitedLog, shown
from mediaserver.server.workers.directory import Directory
from mediaserver.server.workers.messages import Claimed, HandOver
from mediaserver.server.workers.process import WorkerProcess, WorkerSupervisor

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

# Enough for a worker to be replaced; callers hear silence meanwhile.
PLACE_WITHIN_S = 10.0
_LATER = Frame(Opcode.CLOSE, Close(1013, "try again later").serialize()).serialize(mask=False)


class Parcel:
    """A call's socket that no worker has taken yet.

    Attributes:
        hand_over: the message that goes with it.
        fd: the socket.
        worker: who was sent it; None while it waits for one.
        since: when it began to wait, in monotonic seconds.
    """

    def __init__(self, hand_over: HandOver, fd: int, worker: WorkerProcess) -> None:
        self.hand_over = hand_over
        self.fd = fd
        self.worker: WorkerProcess | None = worker
        self.since: float = 0.0


class Placement:
    """Gives each socket to a worker; if that one does not take it, to another one.

    Args:
        workers: where they may go.
        directory: which worker has which call.
        count: told what is to be counted.
    """

    def __init__(
        self, workers: WorkerSupervisor, directory: Directory, count: Callable[[str], None]
    ) -> None:
        self.count = count
        self._workers = workers
        self._directory = directory
        self._numbers = itertools.count(1)
        self._parcels: dict[int, Parcel] = {}

    @property
    def n_waiting(self) -> int:
        """Sockets that no worker has or will have."""
        return sum(parcel.worker is None for parcel in self._parcels.values())

    def send(self, worker: WorkerProcess, hand_over: HandOver, fd: int) -> None:
        """Give a call's socket to a worker; the directory knows of it. ``fd`` is closed here."""
        self._send(Parcel(hand_over, fd, worker), worker)

    def claimed(self, worker: WorkerProcess, number: int) -> None:
        """A worker could go on with a socket: it is its own, if nobody else got it."""
        parcel = self._parcels.get(number)
        granted = parcel is not None and parcel.worker is worker
        if parcel is not None and granted:
            del self._parcels[number]
            os.close(parcel.fd)  # before it may close its own: that must end the connection
        worker.channel.send(Claimed(number, granted))

    def worker_gone(self, worker: WorkerProcess) -> Counter[str]:
        """A worker has ended: what it was sent waits now; how many sockets, by call."""
        sent = [parcel for parcel in self._parcels.values() if parcel.worker is worker]
        for parcel in sent:
            parcel.worker, parcel.since = None, monotonic()
        return Counter(parcel.hand_over.call_id for parcel in sent)

    def look(self) -> None:
        """Place again what hangs, or waits; call it at every beat, and when a worker is gone."""
        if not self._parcels:
            return
        now = monotonic()
        n_sent = Counter(parcel.hand_over.call_id for parcel in self._parcels.values())
        for number, parcel in list(self._parcels.items()):
            call_id = parcel.hand_over.call_id
            if parcel.worker is None:
                self._place(number, parcel, now)
            elif parcel.worker.is_quiet and self._directory.may_move(call_id, n_sent[call_id]):
                other = self._other(parcel)
                if other is not None:
                    parcel.worker.taken_back()
                    self._move(number, parcel, other)

    def close(self) -> None:
        """Close what is left."""
        for parcel in self._parcels.values():
            os.close(parcel.fd)
        self._parcels.clear()

    def _place(self, number: int, parcel: Parcel, now: float) -> None:
        other = self._other(parcel)
        if other is not None:
            self._move(number, parcel, other)
        elif now - parcel.since > PLACE_WITHIN_S:
            self.count("refused_no_worker")
            text, call_id = "call %s refused: no worker took it", parcel.hand_over.call_id
            limited.warning("calls without a worker", text, shown(call_id), call=call_id)
            del self._parcels[number]
            with contextlib.suppress(OSError), socket.socket(fileno=parcel.fd) as end:
                end.send(_LATER)
            self._directory.landed(parcel.hand_over.call_id)

    def _other(self, parcel: Parcel) -> WorkerProcess | None:
        """Who is to get a socket now: all of one call go to the same worker."""
        has = self._directory.worker_of(parcel.hand_over.call_id)
        return has if has is not None and has.is_able else self._workers.least_loaded()

    def _move(self, number: int, parcel: Parcel, worker: WorkerProcess) -> None:
        del self._parcels[number]
        self.count("placed_again")
        call_id = parcel.hand_over.call_id
        text = "call %s goes to %s"
        limited.warning("calls placed again", text, shown(call_id), worker.name, call=call_id)
        self._directory.moved(parcel.hand_over.call_id, worker)
        self._send(parcel, worker)

    def _send(self, parcel: Parcel, worker: WorkerProcess) -> None:
        try:
            sent = os.dup(parcel.fd)  # the channel closes what it has sent
        except OSError as exc:
            call_id = parcel.hand_over.call_id
            text, why = "call %s cannot be handed over: %s", exc.strerror
            limited.error("calls not handed over", text, shown(call_id), why, call=call_id)
            self.count("refused_no_descriptor")
            os.close(parcel.fd)
            self._directory.landed(call_id)
            return
        # A worker may be sent the same socket twice, when it was silent in the meantime.
        number = next(self._numbers)
        parcel.worker = worker
        self._parcels[number] = parcel
        worker.handed_over(parcel.hand_over.call_id)
        worker.channel.send(msgspec.structs.replace(parcel.hand_over, number=number), sent)
