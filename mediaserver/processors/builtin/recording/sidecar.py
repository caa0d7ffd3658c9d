"""The JSON file beside a recording."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from mediaserver.observer import CallSummary
from mediaserver.processors.builtin.recording.heard import MarkReached, PlayHeard


class HintSeen(msgspec.Struct, frozen=True):
    """A ``Hint`` of the call, and the stream time at which it was told."""

    at: float
    name: str
    text: str


class Sidecar(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of a recording. All times are seconds of stream time, as in the audio files.

    Attributes:
        call_id: of the call.
        ended: the recording is whole; False while the call lives, and where the server died.
        files: names of the audio files.
        layout: ``stereo`` (the caller left, what they heard right), ``mono`` or ``tracks``.
        seconds: how long the longest file is.
        lost_s: seconds that could not be written and are silent.
        pauses: begin and end of each pause; the audio is silent there.
        speech: begin and end of each time the caller spoke, if ``vad`` runs; None: to the end.
        plays: how each play that is not live ended.
        marks: how each of the call's marks ended.
        hints: what looked wrong.
        to: where the files are to go, if they do not stay here.
        summary: facts and figures of the call, as the history has them.
    """

    call_id: str
    ended: bool = False
    files: tuple[str, ...] = ()
    layout: str = ""
    seconds: float = 0.0
    lost_s: float = 0.0
    pauses: tuple[tuple[float, float], ...] = ()
    speech: tuple[tuple[float, float | None], ...] = ()
    plays: tuple[PlayHeard, ...] = ()
    marks: tuple[MarkReached, ...] = ()
    hints: tuple[HintSeen, ...] = ()
    to: str = ""
    summary: CallSummary | None = None

    def encode(self) -> bytes:
        """As JSON for people, too."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    def write(self, path: Path) -> None:
        """Put it in the place of the file, at once; OSError if it cannot be."""
        part = path.with_suffix(".json.part")
        try:
            part.write_bytes(self.encode())
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


def decode_sidecar(encoded: bytes) -> Sidecar:
    """What a file says; msgspec.MsgspecError if it is none."""
    return msgspec.json.decode(encoded, type=Sidecar)
