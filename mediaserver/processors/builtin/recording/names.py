"""The names of a recording's files."""

from __future__ import annotations

import errno
import itertools
import os
import re
from pathlib import Path

from mediaserver.processors.builtin.recording.sidecar import Sidecar

SUFFIXES = (".wav", ".flac", ".ogg")
TRACKS = ("", "-inbound", "-outbound", "-heard")


class Names:
    """Names that no file has yet: those of a second recording of a call get a number.

    Args:
        directory: where they are; it is made.
        call_id: of the call.
    """

    def __init__(self, directory: Path, call_id: str) -> None:
        self._directory = directory
        self._call_id = call_id
        self._stem = ""
        self._given: set[str] = set()

    @property
    def sidecar(self) -> Path | None:
        """The JSON file; None before the first audio file."""
        return self._directory / f"{self._stem}.json" if self._stem else None

    def audio(self, track: str = "") -> Path:
        """Of a track's WAV file, or of the only one; asked again, another one.

        Raises:
            OSError: the JSON file beside it, which takes the name, cannot be made.
        """
        if not self._stem or track in self._given:
            self._take()
        self._given.add(track)
        return self._directory / f"{self._stem}{track and '-'}{track}.wav"

    def _take(self) -> None:
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
        except FileExistsError as exc:  # asked again, it would be so again
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from exc
        # The id comes from the wire: only harmless characters of it reach the file system.
        stem = re.sub(r"[^A-Za-z0-9_-]+", "_", self._call_id[:200])[:80] or "call"
        for number in itertools.count(1):
            name = stem if number == 1 else f"{stem}-{number}"
            if self._is_free(name):
                self._stem = name
                return

    def _is_free(self, name: str) -> bool:
        if any((self._directory / f"{name}{t}{s}").exists() for t in TRACKS for s in SUFFIXES):
            return False
        path = self._directory / f"{name}.json"
        try:
            file = path.open("xb", buffering=0)
        except FileExistsError:
            return False
        with file:
            try:
                file.write(Sidecar(call_id=self._call_id).encode())
            except OSError:
                path.unlink(missing_ok=True)
                raise
        return True
