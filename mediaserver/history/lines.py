"""Records of calls as JSON lines, one file after the other.

Records are appended to ``calls.jsonl``. When that file is large or old enough, it is renamed to
``calls.jsonl.1``, the former ``.1`` to ``.2``, and so on; the last one is deleted. If webhooks come
after a call's record was written, a second line is written, which replaces the first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from mediaserver.errors import ConfigurationError
from mediaserver.history.records import BadRecordError, CallRecord, decode_record
from mediaserver.history.stores import Limits, Query, UnwritableError

N_FILES = 4


class Lines:
    """Files of JSON lines; a ``Store``.

    Args:
        path: the one that is written.
        limits: how much is kept; a file counts as old as its last line.

    Raises:
        UnwritableError: it cannot be used.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path = path
        self._limits = limits
        self._append(b"")

    def put(self, records: Sequence[CallRecord]) -> None:
        """See ``Store``."""
        self._append(b"".join(each.encode() + b"\n" for each in records))

    def prune(self, now: float) -> None:
        """See ``Store``."""
        try:
            self._rotate(now)
            oldest = self._limits.oldest(now)
            for path in files_of(self._path):
                if path != self._path and path.stat().st_mtime < oldest:
                    path.unlink()
        except OSError as exc:
            raise UnwritableError(str(exc)) from exc

    def close(self) -> None:
        """See ``Store``: the file is open only while it is written."""

    def _append(self, data: bytes) -> None:
        try:
            with self._path.open("ab") as file:
                size = file.seek(0, os.SEEK_END)
                if size and not _ends_a_line(self._path):  # the server died in the middle of one
                    data = b"\n" + data
                try:
                    file.write(data)
                    file.flush()
                except OSError:
                    file.truncate(size)  # half a line is of no use
                    raise
        except OSError as exc:
            raise UnwritableError(str(exc)) from exc

    def _rotate(self, now: float) -> None:
        share = self._limits.n_bytes // N_FILES
        age_s = now - first_end(self._path)
        if self._path.stat().st_size <= share and age_s < 86400 * self._limits.days / N_FILES:
            return
        for n in range(N_FILES - 1, 0, -1):
            older = _numbered(self._path, n - 1)
            if older.exists():
                older.replace(_numbered(self._path, n))
        self._path.touch()


def read_lines(path: Path, query: Query) -> Iterator[CallRecord]:
    """The records that are asked for, the newest first.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    seen: set[tuple[str, float]] = set()
    found = []
    try:
        for file in files_of(path):
            for line in reversed(file.read_bytes().splitlines()):
                record = _record(line)
                if record is None or record.key in seen:
                    continue
                seen.add(record.key)
                if query.fits(record):
                    found.append(record)
            if len(found) >= query.limit:  # what is in older files is older
                break
    except OSError as exc:
        raise ConfigurationError(f"history {path}: {exc}") from exc
    found.sort(key=lambda record: record.place, reverse=True)
    yield from found[: query.limit]


def files_of(path: Path) -> list[Path]:
    """All files that there are, the newest first; the one that is written at least."""
    rest = [_numbered(path, n) for n in range(1, N_FILES)]
    return [path, *(each for each in rest if each.exists())]


def first_end(path: Path) -> float:
    """When the first call in a file ended; infinity if there is none."""
    with path.open("rb") as file:
        record = _record(file.readline())
    return float("inf") if record is None else record.ended_at


def _numbered(path: Path, n: int) -> Path:
    return path.with_name(f"{path.name}.{n}") if n else path


def _record(line: bytes) -> CallRecord | None:
    """The record of a line; None if it is none, as where a write was cut off."""
    try:
        return decode_record(line)
    except BadRecordError:
        return None


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
