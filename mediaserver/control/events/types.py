"""What Telnyx reports, as typed events. Every field but id and type may be missing or null.

Source: protocol.md 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all events, and the class of every event whose type has no class of its own.

    Attributes:
        id: unique; a repeated delivery has the same.
        event_type: with dots, such as ``streaming.started``, however it was spelt.
        occurred_at: as Telnyx wrote it.
        attempt: which delivery this is.
        call_control_id: of the call.
        call_leg_id: of its leg.
        call_session_id: shared by its legs.
        connection_id: of the Call Control application.
        client_state: decoded from base64, octets.
        payload: everything, as it came.
    """

    id: str
    event_type: str
    occurred_at: str | None = None
    attempt: int | None = None
    call_control_id: str | None = None
    call_leg_id: str | None = None
    call_session_id: str | None = None
    connection_id: str | None = None
    client_state: bytes | None = None
    payload: Mapping[str, Any] = {}

    def __repr__(self) -> str:
        # The payload may hold a stream URL with a token, and what people said.
        return f"{type(self).__name__}({self.event_type} {self.id} call={self.call_control_id})"


class ForkStarted(Event, frozen=True, kw_only=True):
    """A media fork has started."""

    stream_type: str | None = None


class ForkStopped(Event, frozen=True, kw_only=True):
    """A media fork has stopped."""

    stream_type: str | None = None


class StreamingStarted(Event, frozen=True, kw_only=True):
    """Telnyx has begun to stream; may come before or after the stream's socket."""

    stream_url: str | None = None


class StreamingStopped(Event, frozen=True, kw_only=True):
    """Telnyx has stopped streaming."""

    stream_url: str | None = None


class StreamingFailed(Event, frozen=True, kw_only=True):
    """Telnyx could not stream, or can no longer."""

    failure_reason: str | None = None
    stream_id: str | None = None
    stream_type: str | None = None
    stream_url: str | None = None
    stream_track: str | None = None


class Transcription(Event, frozen=True, kw_only=True):
    """Some of what was said."""

    transcript: str | None = None
    confidence: float | None = None
    is_final: bool | None = None
    transcription_track: str | None = None


class CallInitiated(Event, frozen=True, kw_only=True):
    """A call is being set up.

    Attributes:
        direction: ``incoming`` or ``outgoing``.
        state: ``parked`` or ``bridging``.
        offered_codecs: by name.
        custom_headers: names and values, in their order; and so are ``sip_headers``.
        start_time: as Telnyx wrote it.
    """

    direction: str | None = None
    from_: str | None = None
    to: str | None = None
    state: str | None = None
    caller_id_name: str | None = None
    offered_codecs: tuple[str, ...] = ()
    custom_headers: tuple[tuple[str, str], ...] = ()
    sip_headers: tuple[tuple[str, str], ...] = ()
    start_time: str | None = None
    tags: tuple[str, ...] = ()


class CallAnswered(Event, frozen=True, kw_only=True):
    """A call was answered."""

    from_: str | None = None
    to: str | None = None
    state: str | None = None
    custom_headers: tuple[tuple[str, str], ...] = ()
    sip_headers: tuple[tuple[str, str], ...] = ()
    start_time: str | None = None
    tags: tuple[str, ...] = ()


class CallQuality(msgspec.Struct, frozen=True):
    """How a call sounded, as numbers by Telnyx's names: ``mos``, ``packet_count``, ...

    Attributes:
        inbound: of what Telnyx received.
        outbound: of what it sent.
    """

    inbound: Mapping[str, float] = {}
    outbound: Mapping[str, float] = {}


class CallHangup(Event, frozen=True, kw_only=True):
    """A call is over.

    Attributes:
        hangup_cause: such as ``normal_clearing``, ``no_answer``, ``user_busy``, ``timeout``.
        hangup_source: ``caller``, ``callee`` or ``unknown``.
        sip_hangup_cause: the SIP status, as text.
        call_quality_stats: None if the webhook had none.
        start_time: as Telnyx wrote it, and so is ``end_time``.
    """

    from_: str | None = None
    to: str | None = None
    hangup_cause: str | None = None
    hangup_source: str | None = None
    sip_hangup_cause: str | None = None
    call_quality_stats: CallQuality | None = None
    start_time: str | None = None
    end_time: str | None = None
    tags: tuple[str, ...] = ()


class SpeakStarted(Event, frozen=True, kw_only=True):
    """A text is being spoken."""


class SpeakEnded(Event, frozen=True, kw_only=True):
    """It was spoken, or cut short; status ``completed``, ``call_hangup``, ``cancelled_amd``."""

    status: str | None = None


class PlaybackStarted(Event, frozen=True, kw_only=True):
    """A file is being played."""

    media_url: str | None = None
    media_name: str | None = None
    overlay: bool | None = None


class PlaybackEnded(PlaybackStarted, frozen=True, kw_only=True):
    """It was played, or cut short."""

    status: str | None = None
    status_detail: str | None = None


class RecordingSaved(Event, frozen=True, kw_only=True):
    """A recording can be fetched. Telnyx names the leg, and not the call, in this one.

    Attributes:
        channels: ``single`` or ``dual``.
        recording_started_at: as Telnyx wrote it, and so is ``recording_ended_at``.
        recording_urls: by format, ``mp3`` or ``wav``; and so are ``public_recording_urls``.
    """

    channels: str | None = None
    recording_started_at: str | None = None
    recording_ended_at: str | None = None
    recording_urls: Mapping[str, str] = {}
    public_recording_urls: Mapping[str, str] = {}


class CallBridged(Event, frozen=True, kw_only=True):
    """The call was joined with another one."""

    from_: str | None = None
    to: str | None = None


class DtmfReceived(Event, frozen=True, kw_only=True):
    """A key was pressed."""

    digit: str | None = None
    from_: str | None = None
    to: str | None = None
