"""The log of this process while somebody looks: the last warnings, and lines about calls."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from mediaserver.server.live.forms import LogLine

MOST_WARNINGS = 50
MOST_CHARACTERS = 500


class RecentLines(logging.Handler):
    """Keeps the last warnings of the server's loggers, and passes on lines about calls.

    **Call ``wanted`` at each look, and ``rest`` from time to time.**

    Args:
        hide: hides telephone numbers in a text.
        logged: told each line about a call, with the call's id.

    Attributes:
        warnings: the last ones, the oldest first.
    """

    def __init__(
        self, hide: Callable[[str], str], logged: Callable[[str, LogLine], object]
    ) -> None:
        super().__init__(logging.INFO)
        self.warnings: deque[LogLine] = deque(maxlen=MOST_WARNINGS)
        self._hide = hide
        self._logged = logged
        self._wanted_at: float | None = None

    def wanted(self, now: float) -> None:
        """Somebody looks."""
        if self._wanted_at is None:
            logging.getLogger("mediaserver").addHandler(self)
        self._wanted_at = now

    def rest(self, since: float) -> bool:
        """Listen no more, if nobody has looked since then; whether it still listens."""
        if self._wanted_at is not None and self._wanted_at < since:
            self._wanted_at = None
            self.warnings.clear()
            logging.getLogger("mediaserver").removeHandler(self)
        return self._wanted_at is not None

    def emit(self, record: logging.LogRecord) -> None:
        """See ``logging.Handler``."""
        try:
            text = self._hide(record.getMessage())[:MOST_CHARACTERS]
        except Exception:  # a user's own line whose arguments do not fit: the log itself says so
            return
        call_id = str(getattr(record, "call_id", None) or "")
        if record.exc_info and record.exc_info[0] is not None:
            text = f"{text}: {record.exc_info[0].__name__}"
        line = LogLine(record.created, record.levelname.lower(), text, call_id)
        if record.levelno >= logging.WARNING:
            self.warnings.append(line)
        if call_id:
            self._logged(call_id, line)
