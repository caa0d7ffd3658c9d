"""The commands themselves: ``client.calls.dial`` and ``client.calls.actions.*``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Unpack

from mediaserver.control.errors import InvalidFieldError, UnreadableReplyError
from mediaserver.control.own_server import OwnServer, Scalar, stream_parameters
from mediaserver.control.rest.actions.media import MediaActions
from mediaserver.control.rest.actions.options import CommonOptions, HangupOptions
from mediaserver.control.rest.actions.sender import text_of
from mediaserver.control.rest.commander import Command, Commander, new_command_id
from mediaserver.control.rest.engines import TranscriptionConfig
from mediaserver.control.rest.fields import ForkStreamType, TranscriptionTracks
from mediaserver.control.rest.streams import (
    AnswerOptions,
    DialOptions,
    StartStreamingOptions,
    stream_body,
)
from mediaserver.control.results import ActionResult
from mediaserver.errors import ConfigurationError


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


class ForkPorts(Protocol):
    """Who receives forks here."""

    def open(self, call_control_id: str, parameters: Mapping[str, str]) -> tuple[str, str]:
        """Open ports for a call: ``rx`` and ``tx``."""

    def stopped(self, call_control_id: str) -> None:
        """The call is not forked, or not any more."""


class Actions(MediaActions):
    """Commands to one call, each named by its ``call_control_id``.

    All raise InvalidFieldError before anything is sent, ApiError and NetworkError after.
    """

    def __init__(
        self, commander: Commander, server: OwnServer, wall_clock: Callable[[], float]
    ) -> None:
        super().__init__(commander)
        self._server = server
        self._wall_clock = wall_clock
        self._forks: ForkPorts | None = None

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
        receive: bool | None = None,
        processor: str | None = None,
        processor_parameters: Mapping[str, Scalar] | None = None,
        **common: Unpack[CommonOptions],
    ) -> ActionResult:
        """Have the call's RTP copied to UDP addresses ``udp:ip:port``; replaces a stream.

        Args:
            call_control_id: of the call.
            rx: where a copy of what Telnyx receives goes; with ``tx``.
            tx: where a copy of what it sends goes; with ``rx``.
            target: instead of both, the old form: one address, a STREP header on each packet.
            receive: our own server receives it: instead of all three. The call's processors then
                hear both directions, and can play nothing.
            processor: with ``receive``: one that the server knows; its chain's if None.
            processor_parameters: for that processor.
            **common: client_state, command_id, extra.

        Raises:
            ConfigurationError: this server receives no forks, or has no free port.
        """
        if receive:
            if not (rx is None and tx is None and target is None):
                raise InvalidFieldError("receive", "left out with rx, tx and target")
            told = stream_parameters(processor=processor, parameters=processor_parameters)
            return await self._fork_to_us(call_control_id, told, common)
        if processor is not None or processor_parameters is not None:
            raise InvalidFieldError("processor", "left out, or come with receive=True")
        fields = _fork_fields(rx, tx, target)
        return await self._plain(call_control_id, "fork_start", common, **fields)

    async def _fork_to_us(
        self, call_control_id: str, told: Mapping[str, str], common: CommonOptions
    ) -> ActionResult:
        if self._forks is None:
            raise ConfigurationError(
                "this server receives no forks: set fork_ports, and give it the command in the"
                " process that has them"
            )
        rx, tx = self._forks.open(call_control_id, told)
        fields = {"rx": rx, "tx": tx, "stream_type": "decrypted"}
        try:
            return await self._plain(call_control_id, "fork_start", common, **fields)
        except BaseException:  # a cancellation as well: the ports are given back
            self._forks.stopped(call_control_id)
            raise

    async def stop_forking(
        self,
        call_control_id: str,
        *,
        stream_type: ForkStreamType = "decrypted",
        **common: Unpack[CommonOptions],
    ) -> ActionResult:
        """Stop the copy; Telnyx's own default for ``stream_type`` is not what start uses."""
        result = await self._plain(call_control_id, "fork_stop", common, stream_type=stream_type)
        if self._forks is not None:
            self._forks.stopped(call_control_id)
        return result

    async def start_transcription(
        self,
        call_control_id: str,
        *,
        transcription_engine: str | None = None,
        transcription_tracks: TranscriptionTracks | None = None,
        transcription_engine_config: TranscriptionConfig | None = None,
        **common: Unpack[CommonOptions],
    ) -> ActionResult:
        """Have the call transcribed; the words come as ``call.transcription`` webhooks.

        Args:
            call_control_id: of the call.
            transcription_engine: ``Google`` (Telnyx's default), ``Telnyx``, ``Deepgram``,
                ``Azure`` …; one that is not known here is sent with a warning.
            transcription_tracks: who is listened to; default inbound.
            transcription_engine_config: by engine; its engine is filled in.
            **common: client_state, command_id, extra.
        """
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

    async def hangup(self, call_control_id: str, **options: Unpack[HangupOptions]) -> ActionResult:
        """End the call; one that has ended is as it should be."""
        return await self._plain(call_control_id, "hangup", options)


def _fork_fields(rx: str | None, tx: str | None, target: str | None) -> dict[str, str | None]:
    if target is not None and (rx is not None or tx is not None):
        raise InvalidFieldError("target", "left out with rx and tx")
    if target is None and rx is None:
        raise InvalidFieldError("rx", "given together with tx (or target alone)")
    if target is None and tx is None:
        raise InvalidFieldError("tx", "given together with rx (or target alone)")
    stream_type = "decrypted" if target is None else None
    return {"rx": rx, "tx": tx, "target": target, "stream_type": stream_type}


class Calls:
    """Calls as a whole, and ``actions`` on one of them."""

    def __init__(
        self, commander: Commander, server: OwnServer, wall_clock: Callable[[], float]
    ) -> None:
        self.actions: Actions = Actions(commander, server, wall_clock)
        self._commander = commander
        self._server = server
        self._wall_clock = wall_clock

    def receive_forks(self, forks: ForkPorts | None) -> None:
        """From now on ``start_forking(…, receive=True)`` has ports from there."""
        self.actions._forks = forks

    async def dial(
        self,
        *,
        connection_id: str,
        from_: str,
        to: str | Sequence[str],
        **options: Unpack[DialOptions],
    ) -> DialedCall:
        """Call somebody; ``stream=True`` opens a stream to our server at once.

        Tried again only if the request surely was not sent, or on 429: nobody is called twice.

        Args:
            connection_id: of the Call Control application.
            from_: number shown to the called party.
            to: number or SIP URI to call, or several of them.
            **options: the stream, where webhooks go (default: our server), and the rest of
                Telnyx's fields; those without a name here go in ``extra``.

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
        call_control_id = text_of(data, "call_control_id")
        if call_control_id is None:
            raise UnreadableReplyError("the answer to dial names no call_control_id")
        leg_id, session_id = text_of(data, "call_leg_id"), text_of(data, "call_session_id")
        return DialedCall(call_control_id, leg_id, session_id, command.command_id)
