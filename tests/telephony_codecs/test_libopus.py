"""The functions of libopus that are used: states, options, and its errors as ours."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from telephony_codecs import AudioFormatError, CodecUnavailableError
from telephony_codecs.libopus import (
    APPLICATIONS,
    GET_LOOKAHEAD,
    SET_BITRATE,
    SET_COMPLEXITY,
    LibOpus,
    libopus,
)
from telephony_codecs.libraries import load_opus
from tests.telephony_codecs.audio import speech

pytestmark = [pytest.mark.needs("OPUS", "decode")]

# opus_defines.h
OPUS_BAD_ARG, OPUS_INVALID_PACKET = -1, -4


@pytest.fixture
def opus() -> LibOpus:
    """The library, its functions declared anew."""
    return LibOpus(load_opus())


def packet(opus: LibOpus, encoder: ctypes.Array[ctypes.c_char], pcm: bytes) -> bytes:
    room = ctypes.create_string_buffer(1275)
    n_octets = opus.encode(encoder, pcm, len(pcm) // 2, room, 1275)
    return room.raw[:n_octets]


def test_the_library_says_what_it_is_and_what_is_wrong(opus: LibOpus) -> None:
    """Its version, and its own words for its codes."""
    assert opus.version.startswith("libopus ")
    assert opus.reason(OPUS_BAD_ARG) == "invalid argument"
    assert opus.reason(OPUS_INVALID_PACKET) == "corrupted stream"


def test_a_library_is_loaded_once() -> None:
    """The same path gives the same object; what does not load is refused, each time."""
    assert libopus() is libopus()
    for _ in range(2):
        with pytest.raises(CodecUnavailableError, match="no-such-libopus"):
            libopus("no-such-libopus.so")


def test_options_are_set_and_figures_read(opus: LibOpus) -> None:
    """Low delay looks 2.5 ms ahead, the others 6.5 ms; a tenth of the bits makes small packets."""
    pcm = speech(48000)[48000:48960].tobytes()
    sizes = {}
    for name, lookahead in (("voip", 312), ("audio", 312), ("lowdelay", 120)):
        encoder = opus.new_encoder(48000, APPLICATIONS[name])
        assert opus.get_encoder(encoder, GET_LOOKAHEAD) == lookahead
        for bitrate in (6000, 64000):
            opus.set_encoder(encoder, SET_BITRATE, bitrate)
            sizes[name, bitrate] = len(packet(opus, encoder, pcm))
        assert 2 * sizes[name, 6000] < sizes[name, 64000]


def test_what_the_library_refuses_is_audio_format_error(opus: LibOpus) -> None:
    """A rate, an application or a value that it does not have: its words, as our error."""
    encoder = opus.new_encoder(16000, APPLICATIONS["voip"])
    for refused in (
        lambda: opus.new_encoder(44100, APPLICATIONS["voip"]),
        lambda: opus.new_encoder(16000, 7),
        lambda: opus.new_decoder(11025),
        lambda: opus.set_encoder(encoder, SET_COMPLEXITY, 11),
    ):
        with pytest.raises(AudioFormatError, match="libopus says invalid argument"):
            refused()


def test_a_reset_makes_both_ways_as_new(opus: LibOpus) -> None:
    """The same audio gives the same packets again, and they the same range coder states."""
    encoder, decoder = opus.new_encoder(16000, APPLICATIONS["voip"]), opus.new_decoder(16000)
    pcm = ctypes.create_string_buffer(640)
    pieces = [piece.tobytes() for piece in np.split(speech(16000)[:3200], 10)]

    def both() -> list[tuple[bytes, int]]:
        seen = []
        for piece in pieces:
            sent = packet(opus, encoder, piece)
            assert opus.decode(decoder, sent, len(sent), pcm, 320, 0) == 320
            seen.append((sent, opus.final_range(decoder)))
        return seen

    first = both()
    assert both() != first, "state is kept until it is reset"
    opus.reset_encoder(encoder)
    opus.reset_decoder(decoder)
    assert both() == first
