"""A real-time media server for Telnyx voice calls.

A bot needs ``Call``, ``Filter``, ``Frame`` and ``processor``; an embedding program also
``MediaServer``, ``Settings`` and ``TelnyxClient``, which are imported when first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mediaserver.errors import (
    AudioFormatError,
    CallEndedError,
    ConfigurationError,
    MediaServerError,
)
from mediaserver.media.frames import Frame
from mediaserver.processors.api import (
    Call,
    Draining,
    Dtmf,
    Filter,
    Hint,
    Mark,
    Play,
    Reconnected,
    Stop,
    StreamError,
    Webhook,
    processor,
)

if TYPE_CHECKING:
    from mediaserver.app import MediaServer
    from mediaserver.control import TelnyxClient, WebhookReceiver
    from mediaserver.settings import ProcessorSetting, Settings

__version__ = "0.1.0"

__all__ = [
    "AudioFormatError",
    "Call",
    "CallEndedError",
    "ConfigurationError",
    "Draining",
    "Dtmf",
    "Filter",
    "Frame",
    "Hint",
    "Mark",
    "MediaServer",
    "MediaServerError",
    "Play",
    "ProcessorSetting",
    "Reconnected",
    "Settings",
    "Stop",
    "StreamError",
    "TelnyxClient",
    "Webhook",
    "WebhookReceiver",
    "__version__",
    "processor",
]

# A bot's file is imported often and must not pay for a web server and an HTTP client.
_LATER = {
    "MediaServer": "mediaserver.app",
    "ProcessorSetting": "mediaserver.settings",
    "Settings": "mediaserver.settings",
    "TelnyxClient": "mediaserver.control",
    "WebhookReceiver": "mediaserver.control",
}


def __getattr__(name: str) -> Any:
    """Import a heavy name when it is first asked for."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LATER[name]), name)
