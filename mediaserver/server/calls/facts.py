"""What is known of a call: the one value that its session and all its views read."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping

import msgspec

from mediaserver.observer import StreamRequest
from mediaserver.server.calls.audio.formats import Formats
from mediaserver.wire.messages import TOKEN_PARAMETER, Start


class CallFacts:
    """What ``start`` said, and what was made of it; renewed when another socket takes over.

    Args:
        call_id: Telnyx's ``call_control_id``, or what stands in for it.
        start: the message that began the stream.
        formats: codec and rate each way.
        request: what to ask for to have such a stream again.
        query: the stream URL's, without the token.
        path: the stream URL's, without the token.
        route: what the route asks for that its chain is from; empty: no route.
        can_play: a processor of its chain is no tap.
        is_open: no token is asked for, so a parameter of that name is the user's own.

    Attributes:
        started_at: unix seconds.
    """

    def __init__(
        self,
        call_id: str,
        start: Start,
        formats: Formats,
        request: StreamRequest,
        query: Mapping[str, str],
        path: str,
        *,
        route: str = "",
        can_play: bool = False,
        is_open: bool = True,
    ) -> None:
        self.call_id = call_id
        self.started_at: float = time.time()
        self.takeovers: int = 0
        self.start: Start = start
        self.formats: Formats = formats
        self.request: StreamRequest = request
        self.query = query
        self.path = path
        self.route = route
        self.can_play = can_play
        self._is_open = is_open

    @property
    def parameters(self) -> dict[str, str]:
        """The stream's custom parameters, without the token."""
        given = self.start.start.parameters
        if not self._is_open:
            given.pop(TOKEN_PARAMETER, None)
        return given

    @property
    def client_state(self) -> str | None:
        """As it was given when the stream was started; still encoded if that is no text."""
        raw = self.start.start.client_state
        if raw is None:
            return None
        try:
            return base64.b64decode(raw, validate=True).decode()
        except ValueError:
            return raw

    def renew(self, start: Start, formats: Formats) -> None:
        """Another socket brought another ``start``; the chain stays, and so what selected it."""
        self.takeovers += 1
        self.start = start
        self.formats = formats
        self.request = msgspec.structs.replace(
            self.request,
            send_codec=formats.send_codec,
            send_rate=formats.send_rate,
            send_mode=formats.send_mode,
        )
