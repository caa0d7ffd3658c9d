"""What goes wrong with a call's recording: said once, and counted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from mediaserver.afterwards.pending import PENDING
from mediaserver.logs import LimitedLog, shown
from mediaserver.processors.builtin.recording.storage import Uploaded

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))


class Reports(Uploaded):
    """Logs and counts the problems of a call's recording; threads call its methods.

    Args:
        call_id: of the call.
        count: adds one to a counter; it is called on the loop.
        loop: the event loop.
    """

    def __init__(
        self, call_id: str, count: Callable[[str], None], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._call_id = call_id
        self._count_there = count
        self._loop = loop
        self._is_full = False

    # Of a tape.

    def disk_failed(self, exc: OSError) -> None:
        """A piece could not be written; it is tried again."""
        if not self._is_full:
            self._is_full = True
            self.count("recordings_stopped")
            self._log(
                "recordings stopped",
                "call %s: its recording cannot be written: %s; it goes on when that is over",
                exc.strerror,
            )

    def disk_works(self) -> None:
        """A piece was written."""
        if self._is_full:
            self._is_full = False
            text = "call %s: its recording goes on"
            limited.info("recordings go on", text, shown(self._call_id), call=self._call_id)

    def lost(self, seconds: float) -> None:
        """The recording is over and not whole; on the loop."""
        self.count("recordings_with_gaps")
        self._log("recordings with gaps", "call %s: its recording lacks %.1f s", seconds)

    # Of what is behind the call's end.

    def not_converted(self, form: str, exc: OSError) -> None:
        """It stays WAV."""
        self.count("recordings_not_converted")
        text = "call %s: its recording could not be made %s and stays as it is: %s"
        self._log("recordings not converted", text, form, exc.strerror)

    def not_described(self, exc: OSError) -> None:
        """The JSON file beside it is not whole."""
        self.count("recordings_not_described")
        text = "call %s: the JSON file of its recording could not be written: %s"
        self._log("recordings not described", text, exc.strerror)

    def failed(self, problem: str) -> None:
        """See ``Uploaded``."""
        self.count("uploads_failed")
        text = "call %s: its recording could not be uploaded: %s; tried again for an hour"
        self._log("uploads failed", text, problem)

    def given_up(self, problem: str) -> None:
        """See ``Uploaded``."""
        self.count("uploads_given_up")
        text = "call %s: its recording was not uploaded and stays here: %s"
        self._log("uploads given up", text, problem)
        PENDING.done()

    def done(self) -> None:
        """See ``Uploaded``."""
        self.count("uploads_done")
        PENDING.done()

    def _log(self, kind: str, text: str, *args: object) -> None:
        limited.error(kind, text, shown(self._call_id), *args, call=self._call_id)

    def count(self, name: str) -> None:
        """One more of a counter, from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._count_there, name)
