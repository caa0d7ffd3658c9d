"""Whole clips: audio files of any kind in, and their conversion to another rate.

This module reads files; the rest of the library does not.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from telephony_codecs.contract import Int16Array, check_samples
from telephony_codecs.errors import AudioFormatError, CodecUnavailableError

# What a clip may be. Playlists are not among them: they name other files and addresses.
FORMATS = "wav,w64,aiff,au,caf,mp3,flac,ogg,mov,matroska,aac,amr,asf"
MAX_CLIP_S = 3600.0


def open_audio(source: str | Path | bytes, *, max_s: float = MAX_CLIP_S) -> tuple[Int16Array, int]:
    """Return an audio file's first sound track as mono int16 ``(n,)``, and its rate in Hz.

    Args:
        source: a path, or the bytes of a file: WAV, MP3, FLAC, Ogg, M4A, WebM and the like.
        max_s: longest clip accepted, in seconds.

    Raises:
        AudioFormatError: no such file, not audio, damaged, or too long.
        CodecUnavailableError: PyAV is missing.
    """
    av = imported("av")
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
            return read_track(av, file, max_s)
    except (av.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise AudioFormatError(f"cannot read {label(source)}: {reason}") from error


def resample_clip(samples: Int16Array, in_hz: int, out_hz: int) -> Int16Array:
    """Return a whole clip at another rate, any to any, without delay.

    Raises:
        AudioFormatError: not int16 ``(n,)``, or a rate that is not positive.
        CodecUnavailableError: soxr is missing.
    """
    check_samples(samples, 1, len(samples))
    if min(in_hz, out_hz) <= 0:
        raise AudioFormatError(f"cannot resample from {in_hz} to {out_hz} Hz")
    if in_hz == out_hz:
        return samples
    converted: Int16Array = imported("soxr").resample(samples, in_hz, out_hz)
    return converted


def imported(package: str) -> Any:
    """Return a package; CodecUnavailableError where it does not import."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise CodecUnavailableError(
            "clips", "convert", f"{package} does not import", f"pip install {package}"
        ) from error


def label(source: str | Path | bytes) -> str:
    """Return how an error names the source."""
    return f"{len(source)} bytes of audio" if isinstance(source, bytes) else str(source)


def read_track(av: Any, file: IO[bytes], max_s: float) -> tuple[Int16Array, int]:
    """Return samples and rate of the first sound track of an open file."""
    with av.open(file, options={"format_whitelist": FORMATS}) as container:
        if not container.streams.audio:
            raise AudioFormatError("the file holds no sound")
        parts = []
        n_samples = rate_hz = 0
        for frame in mono_frames(av, container):
            parts.append(frame.to_ndarray()[0])
            n_samples += frame.samples
            rate_hz = frame.sample_rate
            if n_samples > max_s * rate_hz:
                raise AudioFormatError(f"the clip is longer than {max_s:g} s")
    if not n_samples:
        raise AudioFormatError("the file holds no sound")
    return np.concatenate(parts), rate_hz


def mono_frames(av: Any, container: Any) -> Iterator[Any]:
    """Yield the frames of the first sound track as mono int16, at the rate they have."""
    # Rates are left alone, so the resampler holds nothing back and needs no flush.
    to_mono = av.AudioResampler(format="s16", layout="mono")
    for frame in container.decode(container.streams.audio[0]):
        try:
            yield from to_mono.resample(frame)
        except ValueError as error:
            raise AudioFormatError("the sound changes its format on the way") from error
