"""What a view asks of its call, in whatever process that is."""

from __future__ import annotations

from collections.abc import AsyncIterable, Coroutine, Mapping, Sequence
from typing import Any, Protocol

from mediaserver.media.frames import Int16Array
from mediaserver.media.playout.ear.listening import Listener
from mediaserver.observer import CallSummary
from mediaserver.processors.api import AudioSource, Event, Mark, Play
from mediaserver.server.calls.facts import CallFacts
from telephony_codecs.l16 import ByteOrder


class ViewedInbound(Protocol):
    """What a view shows of the caller's audio."""

    @property
    def l16_byte_order(self) -> ByteOrder | None:
        """See ``Call.l16_byte_order``."""


class ViewedOutbound(Protocol):
    """What a view does with what goes out; see ``Call``."""

    def play(
        self,
        source: AudioSource,
        rate: int | None,
        *,
        live: bool = False,
        ahead_s: float | None = None,
        resume: bool = False,
    ) -> Coroutine[Any, Any, Play]:
        """See ``Call.play``."""

    def play_live(self, samples: Int16Array, rate: int | None = None) -> None:
        """See ``Call.play_live``."""

    def mark(self, name: str) -> Mark:
        """See ``Call.mark``."""

    async def clear(self) -> dict[Play, float]:
        """See ``Call.clear``."""

    def accept(
        self,
        source: AsyncIterable[Int16Array],
        rate: int | None,
        *,
        ahead_s: float | None = None,
        clip: bool = False,
    ) -> Play:
        """As ``play`` of an iterator, without waiting for room.

        Args:
            source: its audio.
            rate: in Hz.
            ahead_s: as of ``play``.
            clip: it gives all its audio at once: one whole message in mode mp3.
        """

    def listen(self, listener: Listener) -> None:
        """Tell a listener what is at the ear."""


class ViewedCall(Protocol):
    """What a view shows of its call."""

    @property
    def facts(self) -> CallFacts:
        """What is known of it."""

    @property
    def inbound(self) -> ViewedInbound:
        """Its inbound half."""

    @property
    def outbound(self) -> ViewedOutbound:
        """Its outbound half."""

    @property
    def ended(self) -> bool:
        """Its media is over."""

    @property
    def state(self) -> dict[str, Any]:
        """What its processors keep for each other."""

    def publish(self, event: Event) -> None:
        """Give an event to whoever asked for events."""

    def stats(self) -> CallSummary:
        """Its facts and figures as they are now."""

    def count(self, name: str) -> None:
        """One more of ``name``."""

    async def send_text(self, data: bytes) -> bool:
        """Send a message on its socket, if it has one."""

    async def hangup(self, *, after_playout: bool = False) -> None:
        """End the phone call, or at least its stream."""

    async def perform(self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Command the phone call; see ``CallControl``."""
