"""The two AMR-WB decoders that PyAV may have, behind one method: a frame in, 320 samples out.

``libopencore_amrwb`` does all of ITU-T G.722.2: comfort noise, and the concealment of lost
frames. PyAV's wheels have it up to version 18. FFmpeg's own ``amrwb``, which every version
has, decodes speech alone; here it is given a noise generator, and what is lost is left to
the caller to conceal.
"""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np

from telephony_codecs.amrwb_framing import FRAME_SAMPLES, NO_DATA, SPEECH_LOST, frame_type
from telephony_codecs.contract import Int16Array
from telephony_codecs.errors import CodecUnavailableError, PayloadError

RATE_HZ = 16000
QUALITY_BIT = 0x04
LOST_FRAME = bytes([SPEECH_LOST << 3 | QUALITY_BIT])
COMFORT_NOISE = 9
# How many frames are looked at for the level of the noise, where no frame tells it. Before a
# pause the encoder sends eight frames that hold noise alone (3GPP TS 26.193, 5.1.2).
KEPT_FRAMES = 4
# Most noise on a line is stronger in the low frequencies than in the high ones.
NOISE_SHAPE = np.array((0.25, 0.5, 0.25))


class Core(Protocol):
    """Decodes the frames of one direction of one call.

    Attributes:
        name: the decoder's name, as PyAV knows it.
    """

    name: str

    def decode(self, frame: bytes) -> Int16Array | None:
        """Return the 320 samples of a frame in storage form; None: it is lost, conceal it.

        Raises:
            PayloadError: the decoder refuses the frame.
        """


class OpencoreCore:
    """``libopencore_amrwb``."""

    name = "libopencore_amrwb"

    def __init__(self, av: Any) -> None:
        self._av = av
        self._context = new_context(av, self.name)

    def decode(self, frame: bytes) -> Int16Array:
        """Return the 320 samples of a frame; a frame marked as damaged counts as lost."""
        if not frame[0] & QUALITY_BIT:
            frame = LOST_FRAME
        samples: Int16Array = decode_packet(self._av, self._context, frame)
        return samples


class NativeCore:
    """FFmpeg's own ``amrwb``: it is given speech frames alone, as it refuses most others."""

    name = "amrwb"

    def __init__(self, av: Any) -> None:
        self._av = av
        self._context = new_context(av, self.name)
        self._noise = ComfortNoise()
        self._heard: deque[Int16Array] = deque(maxlen=KEPT_FRAMES)

    def decode(self, frame: bytes) -> Int16Array | None:
        """Return the 320 samples of a frame; None: it is lost, conceal it."""
        kind, is_whole = frame_type(frame), frame[0] & QUALITY_BIT
        if kind == COMFORT_NOISE:
            self._noise.begin(noise_level(frame) if is_whole else None, self._heard)
        if kind == COMFORT_NOISE or kind in (SPEECH_LOST, NO_DATA) or not is_whole:
            return self._noise.next_frame()
        self._noise.end()
        decoded = decode_packet(self._av, self._context, frame)
        # Any bits are a legal frame, and some give more than full scale.
        scaled = np.clip(decoded * np.float32(32768), -32768, 32767)
        samples: Int16Array = np.rint(scaled).astype(np.int16)
        self._heard.append(samples)
        return samples


class ComfortNoise:
    """What is heard between the words, at the level that the far end tells.

    **Call ``begin`` for each frame of type 9, ``end`` for each of speech; then
    ``next_frame`` for each that holds nothing.**
    """

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)
        self._level: float | None = None
        self._target = 0.0

    def begin(self, level: float | None, heard: deque[Int16Array]) -> None:
        """Set the level (RMS); None: unknown, go on, or begin at that of the quietest frame heard.

        Args:
            level: root mean square of the samples, or None.
            heard: the newest frames of speech.
        """
        if level is None:
            if self._level is not None:
                return
            level = min((rms(samples) for samples in heard), default=0.0)
        self._target = level
        if self._level is None:
            self._level = level

    def end(self) -> None:
        """Speech goes on."""
        self._level = None

    def next_frame(self) -> Int16Array | None:
        """Return 320 samples of noise, its level on the way to the one last told; None: speech."""
        if self._level is None:
            return None
        white = self._random.standard_normal(FRAME_SAMPLES + len(NOISE_SHAPE) - 1)
        noise = np.convolve(white, NOISE_SHAPE, "valid") / np.sqrt(NOISE_SHAPE @ NOISE_SHAPE)
        noise *= np.linspace(self._level, self._target, FRAME_SAMPLES)
        self._level = self._target
        samples: Int16Array = np.rint(np.clip(noise, -32768, 32767)).astype(np.int16)
        return samples


def noise_level(frame: bytes) -> float | None:
    """Return the level (RMS) that a frame of type 9 tells; None: it only begins the pause.

    Of its 35 bits, 28 are the spectrum and the next six the logarithm of the energy
    (3GPP TS 26.192, 5.2); the bit behind them all says whether they mean anything.
    """
    bits = int.from_bytes(frame[1:], "big")
    if not bits & 0x10:
        return None
    # The energy is that of the excitation. libopencore plays noise 1.2 (white) to 1.9 times
    # (low) as loud, measured at eight levels.
    return float(1.5 * 2 ** ((bits >> 6 & 63) / 5.25 - 1))


def rms(samples: Int16Array) -> float:
    """Return the root mean square."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


# The better one first.
CORES: tuple[type[OpencoreCore] | type[NativeCore], ...] = (OpencoreCore, NativeCore)


def find_core() -> Callable[[], Core]:
    """Return what makes a new decoder: of those that this PyAV has, the best.

    Raises:
        CodecUnavailableError: PyAV is missing, or has no AMR-WB decoder.
    """
    try:
        av: Any = importlib.import_module("av")
    except ImportError as error:
        raise CodecUnavailableError(
            "AMR-WB", "decode", f"PyAV does not import ({error})", "pip install av"
        ) from error
    for make in CORES:
        if make.name in av.codecs_available:
            return partial(make, av)
    raise CodecUnavailableError(
        "AMR-WB",
        "decode",
        "this PyAV was built with an FFmpeg that has no AMR-WB decoder",
        "install PyAV's wheel, which has one: pip install --force-reinstall --only-binary av av",
    )


def new_context(av: Any, name: str) -> Any:
    """Return a new decoder of PyAV."""
    context = av.CodecContext.create(name, "r")
    context.sample_rate = RATE_HZ
    context.layout = "mono"
    return context


def decode_packet(av: Any, context: Any, frame: bytes) -> Any:
    """Return what PyAV makes of a frame: 320 samples of its own type.

    Raises:
        PayloadError: it refuses the frame. It can be used further.
    """
    try:
        # Never an empty packet: it ends a PyAV decoder for good.
        (decoded,) = context.decode(av.Packet(frame))
    except av.FFmpegError as error:
        raise PayloadError("AMR-WB", "the decoder refuses a frame") from error
    return decoded.to_ndarray()[0]
