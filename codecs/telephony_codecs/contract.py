"""What every codec offers: the decoder and encoder protocols, and the codec as data.

Everything is mono. Audio is a one-dimensional int16 array in the machine's byte order.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from telephony_codecs.errors import AudioFormatError, CodecUnavailableError

Int16Array = npt.NDArray[np.int16]

T = TypeVar("T")

NDARRAY = np.ndarray
INT16 = np.dtype(np.int16)
# Telnyx takes up to 30 s of audio in one message.
MAX_PAYLOAD_S = 30


class Decoder(Protocol):
    """Payloads of one direction of one call in, audio out; keeps state between payloads.

    Attributes:
        codec: wire name.
        rate_hz: rate of the audio that comes out.
        delay_samples: how far the output lags what the encoder was given, beyond the
            encoder's own ``delay_samples``.
        can_recover: ``recover`` does better than ``conceal``.
    """

    codec: str
    rate_hz: int
    delay_samples: int
    can_recover: bool

    def decode(self, payload: bytes) -> Int16Array:
        """Return the audio of one payload, shape ``(n,)``, read-only.

        Raises:
            PayloadError: malformed, or longer than the codec allows. Nothing is lost but
                this payload: go on with the next, or ``conceal`` in its place.
        """
        ...

    def conceal(self, n_samples: int) -> Int16Array:
        """Return exactly ``n_samples`` that stand in for lost audio.

        Successive calls with no ``decode`` between them continue one another and fade to
        silence within 60 ms (OPUS: at libopus' own pace).
        """
        ...

    def recover(self, next_payload: bytes, n_samples: int) -> Int16Array:
        """Return ``n_samples`` for lost audio with the help of the payload that follows it.

        Call it before ``decode(next_payload)``. Where ``can_recover`` is false, and where
        the payload carries nothing of use, this is ``conceal``.
        """
        ...

    def reset(self) -> None:
        """Forget all history, as if new."""
        ...


class Encoder(Protocol):
    """Audio of one direction of one call in, payloads out; keeps state between payloads.

    Attributes:
        codec: wire name.
        rate_hz: rate of the audio that goes in.
        delay_samples: by how much coding delays the audio.
        unit_samples: ``encode`` takes a multiple of this.
        max_samples: most samples that one payload may hold.
    """

    codec: str
    rate_hz: int
    delay_samples: int
    unit_samples: int
    max_samples: int

    def encode(self, samples: Int16Array) -> bytes:
        """Return one payload holding all of ``samples``.

        Args:
            samples: int16, shape ``(n,)``; ``n`` a multiple of ``unit_samples``, at most
                ``max_samples``; of none, the payload is empty.

        Raises:
            AudioFormatError: anything else.
        """
        ...

    def silence(self, n_samples: int) -> bytes:
        """Return a payload of ``n_samples`` of silence; same limits as ``encode``."""
        ...

    def reset(self) -> None:
        """Forget all history, as if new."""
        ...


@dataclass(frozen=True, slots=True)
class Codec:
    """One codec as data.

    Attributes:
        name: as in Telnyx's ``media_format.encoding``.
        rates_hz: audio rates that it can work at.
        default_rate_hz: the one used when none is asked for.
        make_decoder: called with the rate and the options; None: cannot decode.
        make_encoder: the same for encoding.
    """

    name: str
    rates_hz: tuple[int, ...]
    default_rate_hz: int
    make_decoder: Callable[..., Decoder] | None
    make_encoder: Callable[..., Encoder] | None

    def audio_rate_hz(self, asked_hz: int | None = None) -> int:
        """Return the audio rate used when a peer announces, or a user asks for, ``asked_hz``.

        A codec of a single rate works at that one whatever is asked: G.722 is announced as
        8000 as well as 16000, and its audio is always 16 kHz.

        Raises:
            AudioFormatError: a codec of several rates does not have this one.
        """
        if asked_hz is None or len(self.rates_hz) == 1:
            return self.default_rate_hz
        if asked_hz not in self.rates_hz:
            rates = ", ".join(map(str, self.rates_hz))
            raise AudioFormatError(f"{self.name} works at {rates} Hz, not at {asked_hz}")
        return asked_hz

    def decoder(self, rate_hz: int | None = None, **options: Any) -> Decoder:
        """Return a new decoder; its ``rate_hz`` is what ``audio_rate_hz(rate_hz)`` says.

        Raises:
            AudioFormatError: a rate or an option that the codec does not have.
            CodecUnavailableError: the platform lacks what decoding needs.
        """
        if self.make_decoder is None:
            raise CodecUnavailableError(
                self.name, "decode", "it is for sending only", "open_audio() reads its files"
            )
        return self._make(self.make_decoder, rate_hz, options)

    def encoder(self, rate_hz: int | None = None, **options: Any) -> Encoder:
        """Return a new encoder; its ``rate_hz`` is what ``audio_rate_hz(rate_hz)`` says.

        Raises:
            AudioFormatError: a rate or an option that the codec does not have.
            CodecUnavailableError: the platform lacks what encoding needs.
        """
        if self.make_encoder is None:
            raise CodecUnavailableError(
                self.name, "encode", "there is no encoder", "use G722, L16 or OPUS"
            )
        return self._make(self.make_encoder, rate_hz, options)

    def _make(self, make: Callable[..., T], rate_hz: int | None, options: dict[str, Any]) -> T:
        rate_hz = self.audio_rate_hz(rate_hz)
        try:
            _signature(make).bind(rate_hz, **options)
        except TypeError as error:
            raise AudioFormatError(f"{self.name}: {error}") from error
        return make(rate_hz, **options)


@functools.cache
def _signature(make: Callable[..., object]) -> inspect.Signature:
    # For each call of a phone: looking it up takes longer than making a decoder.
    return inspect.signature(make)


def check_samples(samples: Int16Array, unit_samples: int, max_samples: int) -> None:
    """Raise AudioFormatError unless ``samples`` is what an encoder takes."""
    # The first test is the quick one: nearly all arrays have numpy's own dtype object.
    if samples.__class__ is not NDARRAY or samples.dtype is not INT16 or samples.ndim != 1:
        check_kind(samples)
    n_samples = len(samples)
    if n_samples > max_samples or n_samples % unit_samples:
        check_length(n_samples, unit_samples, max_samples)


def check_kind(samples: object) -> None:
    """Raise AudioFormatError unless ``samples`` is a one-dimensional array equal to int16."""
    if not isinstance(samples, NDARRAY) or samples.ndim != 1 or samples.dtype != INT16:
        raise AudioFormatError("audio must be a one-dimensional int16 array")


def check_length(n_samples: int, unit_samples: int, max_samples: int) -> None:
    """Raise AudioFormatError unless an encoder takes that many samples in one payload."""
    if not 0 <= n_samples <= max_samples:
        raise AudioFormatError(f"{n_samples} samples in one payload, at most {max_samples}")
    if n_samples % unit_samples:
        raise AudioFormatError(f"{n_samples} samples, must be a multiple of {unit_samples}")
