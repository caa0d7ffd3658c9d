"""What processors see of a call's audio."""

from __future__ import annotations

from typing import Literal, TypeGuard

import msgspec
import numpy as np
import numpy.typing as npt

from mediaserver.errors import AudioFormatError

Int16Array = npt.NDArray[np.int16]
Track = Literal["inbound", "outbound"]


def is_audio(samples: object) -> TypeGuard[Int16Array]:
    """Whether these are samples: an int16 array of one dimension."""
    return isinstance(samples, np.ndarray) and samples.ndim == 1 and samples.dtype == np.int16


MAX_AUDIO_S = 3600.0
"""The longest audio that is accepted in one array."""


def check_audio(samples: object, rate_hz: int) -> None:
    """Refuse what cannot be played.

    Raises:
        AudioFormatError: no int16 array of one dimension, or too long to be handled at once.
    """
    if not is_audio(samples):
        found = type(samples).__name__
        if isinstance(samples, np.ndarray):
            found = f"{samples.dtype} of {samples.ndim} dimensions"
        raise AudioFormatError(f"audio must be a one-dimensional int16 array, not {found}")
    check_length(len(samples), rate_hz)


def check_length(n_samples: int, rate_hz: int) -> None:
    """Refuse what is too long to be handled at once.

    Raises:
        AudioFormatError: it is.
    """
    if n_samples > MAX_AUDIO_S * rate_hz:
        raise AudioFormatError(
            f"{n_samples / rate_hz:.0f} s of audio at once, at most {MAX_AUDIO_S:.0f}: give an"
            " iterator or a file"
        )


class Frame(msgspec.Struct, frozen=True, gc=False):
    """A short piece of decoded audio of one track; frames of a track come in time order.

    Attributes:
        samples: int16, shape ``(n,)``, read-only, mono.
        rate: sample rate in Hz.
        track: ``inbound`` (what the caller says) or ``outbound`` (what they hear).
        index: counts the frames of this track from 0, without gaps.
        start: seconds of stream time at the first sample.
        lost: the audio did not arrive; the samples stand in for it.
        lag: 0 where ``start`` is right. For about a second after a pause nobody knows whether it
            was a stall or a hold; then this says by how many seconds ``start`` may be too early.
            After a stall the missing audio comes at once, and ``start`` was right. After a hold
            it does not, and the track is moved forward when that is known.
            `mediaserver.media.settle` corrects such frames.
    """

    samples: Int16Array
    rate: int
    track: Track
    index: int
    start: float
    lost: bool = False
    lag: float = 0.0

    def with_samples(self, samples: Int16Array, rate: int | None = None) -> Frame:
        """The same frame with other audio, as a filter passes it on.

        Args:
            samples: int16, shape ``(n,)``.
            rate: in Hz; the frame's own if None.

        Raises:
            AudioFormatError: not such an array.
        """
        check_audio(samples, rate or self.rate)
        return Frame(
            samples,
            rate or self.rate,
            self.track,
            self.index,
            self.start,
            self.lost,
            self.lag,
        )

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.rate
