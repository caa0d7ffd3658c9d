"""Keys pressed in a call: in the order of pressing, each once, from the stream and webhooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mediaserver.media.dtmf import DtmfOrder
from mediaserver.observer import ReportedEvent
from mediaserver.processors.api import Dtmf
from mediaserver.server.calls.audio.alarm import Alarm
from mediaserver.wire import messages as wire

# The stream and a webhook that tell the same key within this time tell the same press.
SAME_PRESS_S = 10.0
MAX_AWAITED = 64


class DtmfEvents:
    """Publishes the keys of one call.

    A press may be told twice, by the stream's ``dtmf`` and by ``call.dtmf.received``, in
    either order: each waits for its like from the other side.

    Args:
        publish: told each press.
        alarm: set for when ``poll`` has work.
    """

    def __init__(self, publish: Callable[[Dtmf], None], alarm: Alarm) -> None:
        self._publish = publish
        self._alarm = alarm
        self._order: DtmfOrder[Dtmf] = DtmfOrder()
        # Presses that only one side has told, by the side that has not: (digit, at).
        self._awaited: dict[str, list[tuple[str, float]]] = {"stream": [], "webhook": []}

    @property
    def next_at(self) -> float | None:
        """When ``poll`` has work."""
        return self._order.next_at

    def received(self, message: wire.Dtmf, now: float) -> None:
        """From the stream."""
        pressed = Dtmf(message.dtmf.digit, message.occurred_at)
        self._told("stream", pressed, message.occurred_s, now)

    def reported_by(self, event: ReportedEvent, now: float) -> None:
        """From a ``call.dtmf.received`` webhook."""
        digit, occurred_at = getattr(event, "digit", None), getattr(event, "occurred_at", None)
        if not isinstance(digit, str):  # an event of a class without the field
            payload = getattr(event, "payload", {})
            digit = payload.get("digit") if isinstance(payload, Mapping) else None
        if isinstance(digit, str) and digit:
            self._reported(digit, occurred_at, now)

    def _reported(self, digit: str, occurred_at: str | None, now: float) -> None:
        at = wire.Dtmf(wire.DtmfBody(digit), occurred_at).occurred_s
        self._told("webhook", Dtmf(digit, occurred_at), at, now)

    def poll(self, now: float) -> None:
        """Publish what has waited long enough for earlier presses."""
        for event in self._order.poll(now):
            self._publish(event)

    def end(self) -> None:
        """Publish what still waits."""
        for event in self._order.drain():
            self._publish(event)

    def _told(self, side: str, pressed: Dtmf, occurred_s: float | None, now: float) -> None:
        awaited = self._awaited[side]
        while awaited and now - awaited[0][1] > SAME_PRESS_S:
            del awaited[0]
        for entry in awaited:
            if entry[0] == pressed.digit:
                awaited.remove(entry)
                return  # the other side has told it
        other = self._awaited["webhook" if side == "stream" else "stream"]
        if len(other) == MAX_AWAITED:
            del other[0]
        other.append((pressed.digit, now))
        for event in self._order.push(pressed, occurred_s, now):
            self._publish(event)
        self._alarm.set(self.next_at)
