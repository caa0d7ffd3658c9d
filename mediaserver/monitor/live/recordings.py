"""Finds the recordings of an ended call by its record in the history, and reads them.

Who asks names the call and a number. Which file that is, the record says, and nobody else.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mediaserver.errors import MediaServerError
from mediaserver.history.records import CallRecord
from mediaserver.history.stores import MOST, Query
from mediaserver.history.writer import read_history
from mediaserver.logs import shown

TYPES = {".wav": "audio/wav", ".flac": "audio/flac", ".ogg": "audio/ogg"}
CHUNK_BYTES = 65_536


class NotThereError(MediaServerError):
    """There is no such recording on this machine; the text says why."""


class Recording(NamedTuple):
    """A file of audio.

    Attributes:
        path: where it is.
        n_bytes: its length.
    """

    path: Path
    n_bytes: int

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        """What an answer with it says of it."""
        return [
            (b"content-type", TYPES[self.path.suffix].encode()),
            (b"content-length", b"%d" % self.n_bytes),
        ]

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """All of it, read beside the loop.

        Raises:
            OSError: it cannot be read to its end, or has become shorter.
        """
        file, left = await asyncio.to_thread(_opened, self.path), self.n_bytes
        try:
            while left:
                chunk = await asyncio.to_thread(file.read, min(left, CHUNK_BYTES))
                if not chunk:
                    raise OSError(f"{self.path} has become shorter")
                left -= len(chunk)
                yield chunk
        finally:
            # Behind a read that may be under way still; a slow disk holds up nobody.
            asyncio.get_running_loop().run_in_executor(None, file.close)


def find_recording(
    history: Path | None, call_id: str, number: str, started_at: float | None = None
) -> Recording:
    """A recording of an ended call; reads files, so not on the loop.

    Args:
        history: the file of ended calls; None: there is none.
        call_id: of the call.
        number: which one of its record, from 1 on, as text.
        started_at: of the record, where the call has several; None: the newest one.

    Raises:
        NotThereError: there is none, or not on this machine.
        ConfigurationError: the history cannot be read.
    """
    places = _record(history, call_id, started_at).summary.recordings
    is_number = number.isascii() and number.isdecimal() and len(number) < 6
    if not (is_number and 1 <= int(number) <= len(places)):
        raise NotThereError(f"the call has {len(places)} recordings: there is no such one")
    place = places[int(number) - 1]
    if "://" in place:
        raise NotThereError(f"the recording is not on this machine: it went to {shown(place, 400)}")
    path = Path(place)
    if path.suffix not in TYPES:
        raise NotThereError(f"{shown(place, 400)} is not a file of {', '.join(TYPES)}")
    try:
        with _opened(path) as file:
            return Recording(path, os.fstat(file.fileno()).st_size)
    except (OSError, ValueError) as exc:  # a name that no file can have is a ValueError
        why = getattr(exc, "strerror", None) or exc
        raise NotThereError(f"the recording {shown(place, 400)} is not there: {why}") from exc


def _record(history: Path | None, call_id: str, started_at: float | None) -> CallRecord:
    records = [] if history is None else read_history(history, Query(call_id=call_id, limit=MOST))
    for record in records:
        if started_at is None or record.summary.started_at == started_at:
            return record
    raise NotThereError("no such call is in the history")


def _opened(path: Path) -> BinaryIO:
    """The file, if it is an ordinary one: what else there may be could hold up, or be elsewhere.

    Raises:
        OSError: it is not, or cannot be opened.
    """
    if not stat.S_ISREG(path.lstat().st_mode):
        raise OSError("it is no ordinary file")
    # What takes its place now: no link is followed, and the writer of a pipe is not waited for.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    return os.fdopen(fd, "rb")
