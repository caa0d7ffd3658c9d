"""What is kept of an ended call."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mediaserver.errors import MediaServerError
from mediaserver.observer import CallSummary


class BadRecordError(MediaServerError):
    """What was read is no record of a call."""


class WebhookSeen(msgspec.Struct, frozen=True):
    """A webhook about a call: its type, and when it came, in unix seconds."""

    type: str
    at: float


class HangUp(msgspec.Struct, frozen=True, omit_defaults=True):
    """How Telnyx says that a phone call ended.

    Attributes:
        cause: such as ``normal_clearing``.
        source: ``caller``, ``callee`` or ``unknown``.
        sip_cause: the SIP status, as text.
        quality: ``inbound`` and ``outbound`` figures by Telnyx's names, ``mos`` among them.
    """

    cause: str | None = None
    source: str | None = None
    sip_cause: str | None = None
    quality: Mapping[str, Mapping[str, float]] = {}


class CallRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An ended call.

    A later record with the same ``key`` replaces an earlier one, because webhooks may come after
    the call's media has ended.

    Attributes:
        summary: its facts and figures, with telephone numbers only as the settings allow.
        ended_at: unix seconds.
        bad: a text for each of its troubles, by the trouble's name; empty for a good call.
        webhooks: the webhooks about it, the first hundred.
        hang_up: what the webhook ``call.hangup`` said; None: there was none.
    """

    summary: CallSummary
    ended_at: float
    bad: Mapping[str, str] = {}
    webhooks: tuple[WebhookSeen, ...] = ()
    hang_up: HangUp | None = None

    @property
    def call_id(self) -> str:
        """Of the call."""
        return self.summary.call_id

    @property
    def key(self) -> tuple[str, float]:
        """What it is known by: a phone call may have several streams, one after the other."""
        return self.summary.call_id, self.summary.started_at

    @property
    def place(self) -> tuple[float, str]:
        """Where it stands among all records, the oldest first."""
        return self.ended_at, self.summary.call_id

    def encode(self) -> bytes:
        """As JSON, on one line."""
        return msgspec.json.encode(self)


def record_of(
    summary: CallSummary,
    ended_at: float,
    webhooks: tuple[WebhookSeen, ...] = (),
    hang_up: HangUp | None = None,
) -> CallRecord:
    """The record of a call that has ended; its numbers are as they may be kept."""
    return CallRecord(
        summary=summary,
        ended_at=ended_at,
        bad=dict(summary.troubles),
        webhooks=webhooks,
        hang_up=hang_up,
    )


def decode_record(encoded: bytes) -> CallRecord:
    """The record that was encoded.

    Raises:
        BadRecordError: it is none.
    """
    try:
        return msgspec.json.decode(encoded, type=CallRecord)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise BadRecordError(str(exc)) from exc
