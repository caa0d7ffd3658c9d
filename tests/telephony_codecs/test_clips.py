"""Files in, and whole-clip conversion."""

from __future__ import annotations

import io
import sys
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from telephony_codecs import (
    AudioFormatError,
    CodecUnavailableError,
    Int16Array,
    codec,
    open_audio,
    resample_clip,
)
from tests.telephony_codecs.audio import (
    VECTORS,
    measured_delay,
    read_wav,
    snr_db,
    speech,
    tone,
)

FILES = [
    ("wav", "pcm_s16le", "s16", 40),
    ("flac", "flac", "s16", 40),
    ("ogg", "libopus", "flt", 5),
    ("mp3", "libmp3lame", "fltp", 5),
    ("mp4", "aac", "fltp", 5),
    ("matroska", "pcm_s16le", "s16", 40),
]


def written(container: str, name: str, form: str, rate_hz: int, samples: Int16Array) -> bytes:
    """Return a file with the samples ``(channels, n)``, by PyAV."""
    file = io.BytesIO()
    layout = "mono" if len(samples) == 1 else "stereo"
    with av.open(file, "w", format=container) as output:
        stream: Any = output.add_stream(name, rate=rate_hz, layout=layout)
        stream.codec_context.format = form
        interleaved = np.ascontiguousarray(samples.T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(interleaved, "s16", layout)
        frame.sample_rate = rate_hz
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize(("container", "name", "form", "floor_db"), FILES)
def test_files_of_many_kinds_open(container: str, name: str, form: str, floor_db: float) -> None:
    """WAV, FLAC, Ogg, MP3, M4A, Matroska: the speech that was written, mono int16."""
    rate_hz = 48000
    data = written(container, name, form, rate_hz, speech(rate_hz)[None])
    samples, read_hz = open_audio(data)
    assert read_hz == rate_hz
    assert samples.dtype == np.int16
    assert samples.ndim == 1
    lag = measured_delay(speech(rate_hz), samples)
    assert snr_db(speech(rate_hz), samples, lag) > floor_db


def test_paths_open_too() -> None:
    """As text and as Path, to the very samples that Python's own reader gives."""
    path = VECTORS / "speech_16k.wav"
    for each in (path, str(path)):
        samples, rate_hz = open_audio(each)
        assert rate_hz == 16000
        assert np.array_equal(samples, read_wav("speech_16k.wav"))


def test_stereo_is_mixed() -> None:
    """Both channels are heard."""
    left, right = tone(300, 16000, 16000, peak=8000), tone(700, 16000, 16000, peak=8000)
    samples, _ = open_audio(written("wav", "pcm_s16le", "s16", 16000, np.stack([left, right])))
    spectrum = np.abs(np.fft.rfft(samples))
    assert spectrum[300] == pytest.approx(spectrum[700], rel=0.01)
    assert spectrum[300] > 1000 * np.median(spectrum)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "cannot read"),
        (b"not audio at all" * 50, "cannot read"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/hostname\n", "cannot read"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", "cannot read|no sound"),
    ],
)
def test_what_is_no_audio_file_is_refused(data: bytes, word: str) -> None:
    """Nothing, text, a playlist that names another file, a head without a body."""
    with pytest.raises(AudioFormatError, match=word):
        open_audio(data)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    """One line with the path in it, and no address is ever opened."""
    with pytest.raises(AudioFormatError, match=r"nothing\.wav: No such file"):
        open_audio(tmp_path / "nothing.wav")
    with pytest.raises(AudioFormatError, match="cannot read"):
        open_audio("http://127.0.0.1:9/clip.wav")


def test_files_without_sound_are_refused() -> None:
    """A picture track alone, and a track without samples."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream: Any = output.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 32
        output.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        output.mux(stream.encode(None))
    with pytest.raises(AudioFormatError, match="no sound"):
        open_audio(file.getvalue())
    empty = io.BytesIO()
    with wave.open(empty, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(8000)
    with pytest.raises(AudioFormatError, match="no sound"):
        open_audio(empty.getvalue())


def test_sound_that_changes_on_the_way_is_refused() -> None:
    """Two MP3 files of different rates glued together are no clip."""
    files = [codec("MP3").encoder(rate_hz).encode(speech(rate_hz)) for rate_hz in (16000, 48000)]
    with pytest.raises(AudioFormatError, match="changes its format"):
        open_audio(b"".join(files))


def test_clips_have_a_longest_length() -> None:
    """A small file can hold hours; they are not all unpacked."""
    data = written("flac", "flac", "s16", 8000, np.zeros((1, 80_000), np.int16))
    assert len(open_audio(data, max_s=10)[0]) == 80_000
    with pytest.raises(AudioFormatError, match=r"longer than 9\.5 s"):
        open_audio(data, max_s=9.5)


@pytest.mark.parametrize(("in_hz", "out_hz"), [(16000, 8000), (11025, 16000), (44100, 24000)])
def test_whole_clips_convert_without_delay(in_hz: int, out_hz: int) -> None:
    """A tone comes out at the same place, as loud as it was."""
    converted = resample_clip(tone(440, in_hz, in_hz), in_hz, out_hz)
    assert len(converted) == out_hz
    middle = slice(out_hz // 10, -out_hz // 10)
    assert snr_db(tone(440, out_hz, out_hz)[middle], converted[middle]) > 60


def test_converting_to_the_same_rate_is_free() -> None:
    """The samples themselves come back."""
    assert resample_clip(speech(16000), 16000, 16000) is speech(16000)


def test_wrong_clips_are_refused() -> None:
    """Not int16, or no rate."""
    with pytest.raises(AudioFormatError):
        resample_clip(np.zeros(5), 8000, 16000)  # type: ignore[arg-type] # wrong on purpose
    with pytest.raises(AudioFormatError, match="from 8000 to 0 Hz"):
        resample_clip(np.zeros(5, np.int16), 8000, 0)


@pytest.mark.parametrize("package", ["av", "soxr", "lameenc"])
def test_a_missing_package_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not import is said with the way to install it."""
    monkeypatch.setitem(sys.modules, package, None)
    uses: dict[str, Callable[[], object]] = {
        "av": lambda: open_audio(b"x"),
        "soxr": lambda: resample_clip(speech(8000), 8000, 16000),
        "lameenc": lambda: codec("MP3").encoder(),
    }
    with pytest.raises(CodecUnavailableError, match=f"pip install {package}"):
        uses[package]()
