"""Tones, as the bytes of a WAV file: ``call.play`` takes them for a call of any rate. Pure."""

from __future__ import annotations

import math
import struct

import numpy as np

RATE_HZ = 16_000
HIGHEST_HZ = 7_000.0
LONGEST_MS = 600_000.0
# So long a tone takes to swell and to fade, that it does not click.
FADE_MS = 5.0


def tone(*frequencies_hz: float, ms: float = 300.0, db: float = -12.0) -> bytes:
    """A tone to play: ``await call.play(tone(440, 480, ms=2000))``.

    Args:
        frequencies_hz: of its sines, which are equally loud; each at most 7,000 Hz. A call at
            8 kHz carries only those below 4,000 Hz. Without any frequency: silence.
        ms: its length; at most ten minutes.
        db: its level (RMS), relative to a full-scale sine; at most 0 for one sine.

    Returns:
        A WAV file.

    Raises:
        ValueError: a frequency, a length or a level that there is not.
    """
    _check(frequencies_hz, ms, db)
    at_s = np.arange(round(RATE_HZ * ms / 1000)) / RATE_HZ
    waves = [np.sin(2 * np.pi * hz * at_s) for hz in frequencies_hz]
    mixed = np.sum(waves, axis=0) if waves else np.zeros(len(at_s))
    peak = 32767 * _amplitude(len(waves), db)
    return _wav(np.rint(peak * mixed * _envelope(len(at_s))).astype("<i2").tobytes())


def beep(*, ms: float = 400.0) -> bytes:
    """The beep before a recording: 1,000 Hz."""
    return tone(1000.0, ms=ms)


def _amplitude(n_waves: int, db: float) -> float:
    """Of each sine, against full scale."""
    return float(10 ** (db / 20)) / math.sqrt(max(n_waves, 1))


def _check(frequencies_hz: tuple[float, ...], ms: float, db: float) -> None:
    for hz in frequencies_hz:
        if not 0 < hz <= HIGHEST_HZ:
            raise ValueError(f"a tone has frequencies up to {HIGHEST_HZ:.0f} Hz, not {hz}")
    if not 0 < ms <= LONGEST_MS:
        raise ValueError(f"a tone has a length up to {LONGEST_MS:.0f} ms, not {ms}")
    n_waves = len(frequencies_hz)
    if not n_waves * _amplitude(n_waves, db) <= 1.0 + 1e-9:
        most_db = -10 * math.log10(max(n_waves, 1))
        raise ValueError(f"{n_waves} sines have a level of {most_db:.1f} dB at most, not {db}")


def _envelope(n_samples: int) -> np.typing.NDArray[np.float64]:
    """1, and at both ends a slope."""
    n_fade = min(round(RATE_HZ * FADE_MS / 1000), n_samples // 2)
    envelope = np.ones(n_samples)
    slope = (1 - np.cos(np.pi * np.arange(n_fade) / max(n_fade, 1))) / 2
    envelope[:n_fade] = slope
    envelope[n_samples - n_fade :] = slope[::-1]
    return envelope


def _wav(octets: bytes) -> bytes:
    """A WAV file of one channel."""
    head = struct.pack("<IHHIIHH", 16, 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16)
    body = b"WAVEfmt " + head + b"data" + struct.pack("<I", len(octets)) + octets
    return b"RIFF" + struct.pack("<I", len(body)) + body
