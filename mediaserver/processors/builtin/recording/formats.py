"""A finished WAV file in another form: one channel, FLAC, or OPUS in OGG."""

from __future__ import annotations

import contextlib
import os
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from mediaserver.media.frames import Int16Array
from mediaserver.processors.builtin.recording.mix import MonoMix
from mediaserver.processors.builtin.wav import WavFile

Form = Literal["wav", "flac", "opus"]
# The rates that OPUS has.
OPUS_RATES_HZ = (8000, 12000, 16000, 24000, 48000)
OPUS_BITS_PER_CHANNEL = 24_000
# A multiple of a block of the mix at each rate: about two minutes.
BLOCKS_AT_A_TIME = 3000


class Container(NamedTuple):
    """What a form is to the encoder, and the end of a file's name."""

    suffix: str
    format: str = ""
    codec: str = ""


CONTAINERS: dict[Form, Container] = {
    "wav": Container(".wav"),
    "flac": Container(".flac", "flac", "flac"),
    "opus": Container(".ogg", "ogg", "libopus"),
}


def rate_for(form: Form, rate_hz: int) -> int:
    """The file's rate where audio of this rate is to lose nothing."""
    if form != "opus":
        return rate_hz
    return next((each for each in OPUS_RATES_HZ if each >= rate_hz), OPUS_RATES_HZ[-1])


def converted(path: Path, form: Form, *, mono: bool) -> Path:
    """The same in another form, in the place of the WAV file; its path.

    Raises:
        OSError: it cannot be written, or not be encoded; the WAV file stays as it was.
    """
    if form == "wav" and not mono:
        return path
    target = path.with_suffix(CONTAINERS[form].suffix)
    part = path.with_suffix(".part")
    try:
        if form == "wav":
            _write_wav(path, part)
        else:
            _encode(path, part, CONTAINERS[form], mono=mono)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    if target != path:
        path.unlink()
    return target


def blocks_of(path: Path, *, mono: bool) -> Iterator[Int16Array]:
    """A WAV file's audio bit by bit, int16 ``(n, channels)``."""
    with wave.open(str(path)) as file:
        mix = MonoMix(file.getframerate())
        n_channels = file.getnchannels()
        while octets := file.readframes(BLOCKS_AT_A_TIME * mix.block_samples):
            block = np.frombuffer(octets, "<i2").astype(np.int16).reshape(-1, n_channels)
            yield mix.mix(block).reshape(-1, 1) if mono and n_channels == 2 else block


def _write_wav(path: Path, part: Path) -> None:
    with wave.open(str(path)) as file:
        rate_hz = file.getframerate()
    out = WavFile(part, rate_hz)
    with contextlib.closing(out):
        for block in blocks_of(path, mono=True):
            out.write_at(out.n_samples, block[:, 0])


def _encode(path: Path, part: Path, container: Container, *, mono: bool) -> None:
    import av  # here: a call whose recording stays WAV does not need it

    with wave.open(str(path)) as file:
        rate_hz, n_channels = file.getframerate(), file.getnchannels()
    layout = "mono" if mono or n_channels == 1 else "stereo"
    try:
        _mux(path, part, container, rate_hz, layout)
    except av.FFmpegError as exc:
        raise OSError(exc.errno, exc.strerror or str(exc)) from exc


def _mux(path: Path, part: Path, container: Container, rate_hz: int, layout: str) -> None:
    import av

    with av.open(str(part), "w", format=container.format) as out:
        stream = out.add_stream(container.codec, rate=rate_hz, layout=layout)
        assert isinstance(stream, av.AudioStream), "of the codec that was asked for"
        if container.codec == "libopus":
            stream.bit_rate = OPUS_BITS_PER_CHANNEL * (1 if layout == "mono" else 2)
        n_done = 0
        for block in blocks_of(path, mono=layout == "mono"):
            packed = np.ascontiguousarray(block).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(packed, format="s16", layout=layout)
            frame.sample_rate = rate_hz
            frame.pts = n_done
            n_done += len(block)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
