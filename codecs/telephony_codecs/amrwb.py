"""AMR-WB: ITU-T G.722.2 in the packings of RFC 4867, audio at 16 kHz in 20 ms frames.

Decoding is PyAV's (``amrwb_cores``). Encoding needs the system's libvo-amrwbenc: no wheel
carries an encoder.
"""

from __future__ import annotations

import ctypes
import weakref
from typing import Literal, get_args

import numpy as np

from telephony_codecs.amrwb_cores import RATE_HZ, find_core
from telephony_codecs.amrwb_framing import (
    FRAME_SAMPLES,
    MAX_FRAMES,
    PACKINGS,
    STORAGE_MAGIC,
    Packing,
    likely_packings,
    pack,
    read_storage,
    unpack,
)
from telephony_codecs.concealment import KEPT, ConcealingDecoder
from telephony_codecs.contract import (
    MAX_PAYLOAD_S,
    Codec,
    Int16Array,
    check_length,
    check_samples,
)
from telephony_codecs.errors import AudioFormatError, PayloadError
from telephony_codecs.libraries import load_amrwb_encoder

__all__ = [
    "AMR_WB",
    "PACKINGS",
    "STORAGE_MAGIC",
    "AmrWbDecoder",
    "AmrWbEncoder",
    "Packing",
    "pack",
    "read_storage",
    "unpack",
]

PackingOption = Literal["auto", "be", "oa", "storage"]

MAX_SAMPLES = MAX_FRAMES * FRAME_SAMPLES
# One octet and 477 bits, the longest frame.
FRAME_ROOM = 61


class AmrWbDecoder(ConcealingDecoder):
    """Payloads of one or more frames in, 320 samples a frame out.

    Options: ``packing`` "be" (bandwidth-efficient), "oa" (octet-aligned), "storage", or
    "auto", which takes what fits, and what fitted last where several do; ``max_payload_s``,
    what one payload may last.

    Attributes:
        packing: the packing of the newest payload; None before the first.
    """

    codec = "AMR-WB"
    delay_samples = 0

    def __init__(
        self,
        rate_hz: int,
        packing: PackingOption = "auto",
        max_payload_s: float = MAX_PAYLOAD_S,
    ) -> None:
        if packing not in get_args(PackingOption):
            raise AudioFormatError(f"AMR-WB packing {packing!r}, must be auto, be, oa or storage")
        super().__init__(rate_hz)
        self._option: PackingOption = packing
        self._max_frames = int(max_payload_s * RATE_HZ) // FRAME_SAMPLES
        self.packing: Packing | None = None
        self._new_core = find_core()
        self._core = self._new_core()

    def decode(self, payload: bytes) -> Int16Array:
        """Return 320 samples per frame, read-only; comfort noise where it says so.

        Raises:
            PayloadError: it is too long, fits no packing (of those allowed), or the decoder
                refuses it.
        """
        parts = [self._synthesise(frame) for frame in self._unpack(payload)]
        if len(parts) == 1:
            return parts[0]
        samples = np.concatenate(parts)
        samples.flags.writeable = False
        return samples

    @property
    def core(self) -> str:
        """The decoder in use, as PyAV names it: ``libopencore_amrwb``, or FFmpeg's ``amrwb``."""
        return self._core.name

    def reset(self) -> None:
        """Forget all history, as if new."""
        super().reset()
        self.packing = None
        self._core = self._new_core()

    def _unpack(self, payload: bytes) -> list[bytes]:
        if self._option != "auto":
            frames = unpack(payload, self._option, self._max_frames)
            self.packing = self._option
            return frames
        first = () if self.packing is None else (self.packing,)
        refusal: PayloadError | None = None
        for packing in (*first, *likely_packings(payload)):
            try:
                frames = unpack(payload, packing, self._max_frames)
            except PayloadError as error:
                refusal = refusal or error
            else:
                self.packing = packing
                return frames
        raise PayloadError("AMR-WB", "it fits no packing of RFC 4867") from refusal

    def _synthesise(self, frame: bytes) -> Int16Array:
        """Return the 320 samples of one frame, concealed where it is lost."""
        samples = self._core.decode(frame)
        if samples is None:
            return self.conceal(FRAME_SAMPLES)
        samples.flags.writeable = False
        recent = self._recent
        recent.append(samples)
        if len(recent) > KEPT:
            del recent[0]
        return samples


class AmrWbEncoder:
    """Audio at 16 kHz in whole 20 ms frames in, one payload out.

    Options: ``packing`` as the far end wants it; ``mode`` 0 to 8 for 6.60, 8.85, 12.65,
    14.25, 15.85, 18.25, 19.85, 23.05, 23.85 kbit/s; ``dtx`` sends comfort noise in silence.
    """

    codec = "AMR-WB"
    rate_hz = RATE_HZ
    # 80 samples of look-ahead (5 ms), 15 of the filters between 16 and 12.8 kHz.
    delay_samples = 95
    unit_samples = FRAME_SAMPLES
    max_samples = MAX_SAMPLES

    def __init__(
        self,
        rate_hz: int,
        *,
        packing: Packing = "be",
        mode: int = 2,
        dtx: bool = False,
        library: str | None = None,
    ) -> None:
        if packing not in PACKINGS:
            raise AudioFormatError(f"AMR-WB packing {packing!r}, must be be, oa or storage")
        if mode not in range(9):
            raise AudioFormatError(f"AMR-WB mode {mode!r}, must be 0 to 8")
        self._packing: Packing = packing
        self._mode = mode
        self._dtx = int(dtx)
        self._library = load_amrwb_encoder(library)
        self._library.E_IF_init.restype = ctypes.c_void_p
        self._library.E_IF_exit.argtypes = [ctypes.c_void_p]
        self._library.E_IF_encode.argtypes = [
            ctypes.c_void_p,
            ctypes.c_int,
            ctypes.c_char_p,
            ctypes.c_void_p,
            ctypes.c_int,
        ]
        self._frame = ctypes.create_string_buffer(FRAME_ROOM)
        self.reset()

    def encode(self, samples: Int16Array) -> bytes:
        """Return one frame per 320 samples, packed; AudioFormatError if not whole frames."""
        check_samples(samples, FRAME_SAMPLES, MAX_SAMPLES)
        pcm = samples.tobytes()
        n_octets = 2 * FRAME_SAMPLES
        frames = [self._compress(pcm[at : at + n_octets]) for at in range(0, len(pcm), n_octets)]
        return pack(frames, self._packing)

    def silence(self, n_samples: int) -> bytes:
        """Return ``n_samples`` of zeros, encoded in continuation of what went before."""
        check_length(n_samples, FRAME_SAMPLES, MAX_SAMPLES)
        return self.encode(np.zeros(n_samples, np.int16))

    def reset(self) -> None:
        """Forget all history, as if new."""
        self._state = ctypes.c_void_p(self._library.E_IF_init())
        weakref.finalize(self._state, self._library.E_IF_exit, self._state.value)

    def _compress(self, pcm: bytes) -> bytes:
        n_octets = self._library.E_IF_encode(self._state, self._mode, pcm, self._frame, self._dtx)
        return ctypes.string_at(self._frame, n_octets)


AMR_WB = Codec("AMR-WB", (RATE_HZ,), RATE_HZ, AmrWbDecoder, AmrWbEncoder)
