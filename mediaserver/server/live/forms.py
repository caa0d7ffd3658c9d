"""The messages about a process's live calls, and the questions. Encoded as MessagePack.

Times of a call are seconds since its start. Types with many instances are encoded as arrays.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mediaserver.observer import CallSummary

ROWS, LEVELS, LOOK, OPERATE = "live_rows", "live_levels", "live_look", "live_operate"
"""The words that are asked; see ``Service.ask``."""
CALLER, BOT, CLEARED = 0, 1, 2
"""The sides of a chunk; ``CLEARED``: what the bot's side has from ``at`` on is not heard."""
LEVEL_BYTES = 6
"""A call among levels: its number (4 octets, big end first), caller, bot."""
PRIVATE = frozenset({"dtmf", "transcript"})
"""Kinds of events that tell what is said in the call."""


class Row(msgspec.Struct, frozen=True, array_like=True):
    """A live call in the table.

    Attributes:
        number: by which its levels name it; of its process.
        caller: the calling number, as the settings have it shown; so is ``callee``.
        age_s: seconds since it began.
        processors: names of its chain, joined by ``+``.
        state: ``listening``, ``speaking`` (the bot is), ``on hold`` (nothing comes),
            ``reconnecting``, ``slow reader``, ``ending``.
        hints: names of what looked wrong.
        bad: names of its troubles; looked for every few seconds.
        errors: failures of its processors.
    """

    number: int
    call_id: str
    caller: str
    callee: str
    age_s: float
    codec: str
    send_codec: str
    processors: str
    state: str
    hints: tuple[str, ...] = ()
    bad: tuple[str, ...] = ()
    errors: int = 0
    is_muted: bool = False


class LogLine(msgspec.Struct, frozen=True, array_like=True):
    """A line of the log: unix seconds, its level, its text, and the call that it is about."""

    at: float
    level: str
    text: str
    call_id: str = ""


class Rows(msgspec.Struct, frozen=True):
    """The table of a process, and its last warnings."""

    rows: tuple[Row, ...]
    warnings: tuple[LogLine, ...] = ()


class LookFor(msgspec.Struct, frozen=True):
    """What is wanted of one call.

    Attributes:
        call_id: of the call.
        after: the number of the last item that is known already; -1: begin now.
        audio: True: its audio, without waveforms; False: waveforms, without audio.
        summary: whether to include all its figures.
    """

    call_id: str
    after: int = -1
    audio: bool = False
    summary: bool = False


class Chunk(msgspec.Struct, frozen=True, array_like=True):
    """A piece of audio.

    Attributes:
        side: ``CALLER``, ``BOT`` or ``CLEARED``.
        at: when its first sample is at the ear; of the caller: when they said it.
        length_s: how long it is.
        pairs: lowest and highest sample of each 20 ms, by turns, in 1/128 of full scale.
        rate_hz: of the audio.
        audio: G.711.
    """

    side: int
    at: float
    length_s: float = 0.0
    pairs: tuple[int, ...] = ()
    rate_hz: int = 0
    audio: bytes = b""


class CallEvent(msgspec.Struct, frozen=True, array_like=True):
    """Something that happened in a call: when, what, more of it."""

    at: float
    kind: str
    text: str = ""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in one call since the last look.

    Attributes:
        seq: the number of the last thing in here.
        skipped: chunks that were gone before somebody asked.
        now: the call's time.
        state: as of a row.
        law: of the audio: ``PCMU`` or ``PCMA``.
        queued_s: seconds of audio accepted and not heard yet.
        sent_until: time until which the bot's audio is sent.
        lost: chunks of the caller's that never came.
        late: chunks that came too late.
        marks: marks of the wire that came back, and those that are awaited.
        summary: all figures, where they were asked for.
        trouble: its troubles, in words, by name; where figures were asked for.
    """

    seq: int
    skipped: int = 0
    now: float
    state: str
    law: str
    chunks: tuple[Chunk, ...] = ()
    events: tuple[CallEvent, ...] = ()
    queued_s: float = 0.0
    sent_until: float = 0.0
    lost: int = 0
    late: int = 0
    marks: tuple[int, int] = (0, 0)
    is_muted: bool = False
    summary: CallSummary | None = None
    trouble: Mapping[str, str] = {}


class Operate(msgspec.Struct, frozen=True):
    """What is to be done to a call: ``say`` a text to its processors, ``mute``, ``unmute``."""

    call_id: str
    what: str
    text: str = ""
