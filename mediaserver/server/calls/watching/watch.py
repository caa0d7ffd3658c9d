"""What is looked at once a second in every call: what seems wrong, and what has lasted too long.

    limit             begins to count                      then
    max_call_s        at the call's start                  event; hang-up after NOTICE_S
    idle_s            when somebody was last heard: the    event; hang-up after NOTICE_S, unless
                      caller, or a play                    the caller is heard meanwhile
    media_silent_s    at the last media message            a hint, once each time

What is dropped is a hint too, once a call; how much it was in the end, the summary says.

The caller is heard where a frame is well above the noise floor: a silent line has comfort
noise, not zeros. One frame a second is looked at.
"""

from __future__ import annotations

import logging
from typing import Protocol

from mediaserver.logs import LimitedLog, shown
from mediaserver.processors.api import Hint, LimitReached, StreamError
from mediaserver.server.calls.audio.inbound import Inbound
from mediaserver.server.calls.audio.outbound import Outbound
from mediaserver.server.calls.runner import Runner
from mediaserver.server.calls.watching.diagnostics import Diagnostics
from mediaserver.server.calls.watching.echo import EchoedCall, EchoWatch
from mediaserver.server.calls.watching.notes import Notes
from mediaserver.settings import Settings
from mediaserver.wire.messages import ERROR_MEANINGS, ErrorBody

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

# Between the event and the hang-up: for a goodbye.
NOTICE_S = 5.0
# Speech is so much above the noise floor, which creeps up by the other each second.
SPEECH_ABOVE_DB = 9.0
FLOOR_RISES_DB = 0.3
QUIETEST_DBFS = -60.0


class WatchedCall(EchoedCall, Protocol):
    """What is to be known of a call, and may be done to it."""

    @property
    def call_id(self) -> str:
        """Its id."""

    @property
    def inbound(self) -> Inbound:
        """Its inbound half."""

    @property
    def outbound(self) -> Outbound:
        """Its outbound half."""

    @property
    def has_line(self) -> bool:
        """It has a socket."""

    def count(self, name: str) -> None:
        """One more of ``name``."""

    @property
    def runner(self) -> Runner:
        """What tells its processors."""

    def hang_up(self, *, after_playout: bool = False, reason: str = "hangup") -> None:
        """End the phone call."""


class Watch:
    """Looks at one call about once a second.

    Args:
        settings: the limits.
        now: monotonic seconds of the call's start.

    Attributes:
        diagnostics: looks for what is wrong.
        notes: what was found and done.
        echo: whether the bot hears itself.
    """

    def __init__(self, settings: Settings, now: float) -> None:
        self.diagnostics: Diagnostics = Diagnostics(now)
        self.notes: Notes = Notes()
        self.echo: EchoWatch = EchoWatch()
        self._settings = settings
        self._began_at = now
        self._heard_at = now
        self._floor_dbfs: float | None = None
        self._is_silent = False
        self._dropped: set[str] = set()
        # Limits that were announced, and when they end the call.
        self._due: dict[str, float] = {}

    def look(self, call: WatchedCall, now: float) -> None:
        """Say what is newly found, and end a call whose time is over."""
        self.diagnostics.say_byte_order(call.call_id, call.inbound)
        for hint in self.diagnostics.look(call.inbound, call.outbound.playout, now):
            self._hint(call, hint)
        self._look_for_media(call, now)
        self._look_for_drops(call)
        playout, is_heard = call.outbound.playout, self._is_caller_heard(call)
        self.notes.looked(is_heard=is_heard, has_played=playout.has_played)
        self.echo.look(call, now)
        # Behind the event a play is the bot's goodbye: then only the caller counts.
        if is_heard or ("idle_s" not in self._due and call.outbound.is_speaking(now)):
            self._heard_at = now
            self._due.pop("idle_s", None)
        settings = self._settings
        if settings.max_call_s is not None and now - self._began_at >= settings.max_call_s:
            self._end(call, "max_call_s", now)
        if settings.idle_s is not None and now - self._heard_at >= settings.idle_s:
            self._end(call, "idle_s", now)

    def end(self, call: WatchedCall) -> None:
        """The call is over."""
        self.diagnostics.say_byte_order(call.call_id, call.inbound)
        self.echo.end()

    def error_received(self, call: WatchedCall, body: ErrorBody) -> None:
        """Telnyx refused something."""
        meaning = ERROR_MEANINGS.get(body.code or 0, "not documented")
        self.notes.error(body.code)
        self.diagnostics.say_error(call.call_id, body.code, meaning)
        call.count("stream_errors")
        call.runner.publish(StreamError(body.code, body.title, body.detail, meaning))

    def _end(self, call: WatchedCall, limit: str, now: float) -> None:
        """First an event, so that a bot can say goodbye; then the hang-up."""
        due_at = self._due.get(limit)
        if due_at is None:
            self._due[limit] = now + NOTICE_S
            text = "call %s has reached %s"
            limited.info("limits reached", text, shown(call.call_id), limit, call=call.call_id)
            call.runner.publish(LimitReached(limit, NOTICE_S))
        elif now >= due_at:
            call.hang_up(reason=limit.removesuffix("_s"))

    def _look_for_media(self, call: WatchedCall, now: float) -> None:
        silent_s = now - call.inbound.heard_at
        was_silent, self._is_silent = self._is_silent, silent_s >= self._settings.media_silent_s
        if self._is_silent and not was_silent and call.has_line:
            text = f"no media has come for {silent_s:.0f} s, although the socket is up"
            self._hint(call, Hint("media_silent", text))

    def _look_for_drops(self, call: WatchedCall) -> None:
        if not (call.runner.has_dropped or call.outbound.playout.too_late_s):
            return  # as nearly always; the whole tally is more work
        load = call.runner.load
        n_frames = load.dropped_frames
        too_late_s = call.outbound.tally.too_late_s
        for name, is_there, text in (
            (
                "slow_handler",
                n_frames > 0,
                f"a handler of {'+'.join(call.runner.names)} is 10 s behind its frames(): the"
                " oldest are dropped",
            ),
            (
                "live_dropped",
                too_late_s > 0,
                f"live audio is dropped: {too_late_s:.2f} s of it waited for longer than"
                f" backlog_ms ({self._settings.backlog_ms:g} ms)",
            ),
            (
                "live_unsent",
                load.unsent_s > 0,
                f"live audio is dropped: {load.unsent_s:.2f} s of it did not get from its processor"
                " host to the call",
            ),
        ):
            if is_there and name not in self._dropped:
                self._dropped.add(name)
                self._hint(call, Hint(name, text))

    def _is_caller_heard(self, call: WatchedCall) -> bool:
        level = call.inbound.levels.take_last()
        if level is None:
            return False
        floor = level if self._floor_dbfs is None else self._floor_dbfs
        self._floor_dbfs = min(floor + FLOOR_RISES_DB, level)
        return level > max(floor + SPEECH_ABOVE_DB, QUIETEST_DBFS)

    def _hint(self, call: WatchedCall, hint: Hint) -> None:
        self.notes.hint(hint.name, hint.text)
        call_id = call.call_id
        limited.warning(
            f"hints {hint.name}", "call %s: %s", shown(call_id), hint.text, call=call_id
        )
        call.runner.publish(hint)
