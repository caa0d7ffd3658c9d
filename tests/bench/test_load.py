"""The load's parts: when frames are due, what is said, what times are told."""

from __future__ import annotations

from array import array

import numpy as np
import pytest

from mediaserver.bench.figures import Load, Share
from mediaserver.bench.histogram import Times
from mediaserver.bench.load import wire
from mediaserver.bench.load.calls import address_of
from mediaserver.bench.load.generator import starts_s
from mediaserver.bench.load.pacer import offsets_s
from mediaserver.bench.load.voices import EXACT, opus_ms, voice
from mediaserver.bench.own_server import lag_buckets, lag_p99_ms
from mediaserver.carrier.plan import can_encode
from telephony_codecs import UnknownCodecError, codec


def test_frames_of_all_processes_spread_over_the_20_ms() -> None:
    """Together they are evenly apart; in bunches they share whole milliseconds."""
    shares = [range(first, 100, 3) for first in range(3)]
    spread = sorted(o for share in shares for o in offsets_s(share, 100, "spread"))
    assert np.allclose(np.diff(spread), 0.0002)
    bunches = {o for share in shares for o in offsets_s(share, 100, "bunches")}
    assert np.allclose(sorted(bunches), np.arange(20) / 1000)


def test_calls_that_come_by_chance_are_one_sequence_over_all_processes() -> None:
    """With the rate that was asked for, and the same in the next run."""

    def starts(slots: range) -> list[float]:
        load = Load(url="ws://x", arrivals="poisson", rate=100, seed=3)
        share = Share(load=load, slots=tuple(slots), n_calls=900, first_number=0, begin_s=0)
        return starts_s(share)

    halves = sorted(starts(range(0, 900, 2)) + starts(range(1, 900, 2)))
    assert halves == starts(range(900))
    assert 7 < halves[-1] < 11
    assert np.std(np.diff(halves)) > 0.005


@pytest.mark.parametrize("name", ["PCMU", "PCMA", "L16", "G722", "OPUS", "AMR-WB", "PCMU>L16"])
def test_a_voice_is_real_speech_of_20_ms_each(name: str) -> None:
    """Its replies are as long, and an echo of what it says is found to be like it."""
    if name == "OPUS" and not can_encode("OPUS"):
        pytest.skip("no OPUS encoder here")
    said = voice(name)
    assert len(said.payloads) > 400
    decoder = codec(said.form.encoding).decoder(said.form.rate_hz)
    encoder = codec(said.returns).encoder(said.rate_hz)
    pcm = [decoder.decode(each) for each in said.payloads[:100]]
    if decoder.rate_hz != said.rate_hz:
        pcm = [np.repeat(each, said.rate_hz // decoder.rate_hz) for each in pcm]
    replies = [encoder.encode(each) for each in pcm]
    assert {said.length_ms(each) for each in replies} == {20.0}
    assert said.is_exact == (name in EXACT)
    if said.is_exact:
        assert replies == list(said.payloads[:100])
    assert said.unlike(0, replies) is None
    assert said.unlike(200, replies) is not None


def test_a_codec_that_there_is_not_is_refused() -> None:
    """With its name."""
    with pytest.raises(UnknownCodecError, match="MORSE"):
        voice("MORSE")


@pytest.mark.parametrize(
    ("packet", "length_ms"),
    [(b"", 0), (b"\x08", 20), (b"\x09", 40), (b"\x78", 20), (b"\xf8", 20), (b"\xe3\x04", 10)],
)
def test_an_opus_packet_says_how_long_it_is(packet: bytes, length_ms: float) -> None:
    """RFC 6716, 3.1 and 3.2."""
    assert opus_ms(packet) == length_ms


def test_times_are_added_up_over_processes() -> None:
    """Percentiles are those of all; a negative time counts as none."""
    first, second, both = Times(), Times(), Times()
    first.add(array("d", [0.001] * 98 + [-1.0]))
    second.add(array("d", [0.250]))
    both.merge(first.encode())
    both.merge(second.encode())
    found = both.percentiles_ms()
    assert found["p50"] == pytest.approx(1, rel=0.002)
    assert found["max"] == pytest.approx(250, rel=0.002)
    assert both.above(100) == 1
    assert sum(count for _, count in both.buckets_ms()) == 100
    assert Times().percentiles_ms()["p99"] == 0
    assert Times().buckets_ms() == []


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("ws://localhost:8080/media?a=b", ("localhost", 8080, "/media?a=b", False, "t", False)),
        ("wss://example.com", ("example.com", 443, "/", True, "t", False)),
    ],
)
def test_an_address_is_a_url_s(url: str, address: tuple[object, ...]) -> None:
    """Host, port, path with its query, and whether it is TLS."""
    assert address_of(url, "t") == address


def test_a_host_is_named_as_http_has_it() -> None:
    """An IPv6 address in brackets; a token in the header that Telnyx uses."""
    request, _ = wire.upgrade("/media", 8080, "::1", "t0ken")
    assert b"\r\nHost: [::1]:8080\r\n" in request
    assert b"\r\nx-telnyx-streaming-auth-token: t0ken\r\n\r\n" in request
    assert b"token" not in wire.upgrade("/media", 8080)[0]


def test_what_is_no_address_is_refused() -> None:
    """It says what is expected."""
    with pytest.raises(ValueError, match="begins with ws://"):
        address_of("http://localhost")


def test_the_loop_s_lag_is_read_from_the_metrics() -> None:
    """Of all loops together, of what came between two readings."""
    text = (
        'mediaserver_loop_lag_seconds_bucket{{le="0.001",loop="calls"}} {}\n'
        'mediaserver_loop_lag_seconds_bucket{{le="0.005",loop="calls"}} {}\n'
        'mediaserver_loop_lag_seconds_bucket{{le="+Inf",loop="calls"}} {}\n'
    )
    before, after = (lag_buckets(text.format(*n)) for n in ((10, 10, 30), (60, 110, 130)))
    assert lag_p99_ms(before, after) == 5.0
    assert lag_p99_ms(after, after) is None
    assert lag_p99_ms({}, {}) is None
