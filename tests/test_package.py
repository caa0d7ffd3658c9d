"""What one import line gives: the names for ordinary use."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Literal, get_type_hints

import pytest

import mediaserver
from mediaserver import (
    ActionResult,
    ApiError,
    AudioFormatError,
    Call,
    CallControl,
    CallEvent,
    CallHangup,
    ConfigurationError,
    ControlError,
    Event,
    MalformedEventError,
    Mark,
    MediaServerError,
    Play,
    SignatureError,
    load_settings,
)
from mediaserver.control import errors, events
from mediaserver.settings import load

NAMES = """
ActionResult ApiError AudioFormatError AuthenticationError BadRequestError BatchCall BatchProcessor
Beep BoundActions Call CallAnswered CallBridged CallControl CallEndedError CallEvent CallHangup
CallInitiated CallSummary CommandTimeoutError ConfigurationError ControlError DialedCall Digits
Draining Dtmf DtmfReceived Event Filter ForkReceiver ForkStarted ForkStopped Frame Hint Interrupted
InvalidFieldError LimitReached ListenOnlyError MalformedEventError Mark MediaServer
MediaServerError NetworkError NoSuchCallError NotFoundError OperatorMessage PermissionDeniedError
Play PlaybackEnded PlaybackStarted Problem ProcessorRestarted ProcessorSetting RateLimitError
Reconnected RecordingPaused RecordingResumed RecordingSaved RetryPolicy ServerError Settings
SignatureError SpeakEnded SpeakStarted SpeechStarted SpeechStopped Stop Stream StreamError
StreamFullError StreamingFailed StreamingStarted StreamingStopped TelnyxClient Transcription
UnprocessableError UnreadableReplyError Utterance Webhook WebhookReceiver __version__
answer_incoming beep client_from gather load_settings processor tone webhook_route
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


def test_what_a_receiver_of_webhooks_raises_can_be_caught() -> None:
    """``receiver.verify`` and the reading of an event say what is wrong by these."""
    for each in (SignatureError, MalformedEventError):
        assert issubclass(each, MediaServerError)


def test_what_is_annotated_can_be_named() -> None:
    """The types of what a bot holds, and of what its commands give back."""
    assert get_type_hints(Call.events)["return"] == AsyncIterator[CallEvent]
    assert get_type_hints(Play.finished)["return"] == Literal["played", "cleared", "failed"]
    assert get_type_hints(Mark.finished)["return"] == Literal["played", "cleared"]
    assert inspect.signature(CallControl.speak).return_annotation == ActionResult.__name__


def test_settings_load_no_http_client() -> None:
    """A heavy part is loaded when something of it is asked for, not with the package."""
    code = (
        "import sys, mediaserver; mediaserver.Settings; print('httpx' in sys.modules);"
        "mediaserver.TelnyxClient; print('httpx' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "True"]
