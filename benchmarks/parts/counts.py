"""A filter that counts frames, and writes the count to a file at the call's end."""

from __future__ import annotations

from pathlib import Path

from mediaserver import Call, Filter, Frame


class Counts(Filter):
    """Passes each frame on."""

    def __init__(self, call: Call, file: Path) -> None:
        super().__init__(call)
        self._n = 0
        self._file = file

    def process(self, frame: Frame) -> Frame:
        """Count it."""
        self._n += 1
        return frame

    def close(self) -> None:
        """Add a line with the count."""
        with self._file.open("a") as file:
            file.write(f"{self._n}\n")
