"""Calls and what else is known of them: webhooks join their call, broken streams restart."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Sequence
from typing import NamedTuple, cast

from mediaserver.control import RestartLimits, StreamRestarter, TelnyxClient, WebhookReceiver
from mediaserver.control.events import CallHangup, Event, StreamingFailed
from mediaserver.control.rest.fields import (
    BidirectionalCodec,
    BidirectionalMode,
    BidirectionalRate,
)
from mediaserver.control.rest.streams import StartStreamingOptions
from mediaserver.history.call_store import CallStore
from mediaserver.history.recorder import CallRecorder
from mediaserver.history.records import HangUp
from mediaserver.logs import LimitedLog, shown
from mediaserver.observer import CallObserver, CallSummary, ReportedEvent, StreamRequest

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

FORKED = "none"
"""The mode of a call that is no stream, and so is not started again as one."""


class _Followed(NamedTuple):
    """A call that was reported open: how its stream was asked for, who takes its webhooks."""

    request: StreamRequest
    webhook: Callable[[ReportedEvent], None] | None


class Relations:
    """Follows the calls of a server; a ``CallObserver``.

    Args:
        client: starts broken streams again; needed with ``restart``.
        webhooks: what Telnyx reports; None where it reports nothing.
        restart: how stubbornly broken streams are started again; None: they are not.
        store: remembers the live calls over a crash; None: nobody does.
        recorder: makes the records of ended calls; None: nobody does.
    """

    def __init__(
        self,
        client: TelnyxClient | None,
        webhooks: WebhookReceiver | None,
        restart: RestartLimits | None,
        store: CallStore | None = None,
        recorder: CallRecorder | None = None,
    ) -> None:
        self._client = client
        self._store = store
        self._recorder = recorder
        self._webhooks = webhooks
        self._followed: dict[str, _Followed] = {}
        self._restarter: StreamRestarter | None = None
        if restart is not None:
            self._restarter = StreamRestarter(
                self._restart, limits=restart, given_up=self._forget, is_ours=self._is_ours
            )
            if webhooks is not None:
                webhooks.on("*")(self._restarter.on_event)
        if webhooks is not None:
            webhooks.on("call.hangup")(self._hung_up)
            if recorder is not None:
                webhooks.on("*")(self._reported)

    async def restore(self, going_on: Container[str] = ()) -> None:
        """Start the streams again of calls that were live when a server before this one died.

        ``going_on``: ids of those that live in an older generation of this server.
        """
        if self._store is None or self._restarter is None:
            return
        for call_id, request in (await self._store.live()).items():
            if call_id not in self._followed and call_id not in going_on:
                text = "call %s was live when the server died: its stream starts"
                limited.each(logging.INFO, "call restored", text, shown(call_id), call=call_id)
                self._followed[call_id] = _Followed(request, None)
                self._restarter.watch(call_id)
                self._restarter.failed(call_id)

    async def aclose(self) -> None:
        """Start no more streams, and hear of no more webhooks."""
        if self._webhooks is not None:  # which may outlive this server
            self._webhooks.off(self._hung_up)
            self._webhooks.off(self._reported)
        if self._restarter is not None:
            if self._webhooks is not None:
                self._webhooks.off(self._restarter.on_event)
            await self._restarter.aclose()
        if self._store is not None:
            await self._store.aclose()

    def opened(
        self, call_id: str, request: StreamRequest, webhook: Callable[[ReportedEvent], None]
    ) -> None:
        """See ``CallObserver``."""
        former = self._followed.get(call_id)
        self._followed[call_id] = _Followed(request, webhook)
        # A second socket may have brought a new session, while the old one's handlers end.
        if self._webhooks is not None and (former is None or former.webhook != webhook):
            if former is not None and former.webhook is not None:
                self._webhooks.detach(call_id, former.webhook)
            self._webhooks.attach(call_id, webhook)
        if request.send_mode == FORKED:
            return  # no stream of it is to be started again
        if self._restarter is not None:
            self._restarter.connected(call_id)
        if self._store is not None:
            self._store.opened(call_id, request)
        if self._recorder is not None:
            self._recorder.opened(call_id, request)

    def lost(self, call_id: str) -> None:
        """See ``CallObserver``."""
        if self._restarter is not None:
            self._restarter.socket_lost(call_id)

    def closed(self, summary: CallSummary) -> None:
        """See ``CallObserver``."""
        call_id = summary.call_id
        if self._recorder is not None:
            self._recorder.closed(summary)
        followed = self._followed.get(call_id)
        if self._webhooks is not None and followed is not None and followed.webhook is not None:
            self._webhooks.detach(call_id, followed.webhook)
        if summary.reason in ("lost", "worker") and self._restarter is not None:
            # The restarter still needs to know what to ask for, and nothing of the session.
            if followed is not None:
                self._followed[call_id] = _Followed(followed.request, None)
            if summary.reason == "worker":
                # Nothing is left that the carrier could reconnect to: no grace.
                self._restarter.failed(call_id)
            return
        self._forget(call_id)
        if self._restarter is not None:
            self._restarter.ended(call_id)

    def _hung_up(self, event: Event) -> None:
        """The phone call is over; what is live of it is told of that by itself."""
        call_id = event.call_control_id
        followed = self._followed.get(call_id or "")
        if call_id is not None and (followed is None or followed.webhook is None):
            self._forget(call_id)

    def _reported(self, event: Event) -> None:
        """Any webhook: the call's record has it."""
        if self._recorder is not None and event.call_control_id is not None:
            self._recorder.reported(event.call_control_id, event.event_type, _hang_up(event))

    def _forget(self, call_id: str) -> None:
        """Nothing of the call is live, and its stream will not be started again."""
        self._followed.pop(call_id, None)
        if self._store is not None:
            self._store.closed(call_id)

    def _is_ours(self, event: StreamingFailed) -> bool:
        """Whether the stream was to come here, as far as its URL tells."""
        url = event.stream_url
        return url is not None and self._client is not None and self._client.server.owns(url)

    async def _restart(self, call_id: str) -> None:
        """Ask for the stream that broke, as it was."""
        assert self._client is not None
        followed = self._followed.get(call_id)
        if followed is not None and followed.request.send_mode == FORKED:
            return
        options: StartStreamingOptions = {}
        if followed is not None:
            options = options_of(followed.request, self._client.server.media_url)
        await self._client.calls.actions.start_streaming(call_id, **options)


def options_of(request: StreamRequest, media_url: str | None) -> StartStreamingOptions:
    """What to ask for to have such a stream again, at the server of this URL."""
    options: StartStreamingOptions = {}
    if request.path and media_url is not None:
        options["stream_url"] = f"{media_url}/{request.path}"
    options["custom_parameters"] = dict(request.matched) or None
    options["processor"] = request.processor
    options["processor_parameters"] = dict(request.parameters) or None
    options["stream_bidirectional_mode"] = cast(BidirectionalMode, request.send_mode)
    if request.send_mode == "rtp":
        options["stream_bidirectional_codec"] = cast(BidirectionalCodec, request.send_codec)
        rate = cast(BidirectionalRate, request.send_rate)
        options["stream_bidirectional_sampling_rate"] = rate
    return options


class Followers:
    """Several that follow the calls of a server, as one ``CallObserver``."""

    def __init__(self, followers: Sequence[CallObserver]) -> None:
        self._followers = followers

    def opened(
        self, call_id: str, request: StreamRequest, webhook: Callable[[ReportedEvent], None]
    ) -> None:
        """See ``CallObserver``."""
        for each in self._followers:
            each.opened(call_id, request, webhook)

    def lost(self, call_id: str) -> None:
        """See ``CallObserver``."""
        for each in self._followers:
            each.lost(call_id)

    def closed(self, summary: CallSummary) -> None:
        """See ``CallObserver``."""
        for each in self._followers:
            each.closed(summary)


def _hang_up(event: Event) -> HangUp | None:
    """What a ``call.hangup`` says; None of any other event."""
    if not isinstance(event, CallHangup):
        return None
    quality = event.call_quality_stats
    return HangUp(
        event.hangup_cause,
        event.hangup_source,
        event.sip_hangup_cause,
        {} if quality is None else {"inbound": quality.inbound, "outbound": quality.outbound},
    )
