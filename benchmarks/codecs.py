"""Microseconds of CPU per 20 ms frame: every codec and resampler beside what was rejected.

All ways of one group take turns within one run, and each one's output is verified. The unit
measured is one pass over 160 frames of real speech, as a clock costs as much as the smallest
rows do: p50, p95 and p99 are those of passes, divided by the frames of a pass.

    python benchmarks/codecs.py [--passes 40] [--only G722]

What this does NOT show
  - the cost in a server, where caches are cold and other calls compete;
  - how good anything sounds (tests hold that);
  - opuslib, pydub and others that are not among the dependencies;
  - percentiles of single frames.
"""

from __future__ import annotations

import sys
import time
import warnings
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from typing import Any

import av
import numpy as np
import soxr

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.parts import command
from telephony_codecs import (
    RESAMPLE_RATES_HZ,
    CodecUnavailableError,
    Int16Array,
    Resampler,
    codec,
    open_audio,
    resample_clip,
)
from telephony_codecs.amrwb import pack, read_storage
from telephony_codecs.g711 import laws, load_audioop

VECTORS = Path(__file__).parent.parent / "tests" / "vectors" / "codecs"
N_FRAMES = 160

Outputs = list[Any]


@dataclass
class Way:
    """One way of doing the work of a group; a group's first is ours.

    Attributes:
        group: what is done, as ``PCMU decode``.
        name: by what means.
        run: does it for all frames and returns what came out.
        check: returns a remark on the outputs; raises AssertionError if they are wrong.
        n_frames: how many frames of 20 ms one run takes.
    """

    group: str
    name: str
    run: Callable[[], Outputs]
    check: Callable[[Outputs], str]
    n_frames: int = N_FRAMES
    remark: str = ""
    took_us: list[float] = field(default_factory=list)


def frames_at(rate_hz: int) -> list[Int16Array]:
    """Return real speech in frames of 20 ms."""
    with wave.open(str(VECTORS / "speech_16k.wav")) as file:
        speech = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    n = rate_hz // 50
    audio = resample_clip(speech, 16000, rate_hz)
    return [audio[i * n : (i + 1) * n] for i in range(N_FRAMES)]


def each(work: Callable[[Any], Any], inputs: list[Any]) -> Callable[[], Outputs]:
    """Return a pass: ``work`` on every input in turn."""
    return lambda: [work(item) for item in inputs]


def equal_to(expected: Outputs, *, but: str = "") -> Callable[[Outputs], str]:
    """Return a check for equality; with ``but``, differences are told and not refused."""
    wanted = b"".join(bytes(memoryview(part).cast("B")) for part in expected)

    def check(outputs: Outputs) -> str:
        got = b"".join(bytes(memoryview(part).cast("B")) for part in outputs)
        assert len(got) == len(wanted)
        if got == wanted:
            return "equal"
        n_different = sum(a != b for a, b in zip(got, wanted, strict=True))
        assert but, f"{n_different} octets differ"
        return f"{but}: {n_different} of {len(got)} octets differ"

    return check


def snr_db(original: Int16Array, coded: Int16Array, delay: int) -> float:
    """Return the signal-to-noise ratio, aligned."""
    n = min(len(original), len(coded) - delay)
    wanted = original[:n].astype(np.float64)
    noise = coded[delay : delay + n] - wanted
    # Not by @: a long dot product wakes BLAS' threads, which then spin through the measuring.
    return float(10 * np.log10((wanted**2).sum() / max((noise**2).sum(), 1e-9)))


def best_delay(original: Int16Array, coded: Int16Array) -> int:
    """Return the lag at which the two fit best."""
    size = 1 << (len(original) + len(coded)).bit_length()
    spectrum = np.fft.rfft(coded, size) * np.conj(np.fft.rfft(original, size))
    return int(np.argmax(np.fft.irfft(spectrum, size)[: size // 2]))


def like_speech(
    rate_hz: int, floor_db: float, *, from_hz: int | None = None
) -> Callable[[Outputs], str]:
    """Return a check that what came out is the speech (that ``from_hz`` could hold), at any lag."""
    original = np.concatenate(frames_at(from_hz or rate_hz))
    original = resample_clip(original, from_hz or rate_hz, rate_hz)

    def check(outputs: Outputs) -> str:
        coded = np.concatenate([part for part in outputs if len(part)])
        found = snr_db(original, coded, best_delay(original, coded))
        assert found >= floor_db, f"{found:.1f} dB"
        return f"SNR {found:.0f} dB"

    return check


def decodable(make: Callable[[], Callable[[bytes], Int16Array]], rate_hz: int, floor_db: float):  # type: ignore[no-untyped-def] # the type is like_speech's
    """Return a check that payloads decode to the speech."""
    judge = like_speech(rate_hz, floor_db)

    def check(outputs: Outputs) -> str:
        decode = make()
        return judge([decode(payload) for payload in outputs if payload])

    return check


def av_coder(name: str, mode: str, rate_hz: int, form: str = "s16", **options: str) -> Any:
    """Return a PyAV codec context, mono."""
    context: Any = av.CodecContext.create(name, mode)  # type: ignore[call-overload] # name and mode are not literals
    context.sample_rate, context.layout = rate_hz, "mono"
    context.options = options
    if mode == "w":
        context.format = form
    return context


def av_encode(context: Any) -> Callable[[Int16Array], bytes]:
    """Return PyAV's encoding of one frame."""

    def encode(samples: Int16Array) -> bytes:
        frame = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
        frame.sample_rate = context.sample_rate
        return b"".join(bytes(packet) for packet in context.encode(frame))

    return encode


def av_decode(context: Any) -> Callable[[bytes], Int16Array]:
    """Return PyAV's decoding of one packet, to int16."""

    def decode(payload: bytes) -> Int16Array:
        parts = [frame.to_ndarray()[0] for frame in context.decode(av.Packet(payload))]
        samples = np.concatenate(parts) if parts else np.zeros(0, np.int16)
        return samples if samples.dtype == np.int16 else (samples * 32767).astype(np.int16)

    return decode


def g711_decode(expand: Callable[[bytes, int], bytes]) -> Callable[[bytes], Int16Array]:
    """Return the decoding of one payload by ``expand`` and nothing else."""
    # Bound as in ours: their look-up would be in the time measured.
    frombuffer, int16 = np.frombuffer, np.dtype(np.int16)
    return lambda payload: frombuffer(expand(payload, 2), int16)


def g711_ways(name: str) -> Iterator[Way]:
    """Yield G.711: ours, by table alone, by audioop alone."""
    frames = frames_at(8000)
    encoder, decoder = codec(name).encoder(), codec(name).decoder()
    payloads = [encoder.encode(frame) for frame in frames]
    audio = [decoder.decode(payload) for payload in payloads]
    table = {law.codec: law for law in laws(None, None)}[name]
    audioop = load_audioop()
    short = {"PCMU": "ulaw", "PCMA": "alaw"}[name]
    expand, compress = getattr(audioop, f"{short}2lin"), getattr(audioop, f"lin2{short}")
    yield Way(f"{name} decode", "ours", each(decoder.decode, payloads), equal_to(audio))
    for title, way in (("table", table.expand), ("audioop", expand)):
        bare = each(g711_decode(way), payloads)
        yield Way(f"{name} decode", f"{title} bare", bare, equal_to(audio))
    yield Way(f"{name} encode", "ours", each(encoder.encode, frames), equal_to(payloads))
    bare = each(table.octets_of, frames)
    yield Way(f"{name} encode", "table bare", bare, equal_to(payloads))
    bare = each(lambda x: compress(x, 2), frames)
    yield Way(f"{name} encode", "audioop bare", bare, equal_to(payloads, but="inexact"))


def l16_ways() -> Iterator[Way]:
    """Yield L16 in both byte orders, and detecting."""
    frames = frames_at(16000)
    for order in ("big", "little"):
        encoder = codec("L16").encoder(16000, byte_order=order)
        decoder = codec("L16").decoder(16000, byte_order=order)
        payloads = [encoder.encode(frame) for frame in frames]
        yield Way("L16 decode", f"ours, {order}", each(decoder.decode, payloads), equal_to(frames))
        yield Way("L16 encode", f"ours, {order}", each(encoder.encode, frames), equal_to(payloads))
    detecting = codec("L16").decoder(16000, byte_order="auto")
    run = each(detecting.decode, payloads)
    yield Way("L16 decode", "ours, auto, decided", run, equal_to(frames))


def g722_ways() -> Iterator[Way]:
    """Yield G.722: ours and PyAV's."""
    frames = frames_at(16000)
    encoder, decoder = codec("G722").encoder(), codec("G722").decoder()
    payloads = [encoder.encode(frame) for frame in frames]
    heard = like_speech(16000, 25)
    judge = decodable(lambda: codec("G722").decoder().decode, 16000, 25)
    yield Way("G722 decode", "ours", each(decoder.decode, payloads), heard)
    other = av_decode(av_coder("g722", "r", 16000))
    yield Way("G722 decode", "PyAV", each(other, payloads), heard)
    yield Way("G722 encode", "ours", each(encoder.encode, frames), judge)
    yield Way("G722 encode", "PyAV", each(av_encode(av_coder("g722", "w", 16000)), frames), judge)


def opus_ways() -> Iterator[Way]:
    """Yield Opus at 16 kHz and 24 kbit/s: our binding, PyAV with libopus and with its own."""
    frames = frames_at(16000)
    audio: dict[str, Any] = {"application": "audio", "bitrate": 24000}
    payloads = [e.encode(f) for e in [codec("OPUS").encoder(16000, **audio)] for f in frames]
    judge = decodable(lambda: codec("OPUS").decoder(16000).decode, 16000, 9)
    decoder = codec("OPUS").decoder(16000)
    yield Way("OPUS decode", "ours", each(decoder.decode, payloads), like_speech(16000, 9))
    for name in ("libopus", "opus"):
        # FFmpeg always decodes Opus to 48 kHz.
        other = av_decode(av_coder(name, "r", 48000))
        yield Way("OPUS decode", f"PyAV {name}, 48k", each(other, payloads), like_speech(48000, 9))
    for complexity in (5, 0, 10):
        encoder = codec("OPUS").encoder(16000, **audio, complexity=complexity)
        name = f"ours, complexity {complexity}"
        yield Way("OPUS encode", name, each(encoder.encode, frames), judge)
    context = av_coder("libopus", "w", 16000, application="audio", b="24000", compression_level="5")
    yield Way("OPUS encode", "PyAV libopus", each(av_encode(context), frames), judge)


def amrwb_ways() -> Iterator[Way]:
    """Yield AMR-WB at 12.65: opencore-amr (ours) and FFmpeg's own decoder; libvo-amrwbenc."""
    stored = read_storage((VECTORS / "speech_12650.awb").read_bytes())[:N_FRAMES]
    payloads = [pack([frame], "be") for frame in stored]
    decoder = codec("AMR-WB").decoder()
    heard = like_speech(16000, 3)
    yield Way("AMR-WB decode", "ours", each(decoder.decode, payloads), heard)
    other = av_decode(av_coder("amrwb", "r", 16000))
    yield Way("AMR-WB decode", "FFmpeg amrwb, unpacked", each(other, stored), heard)
    encoder = codec("AMR-WB").encoder()
    judge = decodable(lambda: codec("AMR-WB").decoder().decode, 16000, 3)
    yield Way("AMR-WB encode", "ours", each(encoder.encode, frames_at(16000)), judge)


def mp3_ways() -> Iterator[Way]:
    """Yield MP3 as mp3 mode sends it: a file for each second, 50 frames."""
    frames = frames_at(24000)
    n_frames = N_FRAMES // 50 * 50
    seconds = [np.concatenate(frames[i : i + 50]) for i in range(0, n_frames, 50)]
    encoder = codec("MP3").encoder(24000)

    def check(outputs: Outputs) -> str:
        for file, second in zip(outputs, seconds, strict=True):
            heard, _ = open_audio(file)
            assert snr_db(second, heard, encoder.delay_samples) > 10
        return "files open"

    run = each(encoder.encode, seconds)
    yield Way("MP3 encode", f"ours, {n_frames} frames a pass", run, check, n_frames)


def resample_ways(in_hz: int, out_hz: int) -> Iterator[Way]:
    """Yield one pair of rates: ours, soxr's stream, swresample, audioop."""
    frames = frames_at(in_hz)
    group = f"{in_hz} → {out_hz}"

    def chunked(floor_db: float) -> Callable[[Outputs], str]:
        judge = like_speech(out_hz, floor_db, from_hz=in_hz)

        def check(outputs: Outputs) -> str:
            sizes = [len(part) for part in outputs]
            return f"{judge(outputs)}, chunks of {min(sizes)} to {max(sizes)}"

        return check

    ours = Resampler(in_hz, out_hz)
    yield Way(group, "ours", each(ours.process, frames), chunked(20))
    for quality in ("HQ", "QQ"):
        stream = soxr.ResampleStream(in_hz, out_hz, 1, dtype="int16", quality=quality)
        run = each(stream.resample_chunk, frames)
        yield Way(group, f"soxr stream {quality}", run, chunked(5))
    swr = av.AudioResampler(format="s16", layout="mono", rate=out_hz)

    def swresample(samples: Int16Array) -> Int16Array:
        frame = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
        frame.sample_rate = in_hz
        parts = [part.to_ndarray()[0] for part in swr.resample(frame)]
        return np.concatenate(parts) if parts else np.zeros(0, np.int16)

    yield Way(group, "PyAV swresample", each(swresample, frames), chunked(5))
    audioop, state = load_audioop(), [None]

    def ratecv(samples: Int16Array) -> Int16Array:
        converted, state[0] = audioop.ratecv(samples.tobytes(), 2, 1, in_hz, out_hz, state[0])
        return np.frombuffer(converted, np.int16)

    yield Way(group, "audioop.ratecv", each(ratecv, frames), chunked(0))


def all_ways() -> Iterator[Way]:
    """Yield everything there is to measure here."""
    sources: list[Callable[[], Iterator[Way]]] = [
        lambda: g711_ways("PCMU"),
        lambda: g711_ways("PCMA"),
        l16_ways,
        g722_ways,
        opus_ways,
        amrwb_ways,
        mp3_ways,
    ]
    for source in sources:
        try:
            yield from source()
        except CodecUnavailableError as error:
            print(f"left out: {error}")
    for in_hz, out_hz in permutations(RESAMPLE_RATES_HZ, 2):
        yield from resample_ways(in_hz, out_hz)


def measure(ways: list[Way], n_passes: int) -> None:
    """Run the ways in turns, so that a busy machine is busy for all of them."""
    for _ in range(n_passes):
        for way in ways:
            begin = time.process_time_ns()
            way.run()
            way.took_us.append((time.process_time_ns() - begin) / 1000 / way.n_frames)


def report(ways: list[Way]) -> None:
    """Print one group's lines, ratios against its first."""
    reference = float(np.median(ways[0].took_us))
    for way in ways:
        p50, p95, p99 = np.percentile(way.took_us, (50, 95, 99))
        print(
            f"{way.group:15} {way.name:24} {p50:8.2f} {p95:8.2f} {p99:8.2f} "
            f"{p50 / reference:6.2f}×  {way.remark}"
        )


def main() -> int:
    """Verify each way on its first pass, measure, report."""
    parser = command.parser(__doc__, {"passes": 1})
    parser.add_argument("--passes", type=int, default=40, help="over 160 frames, of each way")
    parser.add_argument("--only", default="", help="groups whose name contains this")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", DeprecationWarning)
    command.print_opening(__doc__)
    groups: dict[str, list[Way]] = {}
    for way in all_ways():
        if arguments.only in way.group:
            groups.setdefault(way.group, []).append(way)
    print(f"\n{'group':15} {'way':24} {'p50 µs':>8} {'p95':>8} {'p99':>8}   ratio  verified")
    for ways in groups.values():
        for way in ways:
            way.remark = way.check(way.run())
        measure(ways, arguments.passes)
        report(ways)
    return 0


if __name__ == "__main__":
    sys.exit(main())
