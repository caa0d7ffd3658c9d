"""Commands of the cluster to Telnyx: streams that start at the node where a call was placed."""

from __future__ import annotations

import logging
import time
from typing import cast

import msgspec

from mediaserver.app import client_from
from mediaserver.app.relations import options_of
from mediaserver.cluster.messages import Placement, Take
from mediaserver.cluster.moves import command_id
from mediaserver.control import TelnyxClient, answer_incoming
from mediaserver.control.errors import ApiError, ControlError
from mediaserver.control.events import CallInitiated, Event
from mediaserver.control.rest.fields import BidirectionalCodec, BidirectionalRate
from mediaserver.control.rest.streams import StartStreamingOptions
from mediaserver.errors import ConfigurationError
from mediaserver.logs import LimitedLog, shown
from mediaserver.settings import Settings
from mediaserver.tokens import Placed, issue_placed

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

TOKEN_S = 120.0
SNAPSHOT = "snapshot"
"""The custom parameter that brings a call what its processor kept."""
_IN_USE = "90045"
_OVER = ("90018", "90015", "10005")


class Starter:
    """Starts streams by one client for each node.

    Args:
        settings: of the server: its key, its secret, its codec.
        node: the name of this node.
    """

    def __init__(self, settings: Settings, node: str) -> None:
        self._settings = settings
        self._node = node
        self._clients: dict[str, TelnyxClient] = {}

    async def aclose(self) -> None:
        """Close the clients."""
        for client in self._clients.values():
            await client.aclose()

    def answers(self, event: Event) -> bool:
        """Whether it is an incoming call, which is to be answered."""
        return isinstance(event, CallInitiated) and event.direction in ("incoming", "inbound")

    async def answer(self, event: Event, placement: Placement, now: float) -> None:
        """Answer a call with a stream to where it was placed."""
        settings = self._settings
        await answer_incoming(
            self._client(placement.public_url),
            event,
            stream_bidirectional_codec=cast(BidirectionalCodec, settings.send_codec),
            stream_bidirectional_sampling_rate=cast(BidirectionalRate | None, settings.send_rate),
            stream_auth_token=self.token(placement, now),
        )

    def token(self, placement: Placement, now: float) -> str:
        """The token that lets the call in."""
        assert self._settings.auth_token is not None
        return token_of(self._settings.auth_token, placement, now)

    async def take(self, take: Take) -> str:
        """Have a stream start at this node; what became of it, see ``Tried``."""
        text = "call %s is to stream here (%d)"
        limited.info("calls taken", text, shown(take.call), take.epoch, call=take.call)
        outcome = await self._tried(take, "")
        if outcome == "in_use" and take.planned:
            await self._stop(take)
            outcome = await self._tried(take, "again")
        return outcome

    async def _tried(self, take: Take, step: str) -> str:
        url = self._settings.public_url
        assert url is not None
        client = self._client(url)
        options: StartStreamingOptions = {}
        if take.request is not None:
            options = options_of(take.request, client.server.media_url)
        if take.snapshot:
            options["custom_parameters"] = {
                **(options.get("custom_parameters") or {}),
                SNAPSHOT: take.snapshot,
            }
        options["stream_auth_token"] = self.token(
            Placement(take.call, self._node, url, take.epoch), time.time()
        )
        options["command_id"] = command_id(take.call, take.epoch, step)
        try:
            await client.calls.actions.start_streaming(take.call, **options)
        except ControlError as exc:
            outcome = _outcome(exc)
            if outcome == "failed":
                text = "call %s could not be moved here: %s"
                limited.warning("moves failed", text, shown(take.call), shown(exc), call=take.call)
            return outcome
        return "started"

    async def _stop(self, take: Take) -> None:
        url = self._settings.public_url
        assert url is not None
        try:
            await self._client(url).calls.actions.stop_streaming(
                take.call, command_id=command_id(take.call, take.epoch, "stop")
            )
        except ControlError as exc:
            text = "the stream of call %s was not stopped: %s"
            limited.warning("moves failed", text, shown(take.call), shown(exc), call=take.call)

    def _client(self, public_url: str) -> TelnyxClient:
        """The client whose streams go to the node of this URL."""
        if public_url not in self._clients:
            settings = msgspec.structs.replace(self._settings, public_url=public_url)
            client = client_from(settings)
            if client is None:
                raise ConfigurationError("a cluster needs api_key (TELNYX_API_KEY)")
            self._clients[public_url] = client
        return self._clients[public_url]


def token_of(secret: str, placement: Placement, now: float) -> str:
    """A token for a placement, good for `TOKEN_S` from ``now``, in unix seconds."""
    placed = Placed(placement.call, placement.node, placement.epoch, now, now + TOKEN_S)
    return issue_placed(secret, placed)


def _outcome(error: ControlError) -> str:
    if isinstance(error, ApiError):
        if error.code == _IN_USE:
            return "in_use"
        if error.code in _OVER or error.status == 404:
            return "over"
    return "failed"
