"""The few functions of libopus that are used, with their C types, and their errors."""

from __future__ import annotations

import ctypes
from functools import cache

from telephony_codecs.errors import AudioFormatError
from telephony_codecs.libraries import load_opus

# Requests of opus_encoder_ctl and opus_decoder_ctl (opus_defines.h).
SET_BITRATE = 4002
SET_COMPLEXITY = 4010
SET_INBAND_FEC = 4012
SET_PACKET_LOSS_PERC = 4014
SET_DTX = 4016
GET_LOOKAHEAD = 4027
RESET_STATE = 4028
GET_FINAL_RANGE = 4031

APPLICATIONS = {"voip": 2048, "audio": 2049, "lowdelay": 2051}

State = ctypes.Array[ctypes.c_char]


class LibOpus:
    """One loaded libopus."""

    def __init__(self, library: ctypes.CDLL) -> None:
        i, p, s = ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p
        signatures = {
            "opus_get_version_string": (s, []),
            "opus_strerror": (s, [i]),
            "opus_encoder_get_size": (i, [i]),
            "opus_encoder_init": (i, [p, i, i, i]),
            "opus_encode": (i, [p, s, i, p, i]),
            # Variadic: only the fixed arguments are declared, so that ctypes passes the
            # rest by the variadic convention, which differs on arm64 macOS.
            "opus_encoder_ctl": (i, [p, i]),
            "opus_decoder_get_size": (i, [i]),
            "opus_decoder_init": (i, [p, i, i]),
            "opus_decode": (i, [p, s, i, p, i, i]),
            "opus_decoder_ctl": (i, [p, i]),
        }
        for name, (result, arguments) in signatures.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        self._library = library
        self.encode = library.opus_encode
        self.decode = library.opus_decode

    @property
    def version(self) -> str:
        """What the library calls itself, as ``libopus 1.6.1``."""
        text: bytes = self._library.opus_get_version_string()
        return text.decode()

    def reason(self, code: int) -> str:
        """Return the library's words for a negative result."""
        text: bytes = self._library.opus_strerror(code)
        return text.decode()

    def new_encoder(self, rate_hz: int, application: int) -> State:
        """Return the state of a mono encoder; its memory is the returned object's."""
        state = ctypes.create_string_buffer(self._library.opus_encoder_get_size(1))
        self._check(self._library.opus_encoder_init(state, rate_hz, 1, application))
        return state

    def new_decoder(self, rate_hz: int) -> State:
        """Return the state of a mono decoder; its memory is the returned object's."""
        state = ctypes.create_string_buffer(self._library.opus_decoder_get_size(1))
        self._check(self._library.opus_decoder_init(state, rate_hz, 1))
        return state

    def set_encoder(self, state: State, request: int, value: int) -> None:
        """Set an encoder's option; AudioFormatError if the library refuses the value."""
        self._check(self._library.opus_encoder_ctl(state, request, ctypes.c_int(value)))

    def get_encoder(self, state: State, request: int) -> int:
        """Return one of an encoder's figures."""
        value = ctypes.c_int()
        self._check(self._library.opus_encoder_ctl(state, request, ctypes.byref(value)))
        return value.value

    def final_range(self, state: State) -> int:
        """Return a decoder's range coder state after its last packet: a checksum of decoding."""
        value = ctypes.c_uint32()
        request = self._library.opus_decoder_ctl
        self._check(request(state, GET_FINAL_RANGE, ctypes.byref(value)))
        return value.value

    def reset_encoder(self, state: State) -> None:
        """Make an encoder forget its history; its options stay."""
        self._check(self._library.opus_encoder_ctl(state, RESET_STATE))

    def reset_decoder(self, state: State) -> None:
        """Make a decoder forget its history."""
        self._check(self._library.opus_decoder_ctl(state, RESET_STATE))

    def _check(self, code: int) -> None:
        if code < 0:
            raise AudioFormatError(f"OPUS: libopus says {self.reason(code)}")


@cache
def libopus(path: str | None = None) -> LibOpus:
    """Return libopus, loaded once; see ``load_opus``."""
    return LibOpus(load_opus(path))
