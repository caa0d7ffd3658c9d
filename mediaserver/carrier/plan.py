"""What one fake call does, as data: audio, formats, script and faults."""

from __future__ import annotations

import functools
import uuid
import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from typing import Literal

import numpy as np

from mediaserver.carrier.messages import ErrorShape
from mediaserver.carrier.turns import Turn
from telephony_codecs import CodecUnavailableError, Int16Array, codec, resample_clip
from telephony_codecs.amrwb_framing import pack, read_storage

TRACKS: Mapping[str, tuple[str, ...]] = {
    "inbound": ("inbound",),
    "outbound": ("outbound",),
    "both": ("inbound", "outbound"),
}


class PlanError(ValueError):
    """The plan asks for something that no call can do; its text is one line."""


@dataclass(frozen=True, eq=False)
class Audio:
    """A clip.

    Attributes:
        samples: int16, shape ``(n,)``, mono.
        rate_hz: sample rate.
    """

    samples: Int16Array
    rate_hz: int


@functools.cache
def speech() -> Audio:
    """Return the clip that ships with the package: 8.64 s of speech at 16 kHz."""
    path = resources.files(__package__).joinpath("speech.wav")
    with path.open("rb") as file, wave.open(file) as clip:
        octets = clip.readframes(clip.getnframes())
        return Audio(np.frombuffer(octets, "<i2").astype(np.int16), clip.getframerate())


@functools.cache
def stored_speech(frames_each: int) -> tuple[bytes, ...]:
    """Return the same clip as AMR-WB payloads of so many frames of 20 ms; needs no encoder."""
    stored = read_storage(resources.files(__package__).joinpath("speech.awb").read_bytes())
    cuts = range(0, len(stored) - frames_each + 1, frames_each)
    return tuple(pack(stored[at : at + frames_each], "be") for at in cuts)


@functools.cache
def can_encode(name: str) -> bool:
    """Whether this machine has an encoder of the codec."""
    try:
        codec(name).encoder()
    except CodecUnavailableError:
        return False
    return True


@dataclass(frozen=True)
class Faults:
    """Faults on the way to the server; by default there is none.

    Attributes:
        reorder_window: chunks are shuffled among so many neighbours; 0 or 1: not at all.
        duplicate: probability that a chunk is sent twice.
        drop: probability that a chunk is never sent.
        jitter_s: each chunk is late by up to so much; order is kept.
        stall: ``(at_s, for_s)``: for a while nothing is sent, then all of it at once.
        abrupt_close_at_s: the connection is cut without stop or close.
    """

    reorder_window: int = 0
    duplicate: float = 0.0
    drop: float = 0.0
    jitter_s: float = 0.0
    stall: tuple[float, float] | None = None
    abrupt_close_at_s: float | None = None

    def __post_init__(self) -> None:
        if not (0 <= self.duplicate <= 1 and 0 <= self.drop <= 1):
            raise PlanError("duplicate and drop are probabilities from 0 to 1")
        if self.reorder_window < 0 or self.jitter_s < 0:
            raise PlanError("the reorder window and the jitter must not be negative")


def new_call_control_id() -> str:
    """Return an id as Telnyx gives calls."""
    return f"v3:{uuid.uuid4().hex}"


def new_stream_id() -> str:
    """Return an id as Telnyx gives streams."""
    return str(uuid.uuid4())


@dataclass(frozen=True)
class CallPlan:
    """One call from connected to close. Times are seconds since ``start`` was sent.

    Attributes:
        codec: of the audio sent to the server.
        rate_hz: its rate; None: the codec's own default.
        announced_rate_hz: what ``start`` says instead, as Telnyx does for G722.
        audio: what the caller says, repeated to fill ``seconds``; None: the shipped speech
            (in AMR-WB from stored frames, so that it needs no encoder).
        outbound_audio: the same of the other track; None: ``audio`` half its length later.
        payloads: already encoded chunks to send instead of ``audio``, likewise repeated.
        seconds: length of the media; None: once through the audio.
        tracks: ``inbound``, ``outbound`` or ``both``.
        holds: ``(track, from_s, to_s)``: the track is silent and uses up no chunk numbers.
        chunk_numbering: whether the tracks count their chunks together.
        chunk_ms: audio per message.
        first_chunk: number of the first chunk.
        send_codec: what the server shall send; None: the same as ``codec``, but G722 for
            AMR-WB where this machine has no encoder of it.
        send_rate_hz: None: as ``rate_hz`` where that codec has it, else its default.
        mode: how payloads from the server are read, as ``stream_bidirectional_mode``.
        raw_in_mp3: what raw codec audio does where mp3 files are wanted: nothing is heard
            (``silence``), or it stops the stream (``stop``).
        tell_formats: mode, codec and rate of the way back are told to the server in the
            custom parameters ``send_mode``, ``send_codec`` and ``send_rate``; else it must
            know by itself, as Telnyx announces them nowhere.
        ring_s: the call rings so long: ``connected`` at once, ``start`` only then.
        answer: ``never``: after ringing the connection is cut, without ``start`` and ``stop``.
        dtmf: ``(at_s, digit)`` pairs.
        hang_up_at_s: the call ends then; None: when the audio has been sent and has had
            ``linger_s`` to come back.
        linger_s: the longest wait for audio to come back.
        turns: what a caller says and presses who talks with a bot: else silent, until the bot
            hangs up, or ``seconds`` are over (30 where None); None: ``audio`` all the time.
        quiet_s: a bot that was heard has fallen silent when it is quiet for so long.
        expect_hangup: of a call with ``turns``: it fails unless the bot hangs up.
        give_up_s: the call ends when its own caller is late by more; None: never.
        reconnect_at_s: the socket is lost then, and a second one opened for the same call.
        reconnect_stream_id: stream id on the second one; None: the same.
        reconnect_numbering: whether chunks go on counting there or start again.
        custom_parameters: as in ``start``.
        token: sent in the handshake and in ``connected``.
        error_shape: which of the two documented shapes ``error`` messages take.
        faults: what goes wrong.
        seed: of all that is random.
        keep: of what comes back: ``all``; ``audio`` without the messages it came in; or the
            ``figures`` alone, so that hours of load fit in memory: what is heard is then
            silence of the right length, and nothing is known of its quality.
    """

    codec: str = "PCMU"
    rate_hz: int | None = None
    announced_rate_hz: int | None = None
    audio: Audio | None = None
    outbound_audio: Audio | None = None
    payloads: Sequence[bytes] | None = None
    seconds: float | None = None
    tracks: Literal["inbound", "outbound", "both"] = "inbound"
    holds: Sequence[tuple[str, float, float]] = ()
    chunk_numbering: Literal["per_track", "shared"] = "per_track"
    chunk_ms: int = 20
    first_chunk: int = 1
    send_codec: str | None = None
    send_rate_hz: int | None = None
    mode: Literal["rtp", "mp3"] = "rtp"
    raw_in_mp3: Literal["silence", "stop"] = "silence"
    tell_formats: bool = True
    ring_s: float = 0.0
    answer: Literal["yes", "never"] = "yes"
    dtmf: Sequence[tuple[float, str]] = ()
    hang_up_at_s: float | None = None
    linger_s: float = 0.5
    turns: Sequence[Turn] | None = None
    quiet_s: float = 1.0
    expect_hangup: bool = False
    give_up_s: float | None = None
    reconnect_at_s: float | None = None
    reconnect_stream_id: str | None = None
    reconnect_numbering: Literal["restart", "continue"] = "restart"
    custom_parameters: Mapping[str, str] = field(default_factory=dict)
    call_control_id: str = field(default_factory=new_call_control_id)
    stream_id: str = field(default_factory=new_stream_id)
    token: str | None = field(default=None, repr=False)
    error_shape: ErrorShape = "payload"
    faults: Faults = Faults()
    seed: int = 0
    keep: Literal["all", "audio", "figures"] = "all"

    def __post_init__(self) -> None:
        if self.tracks not in TRACKS:
            raise PlanError(f"tracks is one of {', '.join(TRACKS)}, not {self.tracks}")
        if self.chunk_ms <= 0 or (self.seconds is not None and self.seconds < 0):
            raise PlanError("chunk_ms and seconds must be positive")
        if self.ring_s < 0:
            raise PlanError("ring_s must not be negative")
        if self.turns is not None and self.tracks != "inbound":
            raise PlanError(f"a caller who takes turns has the track inbound, not {self.tracks}")

    def again(self, seed: int) -> CallPlan:
        """Return the plan of another call that is equal but for its ids."""
        return replace(
            self,
            call_control_id=new_call_control_id(),
            stream_id=new_stream_id(),
            seed=seed,
        )

    @property
    def in_rate_hz(self) -> int:
        """Rate of the audio sent to the server."""
        return codec(self.codec).audio_rate_hz(self.rate_hz)

    @property
    def out_codec(self) -> str:
        """Codec of what the server shall send."""
        if self.send_codec is None and self.codec == "AMR-WB" and not can_encode("AMR-WB"):
            return "G722"
        return self.send_codec or self.codec

    @property
    def out_rate_hz(self) -> int:
        """Rate of the audio that the server shall send."""
        wanted = codec(self.out_codec)
        if self.send_rate_hz is not None:
            return wanted.audio_rate_hz(self.send_rate_hz)
        return wanted.audio_rate_hz(self.in_rate_hz if self.in_rate_hz in wanted.rates_hz else None)

    @property
    def start_parameters(self) -> dict[str, str]:
        """The custom parameters of ``start``, what the server shall send among them."""
        if not self.tell_formats:
            return dict(self.custom_parameters)
        wanted: dict[str, str] = {"send_mode": self.mode}
        if self.mode == "rtp":
            wanted |= {"send_codec": self.out_codec, "send_rate": str(self.out_rate_hz)}
        return {**wanted, **self.custom_parameters}


def at_rate(audio: Audio, rate_hz: int) -> Int16Array:
    """Return the clip's samples at another rate."""
    return resample_clip(audio.samples, audio.rate_hz, rate_hz)
