"""Speech to test with, and how alike two stretches of audio are."""

from __future__ import annotations

import wave
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from telephony_codecs import Decoder, Encoder, Int16Array, codec, resample_clip

VECTORS = Path(__file__).parent.parent / "vectors" / "codecs"
LOUD_HZ = 440.0


def read_wav(name: str) -> Int16Array:
    """Return the samples of a mono 16-bit WAV among the vectors, without our own reader."""
    with wave.open(str(VECTORS / name)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


@cache
def speech(rate_hz: int) -> Int16Array:
    """Return 3.2 s of real speech, whole frames of 20 ms, at normal level."""
    at_rate: Int16Array = resample_clip(read_wav("speech_16k.wav"), 16000, rate_hz)
    return at_rate[: 160 * rate_hz // 50]


def tone(frequency_hz: float, rate_hz: int, n_samples: int, *, peak: float = 16000) -> Int16Array:
    """Return a sine."""
    phase = 2 * np.pi * frequency_hz / rate_hz * np.arange(n_samples)
    samples: Int16Array = np.rint(peak * np.sin(phase)).astype(np.int16)
    return samples


def energy(samples: npt.NDArray[np.generic]) -> float:
    """Return the sum of squares."""
    exact = samples.astype(np.float64)
    return float(exact @ exact)


def snr_db(original: Int16Array, coded: Int16Array, delay_samples: int = 0) -> float:
    """Return the signal-to-noise ratio of ``coded``, which lags by ``delay_samples``."""
    n_samples = min(len(original), len(coded) - delay_samples)
    wanted = original[:n_samples].astype(np.int32)
    noise = coded[delay_samples : delay_samples + n_samples] - wanted
    return float(10 * np.log10(energy(wanted) / max(energy(noise), 1e-9)))


def likeness(original: Int16Array, coded: Int16Array, delay_samples: int) -> float:
    """Return the correlation coefficient of the two, aligned by the delay."""
    n_samples = min(len(original), len(coded) - delay_samples)
    later = coded[delay_samples : delay_samples + n_samples]
    return float(np.corrcoef(original[:n_samples], later)[0, 1])


def measured_delay(original: Int16Array, coded: Int16Array) -> int:
    """Return by how many samples ``coded`` lags: the peak of the cross-correlation."""
    size = 1 << (len(original) + len(coded)).bit_length()
    spectrum = np.fft.rfft(coded, size) * np.conj(np.fft.rfft(original, size))
    correlation = np.fft.irfft(spectrum, size)
    lag = int(np.argmax(correlation))
    return lag if lag < size // 2 else lag - size


def chunks(samples: Int16Array, n_samples: int) -> list[Int16Array]:
    """Return the audio in pieces of ``n_samples``."""
    return [samples[at : at + n_samples] for at in range(0, len(samples), n_samples)]


def encoded(encoder: Encoder, samples: Int16Array, chunk_ms: int = 20) -> list[bytes]:
    """Return the payloads of the audio, one for each 20 ms."""
    return [encoder.encode(c) for c in chunks(samples, encoder.rate_hz * chunk_ms // 1000)]


def decoded(decoder: Decoder, payloads: list[bytes]) -> Int16Array:
    """Return the audio of consecutive payloads."""
    return np.concatenate([decoder.decode(payload) for payload in payloads])


def round_trip(name: str, rate_hz: int, **encoder_options: object) -> tuple[Int16Array, Int16Array]:
    """Return speech as it was, and as it comes out of encoder and decoder."""
    original = speech(rate_hz)
    payloads = encoded(codec(name).encoder(rate_hz, **encoder_options), original)
    return original, decoded(codec(name).decoder(rate_hz), payloads)
