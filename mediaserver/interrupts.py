"""Whether a ``SystemExit`` or ``KeyboardInterrupt`` is the operator's, or comes from users' code.

An operator's comes out of a signal's handler, wherever the program happens to be; it ends the
program. One that users' code raised ends what raised it, and nothing else.
"""

from __future__ import annotations

import functools
import opcode
import signal
from collections.abc import Iterator
from types import CodeType, TracebackType

_RAISES = {opcode.opmap["RAISE_VARARGS"], opcode.opmap["RERAISE"]}


def is_operators(exc: BaseException | None) -> bool:
    """Whether a signal's handler raised it: it must be passed on."""
    if not isinstance(exc, SystemExit | KeyboardInterrupt):
        return False
    traceback = list(_entries(exc.__traceback__))
    handlers = {_code(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)}
    if any(entry.tb_frame.f_code in handlers for entry in traceback):
        return True
    # Python's own handler has no frame: it raises where no code does.
    is_pythons = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return is_pythons and isinstance(exc, KeyboardInterrupt) and not _is_raised(traceback)


def _entries(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _is_raised(traceback: list[TracebackType]) -> bool:
    """Whether the innermost line is one that raises."""
    if not traceback:
        return True
    innermost = traceback[-1]
    return innermost.tb_frame.f_code.co_code[innermost.tb_lasti] in _RAISES


def _code(handler: object) -> CodeType | None:
    """The code of a signal's handler, if it is written in Python."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    code = getattr(handler, "__code__", None)
    return code if isinstance(code, CodeType) else None
