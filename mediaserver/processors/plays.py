"""What is played into a call, as types: plays, streams, marks. Pure."""

from __future__ import annotations

from collections.abc import AsyncIterable
from pathlib import Path
from typing import Literal, Protocol

from mediaserver.media.frames import Int16Array

PlayState = Literal["queued", "playing", "played", "cleared", "failed"]
PlayEnd = Literal["played", "cleared", "failed"]
MarkEnd = Literal["played", "cleared"]
PlayReason = Literal[
    "finished", "barge_in", "cancelled", "socket", "ended", "source", "unconfirmed"
]
MAX_WAITING_S = 300.0
"""Audio that may wait in a stream: what a service makes faster than it is heard."""
DRAINED_S = 1.0
"""``Stream.drain`` returns when no more than this waits."""
AudioSource = Int16Array | AsyncIterable[Int16Array] | AsyncIterable[bytes] | Path | str | bytes


class Play(Protocol):
    """One piece of audio on its way to the caller's ear."""

    @property
    def state(self) -> PlayState:
        """Last known state; each play ends exactly once."""

    @property
    def reason(self) -> PlayReason | None:
        """Why it ended; None before that.

        ``finished``: it was played. ``barge_in``: ``clear()``. ``cancelled``: ``cancel()``.
        ``socket``: the socket was lost, or another one took over. ``ended``: the call is over.
        ``source``: its source failed. ``unconfirmed``: too many marks never came back.
        """

    @property
    def heard(self) -> float:
        """Seconds of it the caller has heard, as far as known."""

    async def finished(self) -> PlayEnd:
        """Wait for its end: ``played``, ``cleared`` or ``failed``."""

    def cancel(self) -> None:
        """Send no more of it."""


class Stream(Play, Protocol):
    """A play into which audio is written as it comes, from a service that pushes it.

    **Call ``write`` for each piece; ``end`` behind the last.** Until then the play is not
    finished: when there is nothing to play the caller hears silence, and what is written later
    goes on where it stopped. Not a sample is lost or added.
    """

    def write(self, audio: Int16Array | bytes) -> bool:
        """Append audio; it never waits.

        Args:
            audio: an int16 array of shape ``(n,)``, or bytes, int16 little-endian, of any
                length: a sample may be cut between two writes.

        Returns:
            False where the play is over (cleared, cancelled, or with its call): then the audio
            is dropped, and there is no sense in writing more.

        Raises:
            AudioFormatError: no such audio, or an array behind half a sample.
            StreamFullError: `MAX_WAITING_S` of audio would wait here. Nothing of this piece was
                taken; ``drain()`` waits for room.
            ValueError: after ``end()``.
        """

    def end(self) -> None:
        """No more comes: the play ends when all that was written is heard.

        Half a sample that still waits is dropped. The second time it does nothing.
        """

    async def drain(self) -> None:
        """Wait while more than `DRAINED_S` of audio waits here, or until the play is over.

        For a source that can be held up. In mode mp3, where all is kept until ``end()``, it does
        not wait.
        """

    @property
    def waiting_s(self) -> float:
        """Seconds of audio that wait here; up to ``ahead_s`` more are on their way already."""


class Mark(Protocol):
    """A point in the output that reports when the caller gets there."""

    @property
    def state(self) -> PlayState:
        """``queued`` until it ends as ``played`` or ``cleared``."""

    async def finished(self) -> MarkEnd:
        """Wait for its end: ``played`` or ``cleared``."""
