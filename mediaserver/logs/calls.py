"""What processors log about their calls."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from mediaserver.logs.limits import LimitedLog, LineLimit
from mediaserver.logs.streams import extra_of
from mediaserver.logs.texts import shown

# Lines that one processor of one call may log by ``call.log`` in a period.
CALL_LINES = 200


class CallLogger(logging.LoggerAdapter[logging.Logger]):
    """Begins each line with the id of its call, and gives it as ``call_id`` to formatters.

    Of a flood it writes the first ``CALL_LINES`` lines of each ten seconds, and how many more
    there were.
    """

    def __init__(self, logger: logging.Logger, call_id: str) -> None:
        super().__init__(logger, {"call_id": call_id})
        self._call_id = call_id
        self._limit = LimitedLog(logger, LineLimit(CALL_LINES))

    def process(
        self, msg: object, kwargs: MutableMapping[str, Any]
    ) -> tuple[object, MutableMapping[str, Any]]:
        """See ``LoggerAdapter``."""
        own = extra_of("call_log", self._call_id)
        kwargs["extra"] = {**(kwargs.get("extra") or {}), **own}
        return msg, kwargs

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """See ``LoggerAdapter``."""
        if not self.isEnabledFor(level) or not self._limit.take(level, "call.log", self._call_id):
            return
        begin = f"call {shown(self._call_id)}: "
        if args:  # else nothing is put in, and a percent sign stands for itself
            begin = begin.replace("%", "%%")
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        super().log(level, f"{begin}{msg}", *args, **kwargs)
