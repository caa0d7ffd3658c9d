"""When somebody speaks, as a stand-in hears it: by loudness alone. Pure."""

from __future__ import annotations

import numpy as np

from telephony_codecs import Int16Array

# What is as loud as this is speech: -30 dBFS, above the noise of a telephone line.
LOUD = 1000
WINDOWS_PER_S = 50
# So many loud windows of 20 ms make a beginning.
MIN_LOUD = 3


class SpeechEar:
    """Tells where speech begins and ends.

    **Call ``hear`` with each piece of audio: it returns where speech begins and ends in it.**

    Args:
        rate_hz: of the audio.
        silence_ms: how much silence ends the speech.

    Attributes:
        at_ms: how much was heard.
        is_speaking: somebody speaks.
    """

    def __init__(self, rate_hz: int, silence_ms: int) -> None:
        self.n_samples: int = 0
        self.is_speaking: bool = False
        self._rate_hz = rate_hz
        self._silence = silence_ms * WINDOWS_PER_S // 1000
        self._rest = np.zeros(0, np.int16)
        self._n_loud = self._n_quiet = 0

    @property
    def at_ms(self) -> int:
        """Milliseconds heard so far."""
        return 1000 * self.n_samples // self._rate_hz

    def hear(self, samples: Int16Array) -> list[bool]:
        """Return True for each beginning of speech in this audio, False for each end."""
        self._rest = np.concatenate((self._rest, samples))
        n_window = self._rate_hz // WINDOWS_PER_S
        changes = []
        while len(self._rest) >= n_window:
            window, self._rest = self._rest[:n_window], self._rest[n_window:]
            self.n_samples += n_window
            if self._window(bool(np.abs(window.astype(np.int32)).max() >= LOUD)):
                changes.append(self.is_speaking)
        return changes

    def _window(self, is_loud: bool) -> bool:
        """One window more; whether it changes anything."""
        self._n_loud = self._n_loud + 1 if is_loud else 0
        self._n_quiet = 0 if is_loud else self._n_quiet + 1
        if not self.is_speaking and self._n_loud >= MIN_LOUD:
            self.is_speaking = True
            return True
        if self.is_speaking and self._n_quiet >= self._silence:
            self.is_speaking = False
            return True
        return False
