"""The stream that a REST command asks for, as a fake call over a WebSocket."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from mediaserver.carrier import messages
from mediaserver.carrier.call import FakeCall
from mediaserver.carrier.plan import CallPlan

SPEECH_S = 120.0
"""How long a stream's speech goes on; after it the line stays open and silent."""

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
    """The shipped speech over and over, in the formats that were asked for."""
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
    """A fake call whose ``start`` says what the REST command and its call said, no more."""

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
