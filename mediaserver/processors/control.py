"""``call.control``: Telnyx's commands to one call, as its processors give them.

Pure: whoever has the control client carries them out, which may be another process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from mediaserver.processors.events import RecordingPaused, RecordingResumed

if TYPE_CHECKING:
    # Names of types only: a bot's process has no HTTP client.
    from mediaserver.control.own_server import Scalar
    from mediaserver.control.rest.actions.options import (
        BridgeOptions,
        CommonOptions,
        DtmfOptions,
        GatherOptions,
        HangupOptions,
        PlaybackOptions,
        RecordingOptions,
        SpeakOptions,
        StartRecordingOptions,
        StopPlaybackOptions,
        SuppressionOptions,
        TransferOptions,
    )
    from mediaserver.control.rest.engines import TranscriptionConfig
    from mediaserver.control.rest.fields import ForkStreamType, TranscriptionTracks
    from mediaserver.control.rest.streams import AnswerOptions, StartStreamingOptions
    from mediaserver.control.results import ActionResult

Perform = Callable[[str, Sequence[Any], Mapping[str, Any]], Awaitable[Any]]
"""Carries out a command, by the method's name, its arguments and its named arguments."""


class RecordingControl:
    """Pauses and resumes the recording that ``record`` makes, as for the digits of a card.

    The recording is silent meanwhile, on both sides, and goes on in its place. Without ``record``
    nothing happens. It is not Telnyx's own recording: that is ``call.control.pause_recording``.

    Args:
        publish: tells the call's processors.
        clock: monotonic seconds.
    """

    def __init__(self, publish: Callable[[Any], None], clock: Callable[[], float]) -> None:
        self._publish = publish
        self._clock = clock

    def pause(self) -> None:
        """Record nothing from now on; twice is no error."""
        self._publish(RecordingPaused(self._clock()))

    def resume(self) -> None:
        """Record again from now on."""
        self._publish(RecordingResumed(self._clock()))


class CallControl:
    """Commands to one call: ``await call.control.speak(payload="Hello", voice="female")``.

    The methods are those of ``client.calls.actions``, without the call's id. Each returns once
    Telnyx has agreed; what becomes of it comes as ``Webhook`` events of the call.

    All raise:
        InvalidFieldError: a field that Telnyx would not take; nothing was sent.
        ApiError: Telnyx refused; ``NotFoundError``: there is no such call any more.
        NetworkError: no answer was had.
        ConfigurationError: the server has no API key.

    Args:
        perform: carries them out.
    """

    def __init__(self, perform: Perform) -> None:
        self._perform = perform

    async def _do(self, _method: str, /, *args: Any, **options: Any) -> ActionResult:
        result: ActionResult = await self._perform(_method, args, options)
        return result

    async def answer(self, **options: Unpack[AnswerOptions]) -> ActionResult:
        """Answer an incoming call; one with a stream mostly is answered already."""
        return await self._do("answer", **options)

    async def hangup(self, **options: Unpack[HangupOptions]) -> ActionResult:
        """End the phone call by the bare command; ``call.hangup()`` ends its media first."""
        return await self._do("hangup", **options)

    async def start_streaming(self, **options: Unpack[StartStreamingOptions]) -> ActionResult:
        """Have the call's audio streamed to our server, or to ``stream_url``."""
        return await self._do("start_streaming", **options)

    async def stop_streaming(
        self, *, stream_id: str | None = None, **common: Unpack[CommonOptions]
    ) -> ActionResult:
        """Stop one stream of the call, or all of them: this one too."""
        return await self._do("stop_streaming", stream_id=stream_id, **common)

    async def start_forking(
        self,
        *,
        rx: str | None = None,
        tx: str | None = None,
        target: str | None = None,
        receive: bool | None = None,
        processor: str | None = None,
        processor_parameters: Mapping[str, Scalar] | None = None,
        **common: Unpack[CommonOptions],
    ) -> ActionResult:
        """Have the call's RTP copied to UDP addresses ``udp:ip:port``; replaces the stream.

        With ``receive`` this server receives the copy: the call goes on in a new session, which
        hears both directions and can play nothing.
        """
        return await self._do(
            "start_forking",
            rx=rx,
            tx=tx,
            target=target,
            receive=receive,
            processor=processor,
            processor_parameters=processor_parameters,
            **common,
        )

    async def stop_forking(
        self, *, stream_type: ForkStreamType = "decrypted", **common: Unpack[CommonOptions]
    ) -> ActionResult:
        """Stop the copy."""
        return await self._do("stop_forking", stream_type=stream_type, **common)

    async def start_transcription(
        self,
        *,
        transcription_engine: str | None = None,
        transcription_tracks: TranscriptionTracks | None = None,
        transcription_engine_config: TranscriptionConfig | None = None,
        **common: Unpack[CommonOptions],
    ) -> ActionResult:
        """Have the call transcribed; the words come as ``call.transcription`` webhooks."""
        return await self._do(
            "start_transcription",
            transcription_engine=transcription_engine,
            transcription_tracks=transcription_tracks,
            transcription_engine_config=transcription_engine_config,
            **common,
        )

    async def stop_transcription(self, **common: Unpack[CommonOptions]) -> ActionResult:
        """Stop the transcription."""
        return await self._do("stop_transcription", **common)

    async def speak(self, payload: str, **options: Unpack[SpeakOptions]) -> ActionResult:
        """Have a text spoken; ``call.speak.ended`` comes when it has been heard."""
        return await self._do("speak", payload=payload, **options)

    async def start_playback(self, **options: Unpack[PlaybackOptions]) -> ActionResult:
        """Have a file played: by ``audio_url``, ``media_name`` or ``playback_content``."""
        return await self._do("start_playback", **options)

    async def stop_playback(self, **options: Unpack[StopPlaybackOptions]) -> ActionResult:
        """Stop what Telnyx plays or speaks."""
        return await self._do("stop_playback", **options)

    async def start_recording(self, **options: Unpack[StartRecordingOptions]) -> ActionResult:
        """Record the call; ``call.recording.saved`` says where the file is."""
        return await self._do("start_recording", **options)

    async def stop_recording(self, **options: Unpack[RecordingOptions]) -> ActionResult:
        """Stop one recording, or the call's only one."""
        return await self._do("stop_recording", **options)

    async def pause_recording(self, **options: Unpack[RecordingOptions]) -> ActionResult:
        """Leave out of the recording what follows."""
        return await self._do("pause_recording", **options)

    async def resume_recording(self, **options: Unpack[RecordingOptions]) -> ActionResult:
        """Record again what follows."""
        return await self._do("resume_recording", **options)

    async def send_dtmf(self, digits: str, **options: Unpack[DtmfOptions]) -> ActionResult:
        """Press keys: the digits are heard by the other end."""
        return await self._do("send_dtmf", digits=digits, **options)

    async def transfer(self, to: str, **options: Unpack[TransferOptions]) -> ActionResult:
        """Dial ``to`` and join the call with it."""
        return await self._do("transfer", to=to, **options)

    async def bridge(
        self, call_control_id_to_bridge_with: str, **options: Unpack[BridgeOptions]
    ) -> ActionResult:
        """Join this call with another one."""
        return await self._do("bridge", call_control_id_to_bridge_with, **options)

    async def gather_using_speak(
        self, payload: str, **options: Unpack[GatherOptions]
    ) -> ActionResult:
        """Speak a text, then collect the keys that are pressed."""
        return await self._do("gather_using_speak", payload=payload, **options)

    async def start_noise_suppression(self, **options: Unpack[SuppressionOptions]) -> ActionResult:
        """Take noise out of the call's audio."""
        return await self._do("start_noise_suppression", **options)

    async def stop_noise_suppression(self, **common: Unpack[CommonOptions]) -> ActionResult:
        """Leave the call's audio as it is again."""
        return await self._do("stop_noise_suppression", **common)

    async def command(self, action: str, /, **body: object) -> ActionResult:
        """Send any action by Telnyx's own name for it, such as ``refer``, with these fields."""
        return await self._do("command", action, **body)
