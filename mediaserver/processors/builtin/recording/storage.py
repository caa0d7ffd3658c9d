"""Finished recordings on their way to a store: S3 and what speaks like it."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from time import monotonic

from mediaserver.afterwards.lanes import Lane

SCHEMES = ("s3://", "gs://", "az://")
# Tried again for so long, first after the first pause; each pause is twice the one before.
RETRY_FOR_S = 3600.0
FIRST_PAUSE_S = 2.0
LONGEST_PAUSE_S = 300.0
# A request that brings nothing for so long has failed; a longer file goes in parts of 5 MB.
REQUEST_TIMEOUT_S = 60

UPLOADS = Lane("uploads", n_threads=4)
"""A store that does not answer blocks only these threads, never a call."""


class Destination(str):
    """Where recordings go: ``s3://BUCKET/PREFIX``, also ``gs`` and ``az``; empty: nowhere.

    Raises:
        ValueError: no such URL, or what it needs is not installed.
    """

    def __new__(cls, url: str = "") -> Destination:
        """See the class."""
        if url and not (url.startswith(SCHEMES) and url.partition("://")[2].strip("/")):
            raise ValueError(f"{', '.join(SCHEMES)} followed by a bucket is wanted")
        if url and importlib.util.find_spec("obstore") is None:
            raise ValueError(
                "recordings are uploaded by obstore: pip install 'mediaserver[storage]'"
            )
        return super().__new__(cls, url)

    def of(self, name: str) -> str:
        """The URL of a file there."""
        return f"{self.rstrip('/')}/{name}"


class Uploaded:
    """Who is told how an upload goes; in a thread."""

    def failed(self, problem: str) -> None:
        """A first try has failed; there will be others."""

    def given_up(self, problem: str) -> None:
        """It was tried for an hour."""

    def done(self) -> None:
        """The files are there."""


class Upload:
    """Uploads files, and deletes them here once all have arrived.

    **Call ``start``.** The rest happens in threads.

    Args:
        to: where they are uploaded.
        paths: the files, in this order.
        told: is told how the upload goes.
        keep: whether the files also stay here.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        to: Destination,
        paths: Sequence[Path],
        told: Uploaded,
        *,
        keep: bool = False,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._to = to
        self._left = list(paths)
        self._paths = tuple(paths)
        self._told = told
        self._keep = keep
        self._clock = clock
        self._pause_s = FIRST_PAUSE_S
        self._until = clock() + RETRY_FOR_S
        self._has_failed = False

    def start(self) -> None:
        """Have it done."""
        UPLOADS.put(self._run)

    def _run(self) -> None:
        try:
            store = _store(self._to)
            while self._left:
                _put(store, self._left[0])
                del self._left[0]
        except Exception as exc:  # whatever the library raises: it is tried again
            self._failed(problem_of(exc))
            return
        if not self._keep:
            for path in self._paths:
                path.unlink(missing_ok=True)
        self._told.done()

    def _failed(self, problem: str) -> None:
        if self._clock() + self._pause_s > self._until:
            self._told.given_up(problem)
            return
        if not self._has_failed:
            self._has_failed = True
            self._told.failed(problem)
        UPLOADS.put(self._run, self._pause_s)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)


def _store(to: Destination) -> object:
    from obstore.store import from_url

    return from_url(
        str(to),
        client_options={"allow_http": True, "timeout": timedelta(seconds=REQUEST_TIMEOUT_S)},
        # Tries of ours are further apart, and said once.
        retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=REQUEST_TIMEOUT_S)},
    )


def _put(store: object, path: Path) -> None:
    import obstore

    obstore.put(store, path.name, path)  # type: ignore[arg-type]  # a store, see above


def problem_of(exc: Exception) -> str:
    """What went wrong, in some words: a store's own text may hold keys, and is long."""
    text = str(exc)
    status = re.search(r"status code: (\d{3}(?: [A-Z][A-Za-z]+)*)", text)
    code = re.search(r"<Code>(\w{1,40})</Code>", text)
    kind = re.search(r"kind: (\w{1,20})", text)
    if status is not None:
        return f"{status[1]} ({code[1]})" if code is not None else status[1]
    if kind is not None:
        return f"no answer ({kind[1]})"
    if isinstance(exc, OSError) and exc.strerror:
        return exc.strerror
    return type(exc).__name__
