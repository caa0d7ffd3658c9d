"""``serve --answer``: an incoming call is answered with a stream to our server.

``answer`` has no fields for the rate, a token or custom parameters. If one of them is needed, the
call is answered without a stream, and a second command starts the stream.

Source: protocol.md 1.4, 2 and 3.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Unpack

from mediaserver.control.client import TelnyxClient
from mediaserver.control.errors import UnprocessableError
from mediaserver.control.events import CallInitiated, Event
from mediaserver.control.rest.streams import (
    AnswerIncomingOptions,
    StartStreamingOptions,
)
from mediaserver.control.results import ActionResult

_NOT_ANSWERED = "90034"
UP_WITHIN_S = 10.0
"""How long a call may take from ``answer`` until it takes a stream."""
_ASK_EVERY_S = 0.25

_ANSWERS = uuid.UUID("6c1f8d0e-3f0b-5a52-9d0e-5d1f9a3a7c11")
"""Name space of the command ids of answers, and of the streams that follow them."""

_NEEDS_START = (
    "stream_bidirectional_sampling_rate",
    "stream_auth_token",
    "custom_parameters",
    "processor",
    "processor_parameters",
    "enable_dialogflow",
    "dialogflow_config",
)
_PLAIN_CODECS = (None, "PCMU", "PCMA")
"""Codecs whose only rate is the one that ``answer`` leads to, 8000 Hz."""


async def answer_incoming(
    client: TelnyxClient,
    event: Event,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    **options: Unpack[AnswerIncomingOptions],
) -> ActionResult | None:
    """Answer the call of a ``call.initiated`` event, if it is incoming, with a stream.

    Register it: ``receiver.on("call.initiated")(partial(answer_incoming, client))``. The
    stream is started by a second command where a rate, a token or parameters are wanted.

    Args:
        client: with a ``public_url``, unless ``stream_url`` is given.
        event: any; all but incoming calls are left alone.
        sleep: waits between tries to start the stream, while the call is not up yet.
        **options: of ``answer`` and of ``start_streaming``.

    Returns:
        The result of the last command, or None if there was nothing to answer.

    Raises:
        ControlError: one of the commands was refused, or got no answer.
    """
    if not isinstance(event, CallInitiated) or event.direction not in ("incoming", "inbound"):
        return None
    call = event.call_control_id
    if call is None:
        return None
    options.setdefault("stream", True)
    has_stream = options["stream"] or options.get("stream_url") is not None
    # A call may be reported twice, by events of different ids: it is answered once.
    answer_id = options.get("command_id") or str(uuid.uuid5(_ANSWERS, call))
    options["command_id"] = answer_id
    if not (has_stream and _needs_start(client, options)):
        return await client.calls.actions.answer(call, **_of_answer(options))
    options["stream"] = False
    await client.calls.actions.answer(call, **_of_answer(options, with_stream=False))
    return await _start_when_up(client, call, _of_start(options), answer_id, sleep)


def _needs_start(client: TelnyxClient, options: AnswerIncomingOptions) -> bool:
    """Whether the stream has something to it that ``answer`` cannot say."""
    if client.server.auth_token is not None:
        return True
    if options.get("stream_bidirectional_codec") not in _PLAIN_CODECS:
        return True
    return any(options.get(name) is not None for name in _NEEDS_START)


def _of_answer(options: AnswerIncomingOptions, *, with_stream: bool = True) -> Any:
    names = set(options) - set(_NEEDS_START)
    if not with_stream:
        names = {name for name in names if not name.startswith("stream_")}
    return {name: value for name, value in options.items() if name in names}


def _of_start(options: AnswerIncomingOptions) -> StartStreamingOptions:
    kept: Any = {
        name: value
        for name, value in options.items()
        if name.startswith("stream_") or name in (*_NEEDS_START, "client_state")
    }
    started: StartStreamingOptions = kept
    return started


async def _start_when_up(
    client: TelnyxClient,
    call: str,
    options: StartStreamingOptions,
    answer_id: str,
    sleep: Callable[[float], Awaitable[object]],
) -> ActionResult:
    """Start the stream; Telnyx may take a moment from ``answer`` to an answered call."""
    n_waits = round(UP_WITHIN_S / _ASK_EVERY_S)
    while True:
        # Each try has an id of its own, for a repeat is ignored; a repeated answer has the same.
        options["command_id"] = str(uuid.uuid5(_ANSWERS, f"{answer_id} stream {n_waits}"))
        try:
            return await client.calls.actions.start_streaming(call, **options)
        except UnprocessableError as error:
            if error.code != _NOT_ANSWERED or n_waits == 0:
                raise
        n_waits -= 1
        await sleep(_ASK_EVERY_S)
