"""Keys from the stream and from webhooks: each press once, whoever tells it first."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from mediaserver.control.events import Event
from mediaserver.processors.api import Dtmf
from mediaserver.server.calls.audio.alarm import Alarm
from mediaserver.server.calls.dtmf import DtmfEvents
from mediaserver.wire.messages import Dtmf as WireDtmf
from mediaserver.wire.messages import DtmfBody

AT = "2025-06-05T08:54:{:02}.000000Z"


class Keys:
    """The keys of one call, and what was told of them."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.events = DtmfEvents(self._press, Alarm(lambda: None))

    def _press(self, event: Dtmf) -> None:
        self.told.append(event.digit)

    def stream(self, digit: str, second: int, now: float) -> None:
        self.events.received(WireDtmf(DtmfBody(digit), AT.format(second)), now)

    def webhook(self, digit: Any, second: int, now: float) -> None:
        self.events.reported_by(
            Event(
                id=f"{digit}{second}",
                event_type="call.dtmf.received",
                occurred_at=AT.format(second),
                payload={"digit": digit},
            ),
            now,
        )

    def all(self) -> list[str]:
        self.events.end()
        return self.told


@pytest.mark.parametrize("first", ["stream", "webhook"])
async def test_a_press_told_twice_is_one(first: str) -> None:
    """By the stream and by a webhook, in either order."""
    keys = Keys()
    second = "webhook" if first == "stream" else "stream"
    for n, digit in enumerate("1123"):
        getattr(keys, first)(digit, n, n)
        getattr(keys, second)(digit, n, n + 0.3)
    assert keys.all() == ["1", "1", "2", "3"]


@pytest.mark.parametrize("sides", list(product(["stream", "webhook", "both"], repeat=3)))
async def test_what_one_side_does_not_tell_is_not_lost(sides: tuple[str, ...]) -> None:
    """Each press comes once although either side may leave it out."""
    keys = Keys()
    for n, side in enumerate(sides):
        if side in ("stream", "both"):
            keys.stream(str(n), n, n)
        if side in ("webhook", "both"):
            keys.webhook(str(n), n, n + 0.2)
    assert keys.all() == ["0", "1", "2"]


async def test_the_same_key_much_later_is_another_press() -> None:
    """One side alone tells 5 again after half a minute: twice."""
    keys = Keys()
    keys.stream("5", 0, 0.0)
    keys.webhook("5", 30, 30.0)
    assert keys.all() == ["5", "5"]


@pytest.mark.parametrize("digit", [None, "", 7, ["1"]])
async def test_a_webhook_without_a_digit_is_no_press(digit: Any) -> None:
    """Whatever stands in its place."""
    keys = Keys()
    keys.webhook(digit, 0, 0.0)
    assert keys.all() == []
