"""Sources of plays: bytes cut anywhere, files by their first octets, pulled as far as asked."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import lameenc
import numpy as np
import pytest

from mediaserver.carrier import CallPlan, FakeCall
from mediaserver.errors import AudioFormatError
from mediaserver.media.playout import Playout
from mediaserver.server.calls.audio.alarm import Alarm
from mediaserver.server.calls.audio.outbound import Outbound
from mediaserver.server.calls.audio.sources import PIECE_SAMPLES, Chunks, is_audio_file
from mediaserver.server.service import SingleProcessService
from telephony_codecs import codec
from tests.server.conftest import Serving, bot

SPEECH = (3000 * np.sin(np.arange(24000) / 7)).astype("<i2")


def cuts(octets: bytes, seed: int) -> Iterator[bytes]:
    """The octets cut at random places, empty pieces among them."""
    chance = random.Random(seed)
    at = 0
    while at < len(octets):
        size = chance.choice([0, 1, 2, 3, 1001, 4096])
        yield octets[at : at + size]
        at += size


@pytest.mark.parametrize("seed", range(20))
def test_bytes_cut_anywhere_are_the_same_samples(seed: int) -> None:
    """Odd cuts are joined; what comes out is what went in."""
    join = Chunks(8000)
    parts = [join.samples(chunk, 0.0) for chunk in cuts(SPEECH.tobytes(), seed)]
    assert np.array_equal(np.concatenate(parts), SPEECH)


def test_an_array_passes_as_it_is() -> None:
    """Only octets are converted; half a sample at the end is dropped."""
    join = Chunks(8000)
    assert join.samples(SPEECH, 0.0) is SPEECH
    assert join.samples(bytearray(b"\x01\x00\x02"), 0.0).tolist() == [1]
    assert join.samples(memoryview(b"\x00\x03\x00"), 0.0).tolist() == [2, 3]


def test_what_an_audio_file_begins_with() -> None:
    """WAV, FLAC, Ogg, MP3 with and without a tag are told from raw samples."""
    encoder = lameenc.Encoder()
    encoder.silence()
    encoder.set_in_sample_rate(24000)
    encoder.set_channels(1)
    mp3 = bytes(encoder.encode(SPEECH.tobytes()) + encoder.flush())
    for head in (b"RIFF....WAVE", b"fLaC....", b"OggS....", b"ID3.....", b"....ftypM4A ", mp3):
        assert is_audio_file(head)
    assert mp3[0] == 0xFF, "it begins with a frame, not with a tag"
    quiet = np.array([-1025, -1, -5, 7] * 2000, "<i2").tobytes()
    for raw in (b"", b"\xff", b"\xff\xfb", quiet, SPEECH.tobytes(), bytes(1000)):
        assert not is_audio_file(raw)


class Heard:
    """A sink that decodes nothing and keeps all."""

    def __init__(self) -> None:
        self.media = b""

    def send_media(self, payload: bytes) -> None:
        self.media += payload

    def send_mark(self, name: str) -> None:
        """No far end gives it back."""

    def send_clear(self) -> None:
        """Nothing is queued elsewhere."""


def outbound(sink: Heard, ahead_s: float = 1.0, lead_s: float | None = None) -> Outbound:
    """The outbound half of a call in L16 at 8 kHz; without a lead it sends all at once."""
    playout = Playout(codec("L16").encoder(8000, byte_order="little"), sink, lead_s=lead_s)
    return Outbound(playout, Alarm(lambda: playout.tick(time.monotonic())), ahead_s)


async def test_an_iterator_of_bytes_is_heard() -> None:
    """As the docs' synthesis has it: chunks of 1001 bytes, at the call's own rate."""

    async def synthesis() -> AsyncIterator[bytes]:
        octets = SPEECH.tobytes()
        for at in range(0, len(octets), 1001):
            yield octets[at : at + 1001]

    sink = Heard()
    half = outbound(sink, ahead_s=60)
    play = await half.play(synthesis(), None)
    while play._play.is_open:  # noqa: ASYNC110  # a flag has no event
        await asyncio.sleep(0)
    assert sink.media[: len(SPEECH) * 2] == SPEECH.tobytes()
    half.end()
    await half.closed()


async def test_raw_bytes_with_a_rate_are_samples() -> None:
    """Without a rate they are a file; half a sample is refused."""
    sink = Heard()
    half = outbound(sink)
    await half.play(SPEECH.tobytes(), 8000)
    assert sink.media[: len(SPEECH) * 2] == SPEECH.tobytes()
    with pytest.raises(AudioFormatError, match="whole int16 samples"):
        await half.play(b"\x00\x01\x02", 8000)


@pytest.mark.parametrize("form", ["array", "resumed", "iterator"])
async def test_while_much_is_copied_other_calls_run(form: str) -> None:
    """Two minutes at once; what their owner writes there later is not heard."""
    given = np.tile(SPEECH, 42)
    assert len(given) > 3 * PIECE_SAMPLES
    original = given.tobytes()

    async def chunks() -> AsyncIterator[Any]:
        yield given

    sink = Heard()
    half = outbound(sink, ahead_s=600)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    beside = asyncio.create_task(other())
    source = chunks() if form == "iterator" else given
    play = asyncio.create_task(half.play(source, None, resume=form == "resumed"))
    while len(sink.media) < len(original):  # noqa: ASYNC110  # a length has no event
        await asyncio.sleep(0)
    given[:] = 0
    beside.cancel()
    assert turns >= 3
    assert sink.media[: len(original)] == original
    half.end()  # play() waits for room until then
    await play
    assert await half.closed() == 0


async def test_a_source_that_does_not_end_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """It takes no notice of being cancelled: it is left alone, and the call ends."""
    may_end = asyncio.Event()

    async def stubborn() -> AsyncIterator[Any]:
        while not may_end.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await may_end.wait()
        yield SPEECH

    half = outbound(Heard())
    await half.play(stubborn(), None)
    await asyncio.sleep(0)
    half.end()
    assert await half.closed() == 1
    assert "a play's source does not end: it is left alone" in caplog.text
    may_end.set()


@pytest.mark.parametrize("source", [[0] * 160, (1, 2), 5, None, {"a": 1}])
async def test_what_is_no_source_is_refused_at_once(source: Any) -> None:
    """With the type's name, not later by a failed play."""
    with pytest.raises(AudioFormatError, match=f"not {type(source).__name__}"):
        await outbound(Heard()).play(source, None)


@pytest.mark.parametrize(("ahead_s", "n_pulled"), [(1.0, 2), (5.0, 6)])
async def test_an_iterator_is_pulled_so_far_ahead(ahead_s: float, n_pulled: int) -> None:
    """A source of one second a piece: one more piece than ``ahead_s`` holds."""
    pulled = 0

    async def seconds() -> AsyncIterator[np.ndarray[Any, Any]]:
        nonlocal pulled
        while True:
            pulled += 1
            yield np.zeros(8000, np.int16)

    half = outbound(Heard())
    await half.play(seconds(), 8000, ahead_s=ahead_s)
    await asyncio.sleep(0.1)
    assert pulled == n_pulled
    half.clear_now()
    await half.closed()
    assert pulled == n_pulled, "clear() stops the source at once"


async def test_a_source_that_pauses_long_leaves_no_gap(serving: Serving) -> None:
    """0.5 s of work before each second of speech: with enough pulled ahead it is seamless."""
    async with serving(bot("pauses", ahead_s=3.0), lead_ms=200) as server:
        async with FakeCall(server.url, CallPlan(seconds=60.0)) as call:
            ear = call.intake.ear
            await call.wait_until(lambda: ear.n_fed >= 3 * 8000, 15)
            assert isinstance(server.service, SingleProcessService)
        heard = ear.between(0, ear.end_s)
    speech = np.flatnonzero(np.abs(heard) > 500)
    gaps = np.diff(speech)
    assert gaps.max() < 0.06 * 8000, "no gap of 60 ms inside the speech"
