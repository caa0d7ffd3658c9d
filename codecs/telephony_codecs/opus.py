"""OPUS: RFC 6716 on libopus, raw packets, exactly one per payload."""

from __future__ import annotations

import ctypes

import numpy as np

from telephony_codecs.contract import INT16, Codec, Int16Array, check_length, check_samples
from telephony_codecs.errors import AudioFormatError, PayloadError
from telephony_codecs.libopus import (
    APPLICATIONS,
    GET_LOOKAHEAD,
    SET_BITRATE,
    SET_COMPLEXITY,
    SET_DTX,
    SET_INBAND_FEC,
    SET_PACKET_LOSS_PERC,
    libopus,
)

RATES_HZ = (8000, 16000, 24000, 48000)
FRAMES_MS = (2.5, 5, 10, 20, 40, 60, 80, 100, 120)
# RFC 6716, 3: a packet holds at most 120 ms.
MAX_PACKET_S = 0.120
# Room for 120 ms as six frames of 1275 octets with their lengths.
PACKET_ROOM = 6 * 1277 + 2


class OpusDecoder:
    """Packets in, audio out, at any of Opus' rates; the encoder may have used another one.

    Options: ``library``, a path to libopus in place of the one found; ``max_payload_s``, what
    one packet may last, if less than the 120 ms of the standard.
    """

    codec = "OPUS"
    delay_samples = 0
    can_recover = True

    def __init__(
        self, rate_hz: int, library: str | None = None, max_payload_s: float = MAX_PACKET_S
    ) -> None:
        self.rate_hz = rate_hz
        self._opus = libopus(library)
        self._state = self._opus.new_decoder(rate_hz)
        # libopus reads the packet's duration from its head, and refuses a packet that needs more
        # room (RFC 6716, 3.1).
        self._room = int(min(max_payload_s, MAX_PACKET_S) * rate_hz)
        self._pcm = ctypes.create_string_buffer(2 * self._room)
        # libopus conceals in steps of 2.5 ms.
        self._step = rate_hz // 400

    @property
    def library_version(self) -> str:
        """What the libopus in use calls itself, as ``libopus 1.6.1``."""
        return self._opus.version

    @property
    def final_range(self) -> int:
        """The range coder's state after the last packet, as the encoder had it."""
        return self._opus.final_range(self._state)

    def decode(self, payload: bytes) -> Int16Array:
        """Return the 2.5 to 120 ms of one packet, read-only.

        Raises:
            PayloadError: empty, too long, or not a packet of RFC 6716.
        """
        if not payload:
            raise PayloadError("OPUS", "it is empty")
        n_samples = self._run(payload, self._room, fec=False)
        if n_samples < 0:
            raise PayloadError("OPUS", f"libopus says {self._opus.reason(n_samples)}")
        return self._taken(n_samples)

    def conceal(self, n_samples: int) -> Int16Array:
        """Return ``n_samples`` by libopus' own concealment."""
        parts = []
        for begin in range(0, n_samples, self._room):
            n_part = min(n_samples - begin, self._room)
            self._run(None, self._whole_steps(n_part), fec=False)
            parts.append(self._taken(n_part))
        return parts[0] if len(parts) == 1 else read_only_join(parts)

    def recover(self, next_payload: bytes, n_samples: int) -> Int16Array:
        """Return ``n_samples`` from the copy of lost speech that the next packet may carry.

        What the copy does not cover, and all of it where there is none, is concealed.
        """
        n_fec = min(n_samples, self._room)
        concealed = self.conceal(n_samples - n_fec) if n_samples > n_fec else None
        if not next_payload or self._run(next_payload, self._whole_steps(n_fec), fec=True) < 0:
            recovered = self.conceal(n_fec)
        else:
            recovered = self._taken(n_fec)
        return recovered if concealed is None else read_only_join([concealed, recovered])

    def reset(self) -> None:
        """Forget all history, as if new."""
        self._opus.reset_decoder(self._state)

    def _run(self, payload: bytes | None, n_samples: int, *, fec: bool) -> int:
        n_octets = len(payload) if payload else 0
        code: int = self._opus.decode(
            self._state, payload, n_octets, self._pcm, n_samples, int(fec)
        )
        return code

    def _taken(self, n_samples: int) -> Int16Array:
        return np.frombuffer(ctypes.string_at(self._pcm, 2 * n_samples), INT16)

    def _whole_steps(self, n_samples: int) -> int:
        return -(-n_samples // self._step) * self._step


def read_only_join(parts: list[Int16Array]) -> Int16Array:
    """Return the parts as one read-only array; of none, an empty one."""
    joined = np.concatenate([np.zeros(0, np.int16), *parts])
    joined.flags.writeable = False
    return joined


class OpusEncoder:
    """Audio in frames of one fixed length in, one packet each out.

    Options: ``frame_ms`` 2.5 to 120; ``application`` "voip", "audio" or "lowdelay";
    ``bitrate`` in bit/s (None: libopus' choice for the rate); ``complexity`` 0 to 10;
    ``fec`` puts a copy of speech into the next packet, as much as ``packet_loss_perc``
    makes it worth; ``dtx`` sends next to nothing in silence; ``library``, a path to libopus.
    """

    codec = "OPUS"

    def __init__(
        self,
        rate_hz: int,
        *,
        frame_ms: float = 20,
        application: str = "voip",
        bitrate: int | None = None,
        complexity: int = 5,
        fec: bool = False,
        packet_loss_perc: int = 0,
        dtx: bool = False,
        library: str | None = None,
    ) -> None:
        if frame_ms not in FRAMES_MS:
            raise AudioFormatError(f"OPUS frame of {frame_ms} ms, must be one of {FRAMES_MS}")
        if application not in APPLICATIONS:
            raise AudioFormatError(
                f"OPUS application {application!r}, must be one of {', '.join(APPLICATIONS)}"
            )
        self.rate_hz = rate_hz
        self.unit_samples = self.max_samples = int(frame_ms * rate_hz) // 1000
        self._opus = libopus(library)
        self._state = self._opus.new_encoder(rate_hz, APPLICATIONS[application])
        options = {
            SET_COMPLEXITY: complexity,
            SET_INBAND_FEC: int(fec),
            SET_PACKET_LOSS_PERC: packet_loss_perc,
            SET_DTX: int(dtx),
        }
        if bitrate is not None:
            options[SET_BITRATE] = bitrate
        for request, value in options.items():
            self._opus.set_encoder(self._state, request, value)
        self.delay_samples = self._opus.get_encoder(self._state, GET_LOOKAHEAD)
        self._packet = ctypes.create_string_buffer(PACKET_ROOM)

    def encode(self, samples: Int16Array) -> bytes:
        """Return the packet of one frame; AudioFormatError if not ``unit_samples`` of int16."""
        check_samples(samples, self.unit_samples, self.max_samples)
        if not len(samples):
            return b""
        n_octets = self._opus.encode(
            self._state, samples.tobytes(), len(samples), self._packet, PACKET_ROOM
        )
        assert n_octets > 0, "libopus takes every legal frame"
        return ctypes.string_at(self._packet, n_octets)

    def silence(self, n_samples: int) -> bytes:
        """Return a frame of zeros, encoded in continuation of what went before."""
        check_length(n_samples, self.unit_samples, self.max_samples)
        return self.encode(np.zeros(n_samples, np.int16))

    def reset(self) -> None:
        """Forget all history, as if new; the options stay."""
        self._opus.reset_encoder(self._state)


OPUS = Codec("OPUS", RATES_HZ, 16000, OpusDecoder, OpusEncoder)
