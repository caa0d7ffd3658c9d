"""What a peer's `start` may come to, and how long it may take."""

from __future__ import annotations

from typing import NamedTuple

from mediaserver.server.admission import Refused
from mediaserver.server.calls.session import Session
from mediaserver.settings import Settings
from mediaserver.tokens import Admission


class Opened(NamedTuple):
    """An answer to ``start``: the session is here, new or taken over."""

    session: Session


class HandOff(NamedTuple):
    """An answer to ``start``: the call's socket goes to another process.

    Attributes:
        call_id: what it is known by.
        admission: how it was admitted; None: that is judged there, in an older generation.
    """

    call_id: str
    admission: Admission | None


Answer = Opened | HandOff | Refused


class StartLimits(NamedTuple):
    """How long a peer may take to begin, in seconds.

    Attributes:
        connected_s: from the upgrade to ``connected``; for one that has proven nothing by then,
            to its ``start``.
        start_s: from ``connected`` to ``start`` for one that is proven: its call may ring.
        needs_token: a right token proves it; else ``connected`` does.
    """

    connected_s: float
    start_s: float
    needs_token: bool

    @classmethod
    def of(cls, settings: Settings, *, needs_token: bool) -> StartLimits:
        """What the settings say."""
        start_s = settings.start_within_s if needs_token else settings.start_without_token_s
        return cls(settings.connected_within_s, start_s, needs_token)
