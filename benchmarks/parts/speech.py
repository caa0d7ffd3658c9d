"""Real speech with labels, for scripts and tests of what listens.

The speech comes out of two Debian packages: ``pocketsphinx-testdata`` (a few speakers) and
``asterisk-core-sounds-en-wav`` (some 570 prompts of one). All of it is brought to 8 kHz.

**The label** is the energy envelope of the clean clip, before noise and codec: speech is where
the RMS of 20 ms is at most `BELOW_DB` below the clip's loud parts (the 95th percentile). Gaps
up to `GAP_S` belong to it; bursts under `LEAST_S` do not count. These figures were set before
any detector was tried, and are not to be moved to suit one.
"""

from __future__ import annotations

import sys
import wave
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from telephony_codecs import codec, resample_clip

Float = npt.NDArray[np.float32]
Int16 = npt.NDArray[np.int16]
Span = tuple[float, float]

RATE_HZ = 8000
BELOW_DB = 20.0
WINDOW_S, HOP_S = 0.020, 0.005
GAP_S = 0.2
LEAST_S = 0.1
# A phrase has a pause of at least so much on both sides; between this and GAP_S it is neither
# one phrase nor two, and the clip is left out.
APART_S = 0.3
PHRASE_S = (0.25, 6.0)
ACTIVE_DB = -24.0  # RMS of what is labelled, below full scale

SPHINX = Path("/usr/share/pocketsphinx/test/data")
ASTERISK = Path("/usr/share/asterisk/sounds/en_US_f_Allison")
NO_SPEECH = ("beep", "tone", "monkeys", "silence", "ascending", "descending", "confbridge-")
PACKAGES = "pocketsphinx-testdata asterisk-core-sounds-en-wav"


class Clip(NamedTuple):
    """Clean speech.

    Attributes:
        name: of its file.
        samples: float32 ``(n,)``, 8 kHz, what is labelled has ``ACTIVE_DB``.
        labels: start and end of each stretch of speech, in seconds.
        speaker: who speaks.
    """

    name: str
    samples: Float
    labels: list[Span]
    speaker: str


def is_here() -> bool:
    """Both packages are installed."""
    return SPHINX.exists() and ASTERISK.exists()


def envelope(samples: Float) -> Float:
    """RMS of the 20 ms around every fifth millisecond."""
    window, hop = round(WINDOW_S * RATE_HZ), round(HOP_S * RATE_HZ)
    power = np.convolve(samples.astype(np.float64) ** 2, np.ones(window) / window, "same")[::hop]
    return np.sqrt(np.maximum(power, 1e-12)).astype(np.float32)


def spans(is_loud: npt.NDArray[np.bool_], gap_s: float = GAP_S) -> list[Span]:
    """Stretches of an envelope that is sampled every ``HOP_S``; see the module."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], is_loud.astype(np.int8), [0]])))
    joined: list[list[float]] = []
    for start, end in edges.reshape(-1, 2) * HOP_S:
        if joined and start - joined[-1][1] <= gap_s:
            joined[-1][1] = float(end)
        else:
            joined.append([float(start), float(end)])
    return [(start, end) for start, end in joined if end - start >= LEAST_S]


def label(samples: Float) -> list[Span]:
    """Where there is speech in a clean clip."""
    loud = envelope(samples)
    return spans(loud > np.percentile(loud, 95) * 10 ** (-BELOW_DB / 20))


def read(path: Path) -> Float:
    """A file as 8 kHz samples, -1 to 1."""
    if path.suffix == ".raw":
        samples, rate_hz = np.fromfile(path, "<i2"), 16000
    else:
        with wave.open(str(path)) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
            rate_hz = file.getframerate()
    return (resample_clip(samples.astype(np.int16), rate_hz, RATE_HZ) / 32768).astype(np.float32)


def levelled(samples: Float, name: str, speaker: str) -> Clip | None:
    """A clip at its level; None if nothing in it is speech."""
    labels = label(samples)
    at = np.zeros(len(samples), bool)
    for start, end in labels:
        at[round(start * RATE_HZ) : round(end * RATE_HZ)] = True
    if not at.any():
        return None
    rms = float(np.sqrt(np.mean(samples[at].astype(np.float64) ** 2)))
    return Clip(name, samples * np.float32(10 ** (ACTIVE_DB / 20) / rms), labels, speaker)


@cache
def clips() -> tuple[Clip, ...]:
    """All clips, in the order of their names."""
    found = [*SPHINX.glob("cards/*.wav"), *SPHINX.glob("librivox/*.wav"), SPHINX / "goforward.raw"]
    paths = [(path, path.parent.name if path.suffix == ".wav" else "go") for path in sorted(found)]
    prompts = sorted(ASTERISK.rglob("*.wav"))
    paths += [(p, "Allison") for p in prompts if not any(word in p.stem for word in NO_SPEECH)]
    made = (levelled(read(path), path.stem, speaker) for path, speaker in paths)
    return tuple(clip for clip in made if clip is not None)


@cache
def phrases() -> tuple[Clip, ...]:
    """Single stretches of speech, cut out of the clips, each with 0.1 s around it."""
    found = []
    for clip in clips():
        wide = spans(envelope_is_loud(clip.samples), APART_S)
        for start, end in clip.labels:
            if (start, end) in wide and PHRASE_S[0] <= end - start <= PHRASE_S[1]:
                cut = _cut(clip.samples, start, end)
                found.append(Clip(f"{clip.name}@{start:.2f}", *cut, clip.speaker))
    return tuple(found)


def envelope_is_loud(samples: Float) -> npt.NDArray[np.bool_]:
    """Where the label's threshold is passed."""
    loud = envelope(samples)
    at: npt.NDArray[np.bool_] = loud > np.percentile(loud, 95) * 10 ** (-BELOW_DB / 20)
    return at


def _cut(samples: Float, start: float, end: float) -> tuple[Float, list[Span]]:
    first = max(round((start - 0.1) * RATE_HZ), 0)
    last = min(round((end + 0.1) * RATE_HZ), len(samples))
    piece = samples[first:last].copy()
    fade = np.linspace(0, 1, 80, dtype=np.float32)
    piece[:80] *= fade
    piece[-80:] *= fade[::-1]
    return piece, [(start - first / RATE_HZ, end - first / RATE_HZ)]


def pitched(clip: Clip, factor: float) -> Clip:
    """The clip as a deeper voice (``factor`` > 1, also slower) or a higher one."""
    samples = (np.clip(clip.samples, -1, 1) * 32767).astype(np.int16)
    moved = resample_clip(samples, RATE_HZ, round(RATE_HZ * factor)).astype(np.float32) / 32768
    labels = [(start * factor, end * factor) for start, end in clip.labels]
    return Clip(f"{clip.name}*{factor:.2f}", moved, labels, f"{clip.speaker}*{factor:.2f}")


def noise(kind: str, n_samples: int, rng: np.random.Generator) -> Float:
    """Noise of RMS 1: ``white``, ``pink`` (falls by 3 dB an octave) or ``car`` (by 12)."""
    slope = {"white": 0.0, "pink": 0.5, "car": 2.0}[kind]
    spectrum = np.fft.rfft(rng.standard_normal(n_samples))
    hz = np.fft.rfftfreq(n_samples, 1 / RATE_HZ)
    spectrum *= np.where(hz < 50, 0, 1) / np.maximum(hz / 300, 1.0) ** slope
    made = np.fft.irfft(spectrum, n_samples)
    return (made / np.sqrt(np.mean(made**2))).astype(np.float32)


def through(name: str, samples: Float) -> Int16:
    """What is left behind a codec of 8 kHz, as int16."""
    pcm = (np.clip(samples, -1, 1) * 32767).astype(np.int16)
    encode, decode = codec(name).encoder().encode, codec(name).decoder().decode
    # In pieces: a payload has a limit.
    pieces = [pcm[at : at + RATE_HZ] for at in range(0, len(pcm), RATE_HZ)]
    return np.concatenate([decode(encode(piece)) for piece in pieces])


def n_matched(labels: list[Span], found: list[Span], within_s: float = 0.15) -> int:
    """How many labels have a stretch that was found with both its ends within ``within_s``."""
    return sum(
        any(abs(f[0] - start) <= within_s and abs(f[1] - end) <= within_s for f in found)
        for start, end in labels
    )


def placed(
    chosen: list[Clip], snr_db: float | None, rng: np.random.Generator, name: str = "PCMU"
) -> tuple[Int16, list[Span]]:
    """Clips at known times in silence (``snr_db`` None) or noise, through a codec; the labels.

    The noise is so many dB below the RMS of what is labelled as speech.
    """
    labels: list[Span] = []
    pieces: list[Float] = []
    at = 0
    for clip in chosen:
        rest = np.zeros(round(rng.uniform(0.9, 2.0) * RATE_HZ), np.float32)
        pieces += [rest, clip.samples]
        at += len(rest)
        labels += [(at / RATE_HZ + start, at / RATE_HZ + end) for start, end in clip.labels]
        at += len(clip.samples)
    pieces.append(np.zeros(RATE_HZ * 2, np.float32))
    whole = np.concatenate(pieces)
    if snr_db is not None:
        kind = ("white", "pink", "car")[int(rng.integers(3))]
        level = np.float32(10 ** ((ACTIVE_DB - snr_db) / 20))
        whole = whole + level * noise(kind, len(whole), rng)
    return through(name, whole), labels
