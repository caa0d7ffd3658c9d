"""What a line of the log looks like: text for people, or a JSON object."""

from __future__ import annotations

import copy
import json
import logging
import math
import os
import select
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from mediaserver.logs.numbers import Numbers
from mediaserver.logs.texts import indented, shown, without_middle

Format = Literal["text", "json"]

# A line of JSON holds no more characters of its message and of its exception.
MAX_MESSAGE = 8_000
MAX_EXCEPTION = 32_000
# Nor of what is given as fields, where the whole line is longer than MAX_LINE.
MAX_FIELDS = 32_000
MAX_LINE = 64_000
# A readable record holds no more characters, with its traceback: half of them its begin, half its
# end.
MAX_RECORD = 16_000
# Of what users give as fields: entries of a table or list, levels, characters of a text.
MAX_ENTRIES = 100
MAX_DEPTH = 4
MAX_TEXT = 1_000
# Longer integers are no numbers for most readers of JSON.
MAX_INTEGER = 2**53
WRITE_WITHIN_MS = 1000

_PLAIN = logging.makeLogRecord({}).__dict__.keys()
_OWN = {"event", "call_id", "stream_id", "fields", "message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object on one line for each record, whatever its texts hold.

    Args:
        process: what is the same in each line of this process: ``process``, ``worker``, ``host``.
    """

    def __init__(self, process: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self._process = {"process": "server", **(process or {})}

    def format(self, record: logging.LogRecord) -> str:
        """See ``logging.Formatter``."""
        own = record.__dict__
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{stamp}.{int(record.created * 1000) % 1000:03}Z",
            "level": record.levelname.lower(),
            "event": own.get("event", "other"),
            "message": _cut(_message(record), MAX_MESSAGE),
            "call": _id(own.get("call_id")),
            "stream": _id(own.get("stream_id")),
            "logger": record.name,
            **self._process,
            "pid": record.process,
        }
        fields = own.get("fields")
        given = dict(fields) if isinstance(fields, Mapping) else {}
        given |= {n: v for n, v in own.items() if n not in _PLAIN and n not in _OWN}
        if given:
            line["fields"] = given
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = _cut_inside(self.formatException(record.exc_info))
        if record.stack_info:
            line["stack"] = _cut_inside(record.stack_info)
        ready = {name: _as_json(each) for name, each in line.items()}
        text = json.dumps(ready, allow_nan=False)
        if len(text) <= MAX_LINE or not given:
            return text
        n = len(json.dumps(ready["fields"]))
        if n > MAX_FIELDS:
            ready["fields"] = {"too_long": n}
        return json.dumps(ready, allow_nan=False)


class TextFormatter(logging.Formatter):
    """A readable record, in which no text can look like another record.

    Only its first line begins where a line does. What does not print is escaped, and a long
    record has its middle left out.
    """

    def format(self, record: logging.LogRecord) -> str:
        """See ``logging.Formatter``."""
        try:
            text = super().format(record)
        except Exception:  # a plugin's arguments, which do not fit or cannot be printed
            told = copy.copy(record)
            told.msg, told.args = _message(record), None
            text = super().format(told)
        if len(text) <= MAX_RECORD and text.isprintable():
            return text
        # Escapes and indents are longer than what they stand for: it is cut once more.
        lines = indented(without_middle(text, MAX_RECORD))
        return without_middle(lines, MAX_RECORD, len(text))


class WithoutNumbers(logging.Formatter):
    """What another formatter makes, with the telephone numbers in it as the policy says."""

    def __init__(self, inner: logging.Formatter, numbers: Numbers) -> None:
        super().__init__()
        self.inner = inner
        self._numbers = numbers

    def format(self, record: logging.LogRecord) -> str:
        """See ``logging.Formatter``."""
        return self._numbers.within(self.inner.format(record))


class LineHandler(logging.Handler):
    """Writes each line by one call of the system, so that those of several processes stay whole.

    Args:
        fd: where to; it is not closed.
        encoding: of the lines; what it has no octets for is escaped.
    """

    def __init__(self, fd: int, encoding: str = "utf-8") -> None:
        super().__init__()
        self._fd = fd
        self._encoding = encoding

    def emit(self, record: logging.LogRecord) -> None:
        """See ``logging.Handler``; a full disk loses the line, and nothing else."""
        try:
            rest = f"{self.format(record)}\n".encode(self._encoding, "backslashreplace")
        except Exception:  # as logging's own handlers: a plugin's record may not fit its arguments
            self.handleError(record)
            return
        try:
            while rest:
                rest = rest[self._written(rest) :]
        except OSError:
            return

    def _written(self, data: bytes) -> int:
        try:
            return os.write(self._fd, data)
        except BlockingIOError:  # somebody else has made it so
            poll = select.poll()
            poll.register(self._fd, select.POLLOUT)
            if not poll.poll(WRITE_WITHIN_MS):
                raise
            return 0


def text_formatter(label: str = "") -> logging.Formatter:
    """The readable form; ``label`` says which process it is."""
    begin = f"{label} " if label else ""
    return TextFormatter(f"%(asctime)s %(levelname)s {begin}%(name)s: %(message)s")


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as exc:  # a plugin's arguments, which do not fit or cannot be printed
        return f"{_text(record.msg)} (its arguments do not fit: {type(exc).__name__})"


def _id(value: object) -> str | None:
    return None if value is None else shown(value)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"


def _cut_inside(text: str) -> str:
    """Of a traceback the begin says where it was, and the end what it was."""
    return without_middle(text, MAX_EXCEPTION)


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # a plugin's own class
        return f"<{type(value).__name__}>"


def _as_json(value: object, depth: int = 0) -> Any:
    """What JSON can hold of a value: what is too deep, too long or too odd becomes a text."""
    match value:
        case None | bool():
            return value
        case int() if abs(value) <= MAX_INTEGER:
            return int(value)
        case float() if math.isfinite(value):
            return float(value)
        case str():
            # Half of a pair of surrogates is no character: many readers would refuse the line.
            # At the top are texts that were cut already, with a few words that say so.
            most = MAX_TEXT if depth else MAX_EXCEPTION + MAX_TEXT
            return _cut(value, most).encode("utf-8", "backslashreplace").decode()
        case Mapping() if depth < MAX_DEPTH:
            entries = list(value.items())[:MAX_ENTRIES]
            return {_as_json(_text(k), 1): _as_json(v, depth + 1) for k, v in entries}
        case list() | tuple() if depth < MAX_DEPTH:
            sequence: Sequence[object] = value
            return [_as_json(each, depth + 1) for each in sequence[:MAX_ENTRIES]]
        case int():
            return hex(value)[:MAX_TEXT]
    return _as_json(_text(value), max(depth, 1))
