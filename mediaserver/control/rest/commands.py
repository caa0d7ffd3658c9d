"""The commands themselves: ``client.calls.dial`` and ``client.calls.actions.*``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Unpack
from urllib.parse import quote

from mediaserver.control.checks import CALL_ID
from mediaserver.control.errors import InvalidFieldError, UnreadableReplyError
from mediaserver.control.own_server import OwnServer
from mediaserver.control.rest.commander import Command, Commander, new_command_id
from mediaserver.control.rest.fields import (
    ForkStreamType,
    TranscriptionEngine,
    TranscriptionTracks,
    body,
)
from mediaserver.control.rest.streams import (
    AnswerOptions,
    CommonOptions,
    DialOptions,
    StartStreamingOptions,
    encoded_client_state,
    stream_body,
)

_ALREADY_STOPPED = frozenset({"90018", "90031", "90048"})
"""Call ended, not forked, streaming not in use: what a stop command wants (protocol.md 3)."""


@dataclass(frozen=True)
class ActionResult:
    """A command was carried out.

    Attributes:
        command_id: of the command.
        result: Telnyx's word, "ok".
        was_already_so: a stop command found nothing left to stop.
    """

    command_id: str
    result: str = "ok"
    was_already_so: bool = False


@dataclass(frozen=True)
class DialedCall:
    """A call that Telnyx is setting up.

    Attributes:
        call_control_id: to command it by.
        call_leg_id: this leg, or None.
        call_session_id: shared by all legs, or None.
        command_id: of the command.
    """

    call_control_id: str
    call_leg_id: str | None
    call_session_id: str | None
    command_id: str


class Actions:
    """Commands to one call, each named by its ``call_control_id``.

    All raise InvalidFieldError before anything is sent, ApiError and NetworkError after.
    """

    def __init__(
        self, commander: Commander, server: OwnServer, wall_clock: Callable[[], float]
    ) -> None:
        self._commander = commander
        self._server = server
        self._wall_clock = wall_clock

    async def start_streaming(
        self, call_control_id: str, **options: Unpack[StartStreamingOptions]
    ) -> ActionResult:
        """Have the call's audio streamed to our server, or to ``stream_url``."""
        fields = stream_body("streaming_start", options, self._server, self._wall_clock())
        return await self._act(call_control_id, "streaming_start", fields)

    async def stop_streaming(
        self,
        call_control_id: str,
        *,
        stream_id: str | None = None,
        **common: Unpack[CommonOptions],
    ) -> ActionResult:
        """Stop one stream of the call, or all of them."""
        return await self._plain(call_control_id, "streaming_stop", common, stream_id=stream_id)

    async def start_forking(
        self,
        call_control_id: str,
        *,
        rx: str | None = None,
        tx: str | None = None,
        target: str | None = None,
        **common: Unpack[CommonOptions],
    ) -> ActionResult:
        """Have the call's RTP copied to UDP addresses ``udp:ip:port``; replaces a stream.

        Args:
            call_control_id: of the call.
            rx: where a copy of what Telnyx receives goes.
            tx: where a copy of what it sends goes.
            target: the old form, both with a STREP header.
            **common: client_state, command_id.
        """
        if rx is None and tx is None and target is None:
            raise InvalidFieldError("rx", "given, or tx, or target")
        return await self._plain(
            call_control_id,
            "fork_start",
            common,
            rx=rx,
            tx=tx,
            target=target,
            stream_type="decrypted",
        )

    async def stop_forking(
        self,
        call_control_id: str,
        *,
        stream_type: ForkStreamType = "decrypted",
        **common: Unpack[CommonOptions],
    ) -> ActionResult:
        """Stop the copy; Telnyx's own default for ``stream_type`` is not what start uses."""
        return await self._plain(call_control_id, "fork_stop", common, stream_type=stream_type)

    async def start_transcription(
        self,
        call_control_id: str,
        *,
        transcription_engine: TranscriptionEngine | None = None,
        transcription_tracks: TranscriptionTracks | None = None,
        transcription_engine_config: Mapping[str, object] | None = None,
        **common: Unpack[CommonOptions],
    ) -> ActionResult:
        """Have the call transcribed; the words come as ``call.transcription`` webhooks."""
        return await self._plain(
            call_control_id,
            "transcription_start",
            common,
            transcription_engine=transcription_engine,
            transcription_tracks=transcription_tracks,
            transcription_engine_config=transcription_engine_config,
        )

    async def stop_transcription(
        self, call_control_id: str, **common: Unpack[CommonOptions]
    ) -> ActionResult:
        """Stop the transcription."""
        return await self._plain(call_control_id, "transcription_stop", common)

    async def answer(self, call_control_id: str, **options: Unpack[AnswerOptions]) -> ActionResult:
        """Answer an incoming call; ``stream=True`` opens a stream to our server at once."""
        fields = stream_body("answer", options, self._server, self._wall_clock())
        return await self._act(call_control_id, "answer", fields)

    async def hangup(self, call_control_id: str, **common: Unpack[CommonOptions]) -> ActionResult:
        """End the call."""
        return await self._plain(call_control_id, "hangup", common)

    async def _plain(
        self, call_control_id: str, name: str, common: CommonOptions, **fields: object
    ) -> ActionResult:
        fields["client_state"] = encoded_client_state(common.get("client_state"))
        fields["command_id"] = common.get("command_id")
        return await self._act(call_control_id, name, body(name, fields))

    async def _act(
        self, call_control_id: str, name: str, fields: dict[str, object]
    ) -> ActionResult:
        CALL_ID.require("call_control_id", call_control_id)
        fields.setdefault("command_id", new_command_id())
        command = Command(
            f"/calls/{quote(call_control_id, safe='')}/actions/{name}",
            fields,
            already=_ALREADY_STOPPED if name.endswith("_stop") else frozenset(),
        )
        data = await self._commander.run(command)
        result = _text(data or {}, "result") or "ok"
        return ActionResult(command.command_id, result, was_already_so=data is None)


class Calls:
    """Calls as a whole, and ``actions`` on one of them."""

    def __init__(
        self, commander: Commander, server: OwnServer, wall_clock: Callable[[], float]
    ) -> None:
        self.actions = Actions(commander, server, wall_clock)
        self._commander = commander
        self._server = server
        self._wall_clock = wall_clock

    async def dial(
        self, *, connection_id: str, from_: str, to: str, **options: Unpack[DialOptions]
    ) -> DialedCall:
        """Call somebody; ``stream=True`` opens a stream to our server at once.

        Tried again only if the request surely was not sent, or on 429: nobody is called twice.

        Args:
            connection_id: of the Call Control application.
            from_: number shown to the called party.
            to: number or SIP URI to call.
            **options: the stream, and where webhooks go (default: our server).

        Raises:
            UnreadableReplyError: the call is made, but Telnyx's answer does not name it.
        """
        given: dict[str, Any] = {"connection_id": connection_id, "from": from_, "to": to}
        given |= options
        if given.get("webhook_url") is None:
            given["webhook_url"] = self._server.webhook_url
        for name in ("connection_id", "from", "to"):
            if given[name] is None:
                raise InvalidFieldError(name, "given")
        fields = stream_body("dial", given, self._server, self._wall_clock())
        fields.setdefault("command_id", new_command_id())
        command = Command("/calls", fields, only_if_unsent=True)
        data = await self._commander.run(command) or {}
        call_control_id = _text(data, "call_control_id")
        if call_control_id is None:
            raise UnreadableReplyError("the answer to dial names no call_control_id")
        leg_id, session_id = _text(data, "call_leg_id"), _text(data, "call_session_id")
        return DialedCall(call_control_id, leg_id, session_id, command.command_id)


def _text(data: Mapping[str, Any], name: str) -> str | None:
    value = data.get(name)
    return value if isinstance(value, str) and value else None
