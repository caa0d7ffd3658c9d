"""Other calls of the same process: heard and played to by the processors of a call.

Calls are of one process where their chains run in it: that of the server, of a worker, or of a
processor host. What another call says is taken where it comes in, before its own processors.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Literal, NamedTuple, cast

from mediaserver.errors import NoSuchCallError
from mediaserver.media.frames import Frame, Track
from mediaserver.processors.api import Call
from mediaserver.processors.chain import Chain
from mediaserver.server.calls.event_hub import EventHub
from mediaserver.server.calls.view import CallView
from mediaserver.server.calls.views.viewed import ViewedCall


class Neighbour(NamedTuple):
    """A call that others of its process may see."""

    call: ViewedCall
    events: EventHub
    chain: Chain


class Neighbours:
    """The calls whose chains run in this process."""

    def __init__(self) -> None:
        self._found: dict[str, Neighbour] = {}

    def add(self, neighbour: Neighbour) -> None:
        """A call has begun."""
        self._found[neighbour.call.facts.call_id] = neighbour

    def remove(self, call: ViewedCall) -> None:
        """It is over."""
        found = self._found.get(call.facts.call_id)
        if found is not None and found.call is call:
            del self._found[call.facts.call_id]

    def others(self, view: CallView) -> Mapping[str, Call]:
        """All calls but the one of this view."""
        return _Others(self._found, view)


class _Others(Mapping[str, Call]):
    """See ``Call.calls``."""

    def __init__(self, found: Mapping[str, Neighbour], view: CallView) -> None:
        self._found = found
        self._view = view

    def __getitem__(self, call_id: str) -> Call:
        neighbour = self._found.get(call_id)
        if neighbour is None or call_id == self._view.id:
            raise NoSuchCallError(call_id)
        # Its attributes cannot be set, as those of the protocol could.
        return cast(Call, OtherCall(neighbour, self._view))

    def __iter__(self) -> Iterator[str]:
        own = self._view.id
        return iter([call_id for call_id in self._found if call_id != own])

    def __len__(self) -> int:
        return sum(1 for _ in self)


class OtherCall(CallView):
    """Another call, as a processor of this one sees it.

    A stage of the other's chain while somebody reads its frames.

    Args:
        neighbour: the other call.
        own: who looks; tasks that are started here end with its call.
    """

    def __init__(self, neighbour: Neighbour, own: CallView) -> None:
        # A name of its own: who exceeds a budget is bypassed by name.
        name = f"{own.name} of {own.id}"
        super().__init__(
            neighbour.call, neighbour.events, name, own.wanted_hz, own.adopt, others=own.others
        )
        self.started()
        self._chain = neighbour.chain
        self._own = own
        self._is_stage = False
        self._n_told = 0

    def frames(
        self, track: Track | None = "inbound", *, since: Literal["now", "start"] = "now"
    ) -> AsyncIterator[Frame]:
        """See ``Call.frames``."""
        reader = super().frames(track, since=since)
        if not self._is_stage:
            self._is_stage = True
            self._chain.hear(self)
        return reader

    def process(self, frame: Frame) -> Frame:
        """As a stage of the other's chain, until nobody reads any more."""
        if not self._readers:
            self._is_stage = False
            self._chain.leave(self)
        super().process(frame)
        n_dropped = self.dropped_frames
        self._own.lost(max(n_dropped - self._n_told, 0))
        self._n_told = n_dropped
        return frame
