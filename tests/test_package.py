"""What one import line gives: the names for ordinary use."""

from __future__ import annotations

import subprocess
import sys

import pytest

import mediaserver
from mediaserver import (
    ApiError,
    AudioFormatError,
    CallHangup,
    ConfigurationError,
    ControlError,
    Event,
    MediaServerError,
    load_settings,
)
from mediaserver.control import errors, events
from mediaserver.settings import load

NAMES = """
ApiError AudioFormatError AuthenticationError BadRequestError Call CallAnswered CallBridged
CallEndedError CallHangup CallInitiated CommandTimeoutError ConfigurationError ControlError
Draining Dtmf DtmfReceived Event Filter ForkStarted ForkStopped Frame Hint InvalidFieldError
LimitReached Mark MediaServer MediaServerError NetworkError NotFoundError PermissionDeniedError
Play PlaybackEnded PlaybackStarted ProcessorRestarted ProcessorSetting RateLimitError Reconnected
RecordingSaved RetryPolicy ServerError Settings SpeakEnded SpeakStarted Stop StreamError
StreamingFailed StreamingStarted StreamingStopped TelnyxClient Transcription UnprocessableError
UnreadableReplyError Webhook WebhookReceiver __version__ answer_incoming client_from
load_settings processor webhook_route
"""


def test_the_names_are_these() -> None:
    """No more and no fewer, and each can be had."""
    assert mediaserver.__all__ == NAMES.split()
    for name in mediaserver.__all__:
        assert getattr(mediaserver, name) is not None


def test_a_name_that_there_is_not_is_no_attribute() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        mediaserver.nothing  # noqa: B018 - asking is what is tested


def test_errors_and_events_are_complete() -> None:
    """Every error of the control client that users may catch, every event, and their roots."""
    for module, root in ((errors, ControlError), (events, Event)):
        public = [v for v in vars(module).values() if isinstance(v, type) and issubclass(v, root)]
        assert {each.__name__ for each in public} <= set(mediaserver.__all__)
    assert issubclass(ApiError, ControlError)
    assert issubclass(CallHangup, Event)
    for each in (ControlError, AudioFormatError, ConfigurationError):
        assert issubclass(each, MediaServerError)
    assert load_settings == load


def test_settings_load_no_http_client() -> None:
    """A heavy part is loaded when something of it is asked for, not with the package."""
    code = (
        "import sys, mediaserver; mediaserver.Settings; print('httpx' in sys.modules);"
        "mediaserver.TelnyxClient; print('httpx' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "True"]
