"""What a file of records must be able to do, and what may be asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

from mediaserver.errors import MediaServerError
from mediaserver.history.records import CallRecord

DEFAULT_LIMIT = 100
MOST = 1000


class UnwritableError(MediaServerError):
    """A file of records cannot be written now: it is full, locked, or gone."""


class Limits(NamedTuple):
    """How much is kept: the oldest go first.

    Attributes:
        days: how old a record may be.
        n_bytes: how many octets all of them may have.
    """

    days: float
    n_bytes: int

    def oldest(self, now: float) -> float:
        """When a call must have ended for its record to be kept, in unix seconds."""
        return now - 86400 * self.days


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which records are asked for; the newest come first.

    Attributes:
        since: only calls that ended at this unix second, or later.
        before: only records older than this ``CallRecord.place``, for the next page.
        call_id: only this call.
        only_bad: only calls with a trouble.
        trouble: only calls with this trouble.
        limit: how many records at most.
    """

    since: float = 0.0
    before: tuple[float, str] | None = None
    call_id: str | None = None
    only_bad: bool = False
    trouble: str | None = None
    limit: int = DEFAULT_LIMIT

    def fits(self, record: CallRecord) -> bool:
        """Whether a record is one of them, but for the limit."""
        return (
            record.ended_at >= self.since
            and (self.before is None or record.place < self.before)
            and (self.call_id is None or record.call_id == self.call_id)
            and (not self.only_bad or bool(record.bad))
            and (self.trouble is None or self.trouble in record.bad)
        )


class Store(Protocol):
    """A file of records, written by one thread."""

    def put(self, records: Sequence[CallRecord]) -> None:
        """Write these, all or none; one of the same key takes an earlier one's place.

        Raises:
            UnwritableError: none was written.
        """

    def prune(self, now: float) -> None:
        """Let go what is too old, or too much; ``now`` in unix seconds.

        Raises:
            UnwritableError: not all of it could go.
        """

    def close(self) -> None:
        """Write no more."""
