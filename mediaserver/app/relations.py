"""Calls and what else is known of them: webhooks join their call, broken streams restart."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

from mediaserver.control import RestartLimits, StreamRestarter, TelnyxClient, WebhookReceiver
from mediaserver.control.rest.fields import (
    BidirectionalCodec,
    BidirectionalMode,
    BidirectionalRate,
)
from mediaserver.control.rest.streams import StartStreamingOptions
from mediaserver.observer import CallSummary, ReportedEvent, StreamRequest


class _Followed(NamedTuple):
    """A call that was reported open: how its stream was asked for, who takes its webhooks."""

    request: StreamRequest
    webhook: Callable[[ReportedEvent], None]


class Relations:
    """Follows the calls of a server; a ``CallObserver``.

    Args:
        client: starts broken streams again; needed with ``restart``.
        webhooks: what Telnyx reports; None where it reports nothing.
        restart: how stubbornly broken streams are started again; None: they are not.
    """

    def __init__(
        self,
        client: TelnyxClient | None,
        webhooks: WebhookReceiver | None,
        restart: RestartLimits | None,
    ) -> None:
        self._client = client
        self._webhooks = webhooks
        self._followed: dict[str, _Followed] = {}
        self._restarter: StreamRestarter | None = None
        if restart is not None:
            self._restarter = StreamRestarter(self._restart, limits=restart)
            if webhooks is not None:
                webhooks.on("*")(self._restarter.on_event)

    async def aclose(self) -> None:
        """Start no more streams."""
        if self._restarter is not None:
            await self._restarter.aclose()

    def opened(
        self, call_id: str, request: StreamRequest, webhook: Callable[[ReportedEvent], None]
    ) -> None:
        """See ``CallObserver``."""
        former = self._followed.get(call_id)
        self._followed[call_id] = _Followed(request, webhook)
        # A second socket may have brought a new session, while the old one's handlers end.
        if self._webhooks is not None and (former is None or former.webhook != webhook):
            if former is not None:
                self._webhooks.detach(call_id, former.webhook)
            self._webhooks.attach(call_id, webhook)
        if self._restarter is not None:
            self._restarter.connected(call_id)

    def lost(self, call_id: str) -> None:
        """See ``CallObserver``."""
        if self._restarter is not None:
            self._restarter.socket_lost(call_id)

    def closed(self, summary: CallSummary) -> None:
        """See ``CallObserver``."""
        call_id = summary.call_id
        followed = self._followed.get(call_id)
        if self._webhooks is not None and followed is not None:
            self._webhooks.detach(call_id, followed.webhook)
        if summary.reason == "lost" and self._restarter is not None:
            return  # the restarter still needs to know what to ask for
        self._followed.pop(call_id, None)
        if self._restarter is not None:
            self._restarter.ended(call_id)

    async def _restart(self, call_id: str) -> None:
        """Ask for the stream that broke, as it was."""
        assert self._client is not None
        followed = self._followed.get(call_id)
        options: StartStreamingOptions = {}
        if followed is not None:
            request = followed.request
            options["processor"] = request.processor
            options["processor_parameters"] = dict(request.parameters) or None
            options["stream_bidirectional_mode"] = cast(BidirectionalMode, request.send_mode)
            if request.send_mode == "rtp":
                options["stream_bidirectional_codec"] = cast(BidirectionalCodec, request.send_codec)
                rate = cast(BidirectionalRate, request.send_rate)
                options["stream_bidirectional_sampling_rate"] = rate
        await self._client.calls.actions.start_streaming(call_id, **options)
