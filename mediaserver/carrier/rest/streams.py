"""The stream that a REST command asks for, as a fake call over a WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import msgspec

from mediaserver.carrier import messages
from mediaserver.carrier.call import FakeCall
from mediaserver.carrier.line import CONNECT_ERRORS, no_connection
from mediaserver.carrier.plan import CallPlan, PlanError
from mediaserver.carrier.report import CallReport
from mediaserver.carrier.rest.tell import shown_url
from telephony_codecs import CodecError

SPEECH_S = 120.0
"""How long a stream's speech goes on; after it the line stays open and silent."""

RECONNECT_EVERY_S = 0.1
"""Between two tries of a stream that lost its socket."""

_TRACKS: Mapping[str, Literal["inbound", "outbound", "both"]] = {
    "inbound_track": "inbound",
    "outbound_track": "outbound",
    "both_tracks": "both",
}


@dataclass(frozen=True)
class MediaRequest:
    """A stream as a command asked for it, and the call it belongs to.

    ``token`` and ``url`` stay out of the repr: both may hold a token.
    """

    url: str = field(repr=False)
    stream_id: str
    call_control_id: str
    call_session_id: str
    from_: str
    to: str
    client_state: str | None
    track: str
    codec: str
    mode: Literal["mp3", "rtp"]
    send_codec: str
    send_rate_hz: int
    token: str | None = field(default=None, repr=False)
    custom_parameters: Mapping[str, str] = field(default_factory=dict)


PlanFor = Callable[[MediaRequest], CallPlan]


def stream_fields(body: Mapping[str, Any]) -> dict[str, Any]:
    """The stream's own fields of a command's body, with Telnyx's defaults."""
    codec = body.get("stream_codec", "default")
    parameters = body.get("custom_parameters", ())
    return {
        "url": body["stream_url"],
        "track": body.get("stream_track", "inbound_track"),
        "codec": "PCMU" if codec == "default" else codec,
        "mode": body.get("stream_bidirectional_mode", "mp3"),
        "send_codec": body.get("stream_bidirectional_codec", "PCMU"),
        "send_rate_hz": body.get("stream_bidirectional_sampling_rate", 8000),
        "token": body.get("stream_auth_token"),
        "custom_parameters": {entry["name"]: entry["value"] for entry in parameters},
    }


def default_plan(request: MediaRequest, *, speech_s: float = SPEECH_S) -> CallPlan:
    """The speech of the package again and again, in the formats that were asked for."""
    is_wide = request.send_codec in ("G722", "AMR-WB")
    return CallPlan(
        codec=request.codec,
        seconds=speech_s,
        tracks=_TRACKS[request.track],
        send_codec=request.send_codec,
        send_rate_hz=16000 if is_wide else request.send_rate_hz,
        mode=request.mode,
        custom_parameters=request.custom_parameters,
        call_control_id=request.call_control_id,
        stream_id=request.stream_id,
        token=request.token,
    )


class StreamedCall(FakeCall):
    """A fake call whose ``start`` has only what the REST command and its call gave."""

    def __init__(self, request: MediaRequest, plan: CallPlan) -> None:
        super().__init__(request.url, plan)
        self._request = request

    def start_body(self) -> messages.StartBody:
        """What ``start`` says; only parameters that the command gave are in it."""
        request = self._request
        return msgspec.structs.replace(
            super().start_body(),
            call_session_id=request.call_session_id,
            from_=request.from_,
            to=request.to,
            client_state=request.client_state,
            custom_parameters=dict(request.custom_parameters) or None,
        )


class Owner(Protocol):
    """The call that a stream belongs to.

    Attributes:
        state: where it is in its life.
        picked_up: set when it rings no more: answered, or over.
    """

    state: Literal["ringing", "answered", "ended"]
    picked_up: asyncio.Event

    def report(self, event_type: str, **fields: object) -> None:
        """Send a webhook about the call."""

    def tell(self, what: str) -> None:
        """Print a line on what becomes of the stream."""


@dataclass
class Stream:
    """A stream of a call, from connecting to its end.

    Attributes:
        request: as it was asked for.
        owner: its call.
        plan_for: what it says and how.
        is_ringing: it is open while the call rings, and has not started.
        reconnect_for_s: for so long it tries to connect again once its socket is lost.
        line: once it connects.
        is_stopped: its end was asked for.
    """

    request: MediaRequest
    owner: Owner = field(repr=False)
    plan_for: PlanFor = field(repr=False)
    is_ringing: bool = False
    reconnect_for_s: float = 0.0
    line: StreamedCall | None = None
    is_stopped: bool = False
    _failure: str | None = None
    _is_unanswered: bool = False
    _is_reported: bool = False

    @property
    def is_live(self) -> bool:
        """Whether it has a connection on which audio goes."""
        return self.line is not None and self.line.is_connected and not self.is_stopped

    def end(self) -> None:
        """Stop it: ``stop``, close, webhook. While the call rings, the call's end does this."""
        self.is_stopped = True
        if self.line is not None and not self.is_ringing:
            self.line.over.set()  # its task hangs up

    async def run(self) -> list[CallReport]:
        """Connect, and talk until stopped; a report of each connection."""
        reports = await self._hold()
        loop = asyncio.get_running_loop()
        lost_at = loop.time()
        while self._is_lost and reports and loop.time() - lost_at < self.reconnect_for_s:
            self._failure = None
            again = await self._hold()
            if again:
                lost_at = loop.time()
                reports += again
            else:
                await asyncio.sleep(RECONNECT_EVERY_S)
        return reports

    @property
    def _is_lost(self) -> bool:
        return self._failure is not None and not self.is_stopped and self.owner.state != "ended"

    async def _hold(self) -> list[CallReport]:
        """One connection, to its end; nothing where there is none."""
        try:
            line = self.line = StreamedCall(self.request, self.plan_for(self.request))
            line.is_ringing = line.is_ringing or self.is_ringing
            async with line:
                if not self.is_ringing or await self._is_picked_up(line):
                    await self._talk(line)
            if not self.is_stopped and line.record.close_code != 1000:
                self._failure = "closed"
            return [line.report()]
        except CONNECT_ERRORS as error:
            self._failure = no_connection(error)
        except (PlanError, CodecError) as error:
            self._failure = str(error)
        return []

    def report_end(self) -> None:
        """Send the one webhook about its end; none if it never began."""
        url = self.request.url
        if self._is_unanswered:
            self.owner.tell("its stream was cut: nobody answered")
            return
        self.owner.tell(self._end_line())
        if self._failure is None:
            self.owner.report("streaming.stopped", stream_url=url)
            return
        self.owner.report(
            "streaming.failed",
            failure_reason=self._failure,
            stream_id=self.request.stream_id,
            stream_type="websocket",
            stream_params={"stream_url": url, "track": self.request.track},
        )

    def _end_line(self) -> str:
        """The result of the stream; the URL may hold a token."""
        if self._failure is not None:
            why = self._failure.replace(self.request.url, shown_url(self.request.url))
            code = "" if self.line is None else f" {self.line.record.close_code or ''}".rstrip()
            return f"its stream to {shown_url(self.request.url)} failed: {why}{code}"
        if self.line is None:
            return "its stream ended"
        ear = self.line.intake.ear
        sent, heard_s = len(self.line.record.sent), ear.n_fed / ear.rate_hz
        return f"its stream ended: {sent} messages sent, {heard_s:.1f} s of audio came back"

    async def _talk(self, line: StreamedCall) -> None:
        self.owner.tell(f"streams to {shown_url(self.request.url)}")
        if not self._is_reported:
            self.owner.report("streaming.started", stream_url=self.request.url)
        self._is_reported = True
        if not self.is_stopped:
            await line.speak()
            await line.over.wait()

    async def _is_picked_up(self, line: StreamedCall) -> bool:
        """Wait, connected, while the call rings; True if the stream has started then."""
        waits = [asyncio.create_task(each.wait()) for each in (line.over, self.owner.picked_up)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if self.owner.state == "ended":
            self._is_unanswered = True
            line.cut()  # neither start nor stop
        if line.over.is_set():
            return False
        self.is_ringing = False
        await line.pick_up()
        return True
