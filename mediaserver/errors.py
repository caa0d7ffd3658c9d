"""The exceptions of this package: one root, and whose fault it is in the type.

Catch ``MediaServerError`` for all of them. Names with a ``*`` can be imported from
``mediaserver``; the others stay inside, or are caught by their parent. ``tests/test_errors.py``
compares this tree with the code::

    MediaServerError *          every error that this package raises on purpose
        ConfigurationError *    your fault: a setting, a flag or a processor's name
            WrongSettingError       which setting, and where it was written
            WrongValueError         which part of one value
            ParameterError          a processor's parameter
        AudioFormatError *      your fault: audio that cannot be played (a ValueError too)
        StreamFullError *       your fault: more was written into a stream than may wait
        FrameRateError          your fault: a frame of another rate (a ValueError too)
        NoSuchCallError *       no such call in this process (a KeyError too)
        CallEndedError *        too late: the call is over
        ListenOnlyError *       the call is forked: nothing can be sent into it
        PeerError               the peer broke a rule of the protocol
            MalformedMessageError   a message of a media stream
            MalformedPacketError    a UDP packet of a fork
            UnsupportedFormatError  a codec or a rate that cannot be served
            MalformedEventError *   a webhook that is signed, but is no event
            SignatureError *        a webhook that is not shown to be Telnyx's
                Version1Error           one that is signed in the old way
        ControlError *          a command to Telnyx
            InvalidFieldError *     your fault: nothing was sent (a ValueError too)
            ApiError *              Telnyx answered with an error
                BadRequestError *       400, and what has no class of its own
                AuthenticationError *   401
                PermissionDeniedError * 403
                NotFoundError *         404: no such call
                UnprocessableError *    422: the call is not in a state for it
                RateLimitError *        429: too many requests
                ServerError *           5xx
            NetworkError *          no answer: whether it was carried out is unknown
                CommandTimeoutError *   the command's deadline is over
                TryTimeoutError         one try's time is over
            UnreadableReplyError *  carried out, but the answer cannot be read
        ServiceError            a speech service cannot be used; from ``mediaserver.bridges``
            ServiceDownError        no connection, or no answer
            ServiceRefusedError     a wrong key or model
        BadAudioError           a speech service sent audio that cannot be read
        BenchError              nothing can be measured
            NoServerError           the server to be measured did not come up
            BaselineError           not even a few calls are served well
            GeneratorError          a process of the load broke
            ProtocolError           a reply breaks a rule of the WebSocket
        ClusterError            the cluster does not answer, or cannot do what is asked
        UnavailableError        Ray, or one of its actors, does not answer now
        LinkError               the agent, or the media server, does not answer
        NotThereError           the live page: a recording that is not there
        UnsendableError         between processes: a message that cannot be encoded
        PacketTooLongError      between processes: a packet that is too long
        SourceFailedError       a play's source failed in a processor host
        BadRecordError          what was read is no record of a call
        UnwritableError         the file of ended calls cannot be written now
        WrongQuestionError      ended calls were asked for in a way that is not understood

Outside of it, because they never leave the part that raises them::

    BadFrameError (TypeError)       a filter returned no frame; follows ``on_error``
    BadResultError (TypeError)      a batch processor returned no results; its calls go on
    RefusalError (Exception)        the fake Telnyx refuses a command
    MalformedFrameError (Exception) the fake Telnyx cannot read a message
    PlanError (ValueError)          the fake Telnyx cannot make such a call
    TryAgainError (Exception)       a speech service cannot be reached this time
    MalformedWishError (Exception)  the phone cannot do what its page says
    LostProcessError (OSError)      ``simulate``: a process of the load client ended

The codec library has a root of its own, ``telephony_codecs.CodecError``. The server catches its
errors where it calls the library, and raises one of the tree above, ``from`` the first.
"""

from __future__ import annotations


class MediaServerError(Exception):
    """Root of every error this package raises on purpose."""


class ConfigurationError(MediaServerError):
    """A setting, flag or processor name of ours cannot be used; one clear line."""


class AudioFormatError(MediaServerError, ValueError):
    """Audio that cannot be played: not one-dimensional int16, or an unknown rate."""


class StreamFullError(MediaServerError):
    """So much audio waits in a stream that no more is taken; ``await stream.drain()``.

    Attributes:
        waiting_s: seconds of audio that wait.
    """

    def __init__(self, waiting_s: float) -> None:
        super().__init__(waiting_s)
        self.waiting_s: float = waiting_s

    def __str__(self) -> str:
        return (
            f"{self.waiting_s:.0f} s of audio wait in the stream already: await its drain()"
            " between writes"
        )


class CallEndedError(MediaServerError):
    """The call is over, so it can no longer be played to or commanded."""


class NoSuchCallError(MediaServerError, KeyError):
    """There is no such call in this process.

    Attributes:
        call_id: the one that was asked for.
    """

    def __init__(self, call_id: str) -> None:
        super().__init__(call_id)
        self.call_id: str = call_id

    def __str__(self) -> str:
        return (
            f"no other call {self.call_id!r} in this process: it is over, or its processors run in"
            " another one (a worker, a processor host), or it is this one"
        )


class ListenOnlyError(MediaServerError):
    """The call is forked: it can be heard, and nothing can be sent into it."""


LISTEN_ONLY = "this call is forked: it can be heard, and nothing can be sent into it"


class PeerError(MediaServerError):
    """The peer broke a rule of the protocol."""
