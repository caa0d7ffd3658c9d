"""Limits of a call: an event first, then the hang-up; comfort noise is silence."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mediaserver.media.playout import NOTHING_SENT
from mediaserver.media.playout.ledger import Ledger
from mediaserver.processors.api import Event, Hint, LimitReached, StreamError
from mediaserver.server.calls.audio.levels import Levels
from mediaserver.server.calls.watching.load import RunnerLoad
from mediaserver.server.calls.watching.watch import Watch
from mediaserver.settings import Settings
from mediaserver.wire.messages import ErrorBody
from telephony_codecs import Decoder

RANDOM = np.random.default_rng(1)


def noise(dbfs: float) -> Any:
    return (RANDOM.normal(0, 32768 * 10 ** (dbfs / 20), 160)).astype(np.int16)


class Call:
    """A call whose media is said second by second."""

    call_id = "c-1"
    has_line = True
    began_at = 0.0

    def __init__(self) -> None:
        self.levels = Levels()
        ledger = Ledger(self, 8000, 0.2, 1.0)  # type: ignore[arg-type]  # nothing is sent
        self.speaking = False
        self.inbound: Any = SimpleNamespace(
            levels=self.levels, heard_at=0.0, tracks={}, l16_byte_order=None, numbering_fault=None
        )
        self.outbound: Any = SimpleNamespace(
            is_speaking=lambda _: self.speaking,
            playout=SimpleNamespace(ledger=ledger, has_played=False, too_late_s=0.0),
            tally=NOTHING_SENT,
        )
        self.events: list[Event] = []
        self.runner: Any = SimpleNamespace(
            publish=self.events.append,
            load=RunnerLoad(dropped_frames=0),
            has_dropped=False,
            names=("bot",),
        )
        self.hung_up: list[str] = []
        self.counted: list[str] = []

    def sent_decoder(self) -> Decoder:
        raise AssertionError("nothing is played")

    def count(self, name: str) -> None:
        self.counted.append(name)

    def hang_up(self, *, after_playout: bool = False, reason: str = "hangup") -> None:
        self.hung_up.append(reason)


def seconds(
    watch: Watch, call: Call, begin: int, end: int, dbfs: float | None, *, bot: bool = False
) -> None:
    """So many seconds at a level; None: no media."""
    call.speaking = bot
    for now in range(begin, end):
        if dbfs is not None:
            call.inbound.heard_at = float(now)
            call.levels.add(noise(dbfs))
        watch.look(call, float(now))


def test_a_call_that_lasts_too_long_is_told_and_hung_up() -> None:
    """At ``max_call_s`` the event, five seconds later the hang-up, whoever speaks."""
    watch, call = Watch(Settings(max_call_s=20), 0.0), Call()
    seconds(watch, call, 1, 20, -20)
    assert call.events == []
    seconds(watch, call, 20, 25, -20)
    assert call.events == [LimitReached("max_call_s", 5.0)]
    assert call.hung_up == []
    seconds(watch, call, 25, 26, -20)
    assert call.hung_up == ["max_call"]


def test_comfort_noise_is_silence() -> None:
    """A line at a steady -35 dBFS has nobody on it; so has one that brings nothing."""
    for dbfs in (-35.0, -70.0, None):
        watch, call = Watch(Settings(idle_s=10), 0.0), Call()
        seconds(watch, call, 1, 20, dbfs)
        assert LimitReached("idle_s", 5.0) in call.events
        assert call.hung_up[:1] == ["idle"]


def test_who_is_heard_keeps_the_call() -> None:
    """Speech above the noise, now and then, is enough, also after the event."""
    watch, call = Watch(Settings(idle_s=10), 0.0), Call()
    for begin in range(0, 60, 12):
        seconds(watch, call, begin, begin + 11, -45)
        seconds(watch, call, begin + 11, begin + 12, -20)
    assert call.hung_up == []
    assert call.events.count(LimitReached("idle_s", 5.0)) >= 1


def test_a_play_keeps_the_call_but_a_goodbye_does_not() -> None:
    """A long announcement to a silent caller is no idle call; a play behind the event is."""
    watch, call = Watch(Settings(idle_s=10), 0.0), Call()
    seconds(watch, call, 0, 30, -45, bot=True)
    assert call.events == []
    seconds(watch, call, 30, 41, -45)
    assert call.events == [LimitReached("idle_s", 5.0)]
    seconds(watch, call, 41, 45, -45, bot=True)
    assert call.hung_up == ["idle"]


def test_a_louder_line_is_a_new_floor() -> None:
    """Noise that rises for good is speech for a while only."""
    watch, call = Watch(Settings(idle_s=30), 0.0), Call()
    seconds(watch, call, 0, 10, -60)
    seconds(watch, call, 10, 180, -35)
    assert call.hung_up[:1] == ["idle"]


def test_media_that_stops_is_hinted_at_once_each_time() -> None:
    """Although the socket is up; a call without a socket is no case of it."""
    watch, call = Watch(Settings(media_silent_s=5), 0.0), Call()
    seconds(watch, call, 0, 3, -20)
    seconds(watch, call, 3, 12, None)
    seconds(watch, call, 12, 14, -20)
    seconds(watch, call, 14, 30, None)
    assert [event.name for event in call.events if isinstance(event, Hint)] == ["media_silent"] * 2
    lost = Call()
    lost.has_line = False
    seconds(Watch(Settings(media_silent_s=5), 0.0), lost, 0, 30, None)
    assert lost.events == []


def test_the_same_error_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Fifty a second are fifty events and counts, and one line; another code is another line."""
    watch, call = Watch(Settings(), 0.0), Call()
    for _ in range(50):
        watch.error_received(call, ErrorBody(100004, "invalid_media", None))
    watch.error_received(call, ErrorBody(100005, "rate_limit_reached", None))
    assert call.counted == ["stream_errors"] * 51
    assert sum(isinstance(event, StreamError) for event in call.events) == 51
    assert len(caplog.records) == 2
