"""What Telnyx reports, as typed events."""

from __future__ import annotations

from mediaserver.control.events.parsing import (
    MalformedEventError,
    event_class,
    normal_type,
    parse_event,
)
from mediaserver.control.events.types import (
    CallAnswered,
    CallBridged,
    CallHangup,
    CallInitiated,
    CallQuality,
    DtmfReceived,
    Event,
    ForkStarted,
    ForkStopped,
    PlaybackEnded,
    PlaybackStarted,
    RecordingSaved,
    SpeakEnded,
    SpeakStarted,
    StreamingFailed,
    StreamingStarted,
    StreamingStopped,
    Transcription,
)

__all__ = [
    "CallAnswered",
    "CallBridged",
    "CallHangup",
    "CallInitiated",
    "CallQuality",
    "DtmfReceived",
    "Event",
    "ForkStarted",
    "ForkStopped",
    "MalformedEventError",
    "PlaybackEnded",
    "PlaybackStarted",
    "RecordingSaved",
    "SpeakEnded",
    "SpeakStarted",
    "StreamingFailed",
    "StreamingStarted",
    "StreamingStopped",
    "Transcription",
    "event_class",
    "normal_type",
    "parse_event",
]
