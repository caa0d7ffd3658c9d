"""What waits to be sent to a service: audio up to a limit, and messages. Pure."""

from __future__ import annotations

from collections import deque

MAX_MESSAGES = 1000


class Outbox:
    """A queue in the order of sending; when it is full, only audio is dropped.

    **Call ``put`` and ``put_audio`` for what is to be sent; ``take`` gives the next item.**
    What waits here while there is no connection is sent first on the next one.

    Args:
        most_s: seconds of audio that may wait.

    Attributes:
        audio_s: seconds of audio that wait.
        dropped_s: seconds of audio given up, the oldest first.
    """

    def __init__(self, most_s: float) -> None:
        self.audio_s: float = 0.0
        self.dropped_s: float = 0.0
        self._most_s = most_s
        self._n_messages = 0
        # Seconds are 0 for a message.
        self._waiting: deque[tuple[str | bytes, float]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message: str) -> bool:
        """Queue a message; False, and nothing is done, where too many wait."""
        if self._n_messages >= MAX_MESSAGES:
            return False
        self._n_messages += 1
        self._waiting.append((message, 0.0))
        return True

    def put_audio(self, data: str | bytes, seconds: float) -> int:
        """Queue audio; return how many older pieces were given up for it."""
        self._waiting.append((data, seconds))
        self.audio_s += seconds
        n_dropped = 0
        while self.audio_s > self._most_s and self._drop_oldest():
            n_dropped += 1
        return n_dropped

    def _drop_oldest(self) -> bool:
        at = next((at for at, (_, seconds) in enumerate(self._waiting) if seconds), None)
        if at is None:
            return False
        seconds = self._waiting[at][1]
        del self._waiting[at]
        self.audio_s -= seconds
        self.dropped_s += seconds
        return True

    def take(self) -> str | bytes | None:
        """Return the next to send, or None."""
        if not self._waiting:
            return None
        data, seconds = self._waiting.popleft()
        self.audio_s -= seconds
        self._n_messages -= seconds == 0
        return data

    def forget_messages(self) -> None:
        """Keep the audio alone: the messages were for a connection that is gone."""
        self._waiting = deque(entry for entry in self._waiting if entry[1])
        self._n_messages = 0
