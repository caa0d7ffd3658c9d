"""A real-time media server for Telnyx voice calls.

A bot needs ``Call``, ``Filter``, ``Frame`` and ``processor``. What an embedding program needs
beside them, ``MediaServer``, ``Settings``, ``TelnyxClient``, its errors and the webhooks' events,
is imported when first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mediaserver.errors import (
    AudioFormatError,
    CallEndedError,
    ConfigurationError,
    ListenOnlyError,
    MediaServerError,
    NoSuchCallError,
    StreamFullError,
)
from mediaserver.media.frames import Frame
from mediaserver.observer import CallSummary
from mediaserver.processors.api import (
    Beep,
    Call,
    Draining,
    Dtmf,
    Filter,
    Hint,
    Interrupted,
    LimitReached,
    Mark,
    OperatorMessage,
    Play,
    ProcessorRestarted,
    Reconnected,
    RecordingPaused,
    RecordingResumed,
    SpeechStarted,
    SpeechStopped,
    Stop,
    Stream,
    StreamError,
    Utterance,
    Webhook,
    processor,
)
from mediaserver.processors.api import Event as CallEvent
from mediaserver.processors.batch import BatchCall, BatchProcessor
from mediaserver.processors.control import CallControl
from mediaserver.processors.kit.gather import Digits, gather
from mediaserver.processors.kit.tones import beep, tone

if TYPE_CHECKING:
    from mediaserver.app import ForkReceiver, MediaServer, client_from
    from mediaserver.control import (
        ActionResult,
        BoundActions,
        DialedCall,
        RetryPolicy,
        TelnyxClient,
        WebhookReceiver,
        answer_incoming,
        webhook_route,
    )
    from mediaserver.control.errors import (
        ApiError,
        AuthenticationError,
        BadRequestError,
        CommandTimeoutError,
        ControlError,
        InvalidFieldError,
        NetworkError,
        NotFoundError,
        PermissionDeniedError,
        Problem,
        RateLimitError,
        ServerError,
        UnprocessableError,
        UnreadableReplyError,
    )
    from mediaserver.control.events import (
        CallAnswered,
        CallBridged,
        CallHangup,
        CallInitiated,
        DtmfReceived,
        Event,
        ForkStarted,
        ForkStopped,
        MalformedEventError,
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
    from mediaserver.control.webhooks.signature import SignatureError
    from mediaserver.settings import ProcessorSetting, Settings
    from mediaserver.settings import load as load_settings

__version__ = "0.1.0"

__all__ = [
    "ActionResult",
    "ApiError",
    "AudioFormatError",
    "AuthenticationError",
    "BadRequestError",
    "BatchCall",
    "BatchProcessor",
    "Beep",
    "BoundActions",
    "Call",
    "CallAnswered",
    "CallBridged",
    "CallControl",
    "CallEndedError",
    "CallEvent",
    "CallHangup",
    "CallInitiated",
    "CallSummary",
    "CommandTimeoutError",
    "ConfigurationError",
    "ControlError",
    "DialedCall",
    "Digits",
    "Draining",
    "Dtmf",
    "DtmfReceived",
    "Event",
    "Filter",
    "ForkReceiver",
    "ForkStarted",
    "ForkStopped",
    "Frame",
    "Hint",
    "Interrupted",
    "InvalidFieldError",
    "LimitReached",
    "ListenOnlyError",
    "MalformedEventError",
    "Mark",
    "MediaServer",
    "MediaServerError",
    "NetworkError",
    "NoSuchCallError",
    "NotFoundError",
    "OperatorMessage",
    "PermissionDeniedError",
    "Play",
    "PlaybackEnded",
    "PlaybackStarted",
    "Problem",
    "ProcessorRestarted",
    "ProcessorSetting",
    "RateLimitError",
    "Reconnected",
    "RecordingPaused",
    "RecordingResumed",
    "RecordingSaved",
    "RetryPolicy",
    "ServerError",
    "Settings",
    "SignatureError",
    "SpeakEnded",
    "SpeakStarted",
    "SpeechStarted",
    "SpeechStopped",
    "Stop",
    "Stream",
    "StreamError",
    "StreamFullError",
    "StreamingFailed",
    "StreamingStarted",
    "StreamingStopped",
    "TelnyxClient",
    "Transcription",
    "UnprocessableError",
    "UnreadableReplyError",
    "Utterance",
    "Webhook",
    "WebhookReceiver",
    "__version__",
    "answer_incoming",
    "beep",
    "client_from",
    "gather",
    "load_settings",
    "processor",
    "tone",
    "webhook_route",
]

# A bot's file is imported often and must not pay for a web server and an HTTP client.
_LATER = {
    "mediaserver.app": ("ForkReceiver", "MediaServer", "client_from"),
    "mediaserver.control": (
        "ActionResult",
        "BoundActions",
        "DialedCall",
        "RetryPolicy",
        "TelnyxClient",
        "WebhookReceiver",
        "answer_incoming",
        "webhook_route",
    ),
    "mediaserver.control.errors": (
        "ApiError",
        "AuthenticationError",
        "BadRequestError",
        "CommandTimeoutError",
        "ControlError",
        "InvalidFieldError",
        "NetworkError",
        "NotFoundError",
        "PermissionDeniedError",
        "Problem",
        "RateLimitError",
        "ServerError",
        "UnprocessableError",
        "UnreadableReplyError",
    ),
    "mediaserver.control.events": (
        "CallAnswered",
        "CallHangup",
        "CallBridged",
        "DtmfReceived",
        "PlaybackEnded",
        "PlaybackStarted",
        "RecordingSaved",
        "SpeakEnded",
        "SpeakStarted",
        "CallInitiated",
        "Event",
        "ForkStarted",
        "ForkStopped",
        "MalformedEventError",
        "StreamingFailed",
        "StreamingStarted",
        "StreamingStopped",
        "Transcription",
    ),
    "mediaserver.control.webhooks.signature": ("SignatureError",),
    "mediaserver.settings": ("ProcessorSetting", "Settings"),
}
_MODULE_OF = {name: module for module, names in _LATER.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a heavy name when it is first asked for."""
    from importlib import import_module

    if name == "load_settings":
        return import_module("mediaserver.settings").load
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)
