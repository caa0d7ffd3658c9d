"""``serve --answer``: an incoming call is answered with a stream to our server."""

from __future__ import annotations

from typing import Unpack

from mediaserver.control.client import TelnyxClient
from mediaserver.control.events import CallInitiated, Event
from mediaserver.control.rest.commands import ActionResult
from mediaserver.control.rest.streams import AnswerOptions


async def answer_incoming(
    client: TelnyxClient, event: Event, **options: Unpack[AnswerOptions]
) -> ActionResult | None:
    """Answer the call of a ``call.initiated`` event, if it is incoming.

    Register it: ``receiver.on("call.initiated")(partial(answer_incoming, client))``.

    Args:
        client: with a ``public_url``, unless ``stream_url`` is given.
        event: any; all but incoming calls are left alone.
        **options: of ``client.calls.actions.answer``.

    Returns:
        The result, or None if there was nothing to answer.
    """
    if not isinstance(event, CallInitiated) or event.direction not in ("incoming", "inbound"):
        return None
    if event.call_control_id is None:
        return None
    options.setdefault("stream", True)
    return await client.calls.actions.answer(event.call_control_id, **options)
