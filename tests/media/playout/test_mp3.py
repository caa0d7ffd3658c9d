"""mp3 mode: whole files, one message a second, the same truth about what was heard."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mediaserver.errors import AudioFormatError, ConfigurationError
from mediaserver.media.frames import Int16Array
from mediaserver.media.playout import Mp3Playout
from telephony_codecs import open_audio

Tone = Callable[..., Int16Array]


class Wire:
    """Writes down what is sent and when."""

    def __init__(self) -> None:
        self.now = 0.0
        self.files: list[tuple[float, bytes]] = []
        self.marks: list[str] = []
        self.clears = 0

    def send_media(self, payload: bytes) -> None:
        self.files.append((self.now, payload))

    def send_mark(self, name: str) -> None:
        self.marks.append(name)

    def send_clear(self) -> None:
        self.clears += 1

    def run(self, playout: Mp3Playout, until: float) -> None:
        while playout.next_at is not None and playout.next_at <= until:
            self.now = max(self.now, playout.next_at)
            playout.tick(self.now)
        self.now = until


@pytest.fixture
def wire() -> Wire:
    return Wire()


def test_each_clip_is_a_whole_file_and_files_keep_their_distance(
    wire: Wire, make_tone: Tone
) -> None:
    """Five clips at once leave as five MP3 files, never two within a second."""
    playout = Mp3Playout(wire)
    sizes_s = [0.3, 1.0, 0.05, 2.0, 0.3]
    rates_hz = [8000, 24000, 16000, 44100, 8000]
    items = [playout.play(make_tone(s, r), r, 0.0) for s, r in zip(sizes_s, rates_hz, strict=True)]
    assert len(wire.files) == 1
    wire.run(playout, 20.0)
    times = [at for at, _ in wire.files]
    assert min(np.diff(times)) >= 1.0
    for (_, file), size_s in zip(wire.files, sizes_s, strict=True):
        audio, rate_hz = open_audio(file)
        assert rate_hz == 24000
        assert size_s <= len(audio) / rate_hz <= size_s + 0.15
    for name in list(wire.marks):
        playout.mark_returned(name, wire.now)
    assert [item.state for item in items] == ["played"] * 5


def test_a_long_clip_is_several_files(wire: Wire, make_tone: Tone) -> None:
    """Half a minute is the most that one message holds; the rest follows in the next."""
    playout = Mp3Playout(wire)
    item = playout.play(make_tone(30.01, 8000), 8000, 0.0)
    wire.run(playout, 40.0)
    lengths_s = [len(audio) / rate for audio, rate in (open_audio(f) for _, f in wire.files)]
    assert len(lengths_s) == 2
    assert sum(lengths_s) == pytest.approx(30.1, abs=0.15)
    playout.mark_returned(wire.marks[-1], wire.now)
    assert item.state == "played"
    assert item.heard_s(wire.now) == pytest.approx(30.01, abs=0.001)


def test_clear_empties_the_queue_and_keeps_the_distance(wire: Wire, make_tone: Tone) -> None:
    """After a clear nothing of the old queue is sent, and the next file still waits its second."""
    playout = Mp3Playout(wire)
    items = [playout.play(make_tone(2.0), 8000, 0.0) for _ in range(3)]
    mark = playout.mark("end", 0.0)
    wire.run(playout, 0.5)
    assert playout.clear(0.5) == (*items, mark)
    assert items[0].heard_s(9.0) == pytest.approx(0.5, abs=0.001)
    assert [thing.state for thing in (*items, mark)] == ["cleared"] * 4
    playout.play(make_tone(0.3), 8000, 0.6)
    wire.run(playout, 5.0)
    assert [at for at, _ in wire.files] == [0.0, pytest.approx(1.05)]
    assert wire.clears == 1


def test_live_and_streamed_audio_are_refused(wire: Wire, make_tone: Tone) -> None:
    """What cannot be a file is refused by name of the mode that takes it."""
    playout = Mp3Playout(wire)
    with pytest.raises(ConfigurationError, match="rtp"):
        playout.play(make_tone(0.02), 8000, 0.0, live=True)
    with pytest.raises(ConfigurationError, match="rtp"):
        playout.play_live(make_tone(0.02), 8000, 0.0)
    with pytest.raises(ConfigurationError, match="rtp"):
        playout.open(8000, 0.0)
    with pytest.raises(AudioFormatError):
        playout.play(make_tone(0.02), 12345, 0.0)
    assert (wire.files, playout.next_at) == ([], None)


def test_an_encoder_that_cannot_be_is_a_wrong_setting(wire: Wire) -> None:
    """An impossible rate or bit rate is said when the call is set up."""
    with pytest.raises(ConfigurationError):
        Mp3Playout(wire, rate_hz=11000)
    with pytest.raises(ConfigurationError):
        Mp3Playout(wire, bitrate_kbps=1)


def test_the_shortest_clips_keep_their_distance_too(wire: Wire, make_tone: Tone) -> None:
    """Clips of exactly one 20 ms block at the encoder's own rate do not skip the queue."""
    playout = Mp3Playout(wire, rate_hz=24000)
    for n in range(3):
        playout.play(make_tone(0.02, 24000), 24000, n * 0.02)
    wire.run(playout, 10.0)
    times = [at for at, _ in wire.files]
    assert len(times) == 3
    assert min(np.diff(times)) >= 1.0
