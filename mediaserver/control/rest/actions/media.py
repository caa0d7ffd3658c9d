"""Commands that bots use beside streaming, by the official SDK's method names."""

from __future__ import annotations

import re
from typing import Unpack

from mediaserver.control.checks import COMMAND_ID, JSON, Check
from mediaserver.control.errors import InvalidFieldError
from mediaserver.control.rest.actions.options import (
    BridgeOptions,
    CommonOptions,
    DtmfOptions,
    GatherOptions,
    PlaybackOptions,
    RecordingOptions,
    SpeakOptions,
    StartRecordingOptions,
    StopPlaybackOptions,
    SuppressionOptions,
    TransferOptions,
)
from mediaserver.control.rest.actions.sender import ActionSender
from mediaserver.control.rest.fields import encoded_client_state
from mediaserver.control.results import ActionResult

_ACTION = Check(
    "the name of an action (letters, digits and _)",
    lambda value: isinstance(value, str) and bool(re.fullmatch(r"[a-z][a-z0-9_]*", value)),
)
_SOURCES = ("audio_url", "media_name", "playback_content")


class MediaActions(ActionSender):
    """Speaking, playback, recording, keys and transfers.

    Each method returns once Telnyx has accepted the command. Webhooks report what happens then.
    """

    async def speak(
        self, call_control_id: str, payload: str, **options: Unpack[SpeakOptions]
    ) -> ActionResult:
        """Have a text spoken; ``call.speak.ended`` comes when it has been heard."""
        return await self._plain(call_control_id, "speak", options, payload=payload)

    async def start_playback(
        self, call_control_id: str, **options: Unpack[PlaybackOptions]
    ) -> ActionResult:
        """Have a file played: by ``audio_url``, ``media_name`` or ``playback_content``."""
        if sum(options.get(name) is not None for name in _SOURCES) != 1:
            raise InvalidFieldError("audio_url", "given, or media_name, or playback_content")
        return await self._plain(call_control_id, "playback_start", options)

    async def stop_playback(
        self, call_control_id: str, **options: Unpack[StopPlaybackOptions]
    ) -> ActionResult:
        """Stop what is played or spoken."""
        return await self._plain(call_control_id, "playback_stop", options)

    async def start_recording(
        self, call_control_id: str, **options: Unpack[StartRecordingOptions]
    ) -> ActionResult:
        """Record the call; ``call.recording.saved`` says where the file is."""
        return await self._plain(call_control_id, "record_start", options)

    async def stop_recording(
        self, call_control_id: str, **options: Unpack[RecordingOptions]
    ) -> ActionResult:
        """Stop one recording, or the call's only one."""
        return await self._plain(call_control_id, "record_stop", options)

    async def pause_recording(
        self, call_control_id: str, **options: Unpack[RecordingOptions]
    ) -> ActionResult:
        """Leave out of the recording what follows."""
        return await self._plain(call_control_id, "record_pause", options)

    async def resume_recording(
        self, call_control_id: str, **options: Unpack[RecordingOptions]
    ) -> ActionResult:
        """Record again what follows."""
        return await self._plain(call_control_id, "record_resume", options)

    async def send_dtmf(
        self, call_control_id: str, digits: str, **options: Unpack[DtmfOptions]
    ) -> ActionResult:
        """Press keys: the digits are heard by the other end."""
        return await self._plain(call_control_id, "send_dtmf", options, digits=digits)

    async def transfer(
        self, call_control_id: str, to: str, **options: Unpack[TransferOptions]
    ) -> ActionResult:
        """Dial ``to`` and join the call with it."""
        return await self._plain(call_control_id, "transfer", options, to=to)

    async def bridge(
        self,
        call_control_id: str,
        call_control_id_to_bridge_with: str,
        **options: Unpack[BridgeOptions],
    ) -> ActionResult:
        """Join this call with another one."""
        other = call_control_id_to_bridge_with
        return await self._plain(call_control_id, "bridge", options, call_control_id=other)

    async def gather_using_speak(
        self, call_control_id: str, payload: str, **options: Unpack[GatherOptions]
    ) -> ActionResult:
        """Speak a text, then collect the keys that are pressed."""
        return await self._plain(call_control_id, "gather_using_speak", options, payload=payload)

    async def start_noise_suppression(
        self, call_control_id: str, **options: Unpack[SuppressionOptions]
    ) -> ActionResult:
        """Take noise out of the call's audio."""
        return await self._plain(call_control_id, "suppression_start", options)

    async def stop_noise_suppression(
        self, call_control_id: str, **common: Unpack[CommonOptions]
    ) -> ActionResult:
        """Leave the call's audio as it is again."""
        return await self._plain(call_control_id, "suppression_stop", common)

    async def command(self, call_control_id: str, action: str, /, **body: object) -> ActionResult:
        """Send any action by Telnyx's own name for it, such as ``reject`` or ``refer``.

        Args:
            call_control_id: of the call.
            action: the last part of the path, with underscores.
            **body: fields, sent as they are; only ``client_state`` is encoded, as elsewhere.

        Raises:
            InvalidFieldError: no name of an action, or a value that JSON cannot hold.
        """
        _ACTION.require("action", action)
        fields = {name: value for name, value in body.items() if value is not None}
        if "command_id" in fields:
            COMMAND_ID.require("command_id", fields["command_id"])
        if "client_state" in fields:
            fields["client_state"] = encoded_client_state(fields["client_state"])
        for name, value in fields.items():
            JSON.require(name, value)
        return await self._act(call_control_id, action, fields)
