"""Says who holds up the event loop: which call, which processor, which line, for how long.

A beat on the loop, and a thread that looks at the loop's stack once the beat is late. Told
apart from a processor's fault: a garbage collection, a process that got no CPU, and one that
was stopped as a whole.

Never reported: what holds the loop for less than ``LATE_S``; and where the line was, when code
in C keeps the interpreter's lock all the while (the thread cannot look then): such a stall is
reported at its end, without a line.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import logging
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any, Protocol

import msgspec

from mediaserver.logs import LimitedLog, shown
from mediaserver.logs.owners import Owner, owner_of
from mediaserver.processors.chain import Chain
from mediaserver.server.calls.runner import InlineRunner
from mediaserver.server.calls.view import CallView
from mediaserver.server.calls.watching.overdue import Overdue, overdue

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

BEAT_S = 0.05
LATE_S = 0.1
# Code that has run for so long is to blame, also where it got little CPU.
BUSY_S = 0.05
# The same line is named again only behind so long.
AGAIN_S = 10.0
ENDS_WITHIN_S = 1.0
NOBODY = Owner()
_OWN = str(Path(__file__).parents[3]) + "/"


class Culprit(msgspec.Struct, frozen=True):
    """Who holds the loop.

    Attributes:
        kind: ``processor``; ``code`` (other code, ours or a user's task); ``gc``; ``starved``
            (ready to run, but no CPU came); ``stopped`` (the whole process stood still);
            ``unknown``.
        where: ``file:line``, and the function.
        processor: its name, where it is known.
        call_id: of its call, where it is known.
    """

    kind: str
    where: str = ""
    processor: str = ""
    call_id: str = ""

    @property
    def level(self) -> int:
        """How bad it is: what the machine did is no fault of a program."""
        return logging.WARNING if self.processor or self.call_id else logging.INFO

    def __str__(self) -> str:
        whose = {
            "gc": "a garbage collection",
            "starved": "nobody: this process got no CPU (the machine is too busy)",
            "stopped": "nobody: the whole process stood still",
            "unknown": "code that could not be looked at, perhaps in C",
        }.get(self.kind)
        if whose is not None:
            return whose
        who = f"processor {self.processor}" if self.processor else "code"
        of_call = f" of call {shown(self.call_id)}" if self.call_id else ""
        return f"{who}{of_call} at {self.where}"


class Count(Protocol):
    """Counts what was found."""

    def __call__(self, name: str, *, culprit: Culprit, late_s: float) -> None:
        """One more of ``name``: the loop was held up by this one for so long."""


def _nobody(_: float, __: float) -> None:
    """Where nobody wants to know."""


def busyness(took_s: float, before: tuple[float, float], after: tuple[float, float]) -> float:
    """The part of so much time that a thread ran, by what it had run and waited before and after.

    Time in which it waited for a CPU does not count: it could not have rested then.
    """
    ran_s, waited_s = (b - a for a, b in zip(before, after, strict=True))
    free_s = max(took_s - waited_s, ran_s)
    return ran_s / free_s if free_s > 0 else 0.0


class LoopWatch:
    """Watches the running loop.

    **Call ``start`` on the loop, and ``stop`` at its end.**

    Args:
        count: counts what was found, on the loop.
        late: told at each beat, 20 times a second, by how many seconds it was late, and
            what part of the time since the last one the loop worked.
    """

    def __init__(self, count: Count, late: Callable[[float, float], None] = _nobody) -> None:
        self._count = count
        self._late = late
        self._due = 0.0
        self._beat: asyncio.TimerHandle | None = None
        self._overdue: Overdue | None = None
        self._thread: threading.Thread | None = None
        self._thread_id = 0
        self._account = -1
        self._before = (0.0, 0.0)
        self._culprit: Culprit | None = None
        self._gc_since: float | None = None
        self._gc_s = 0.0
        self._said: dict[str, float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Watch from now on."""
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        # Kept open, and read on the loop: a second thread that opens files twenty times a second
        # takes the interpreter's lock from the loop each time.
        with contextlib.suppress(OSError):
            path = f"/proc/self/task/{threading.get_native_id()}/schedstat"
            self._account = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        gc.callbacks.append(self._collecting)
        self._overdue = waited_for = overdue()
        self._expect()
        looking = partial(self._look_on, waited_for)
        self._thread = threading.Thread(target=looking, name="loop watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        if self._overdue is not None and self._thread is not None:
            self._overdue.close()
            self._thread.join(ENDS_WITHIN_S)  # it closes its descriptor, at once
        if self._beat is not None:
            self._beat.cancel()
        if self._account >= 0:
            os.close(self._account)
            self._account = -1
        if self._collecting in gc.callbacks:
            gc.callbacks.remove(self._collecting)

    # On the loop.

    def _expect(self) -> None:
        assert self._loop is not None
        assert self._overdue is not None
        self._before = self._scheduled()
        self._due = monotonic() + BEAT_S
        self._overdue.arm(BEAT_S + LATE_S)
        self._beat = self._loop.call_later(BEAT_S, self._on_beat)

    def _on_beat(self) -> None:
        late_s = monotonic() - self._due
        culprit, self._culprit = self._culprit, None
        gc_s, self._gc_s = self._gc_s, 0.0
        before = self._before
        self._expect()
        self._late(late_s, busyness(BEAT_S + late_s, before, self._before))
        if late_s < LATE_S:
            return
        if culprit is None or (culprit.kind == "unknown" and gc_s > late_s / 2):
            culprit = Culprit("gc" if gc_s > late_s / 2 else "unknown")
            self._say(culprit, late_s)
        elif late_s > 1.0:
            text = "the event loop was held up for %.1f s by %s"
            call = culprit.call_id or None
            limited.log(culprit.level, "loop was held up", text, late_s, culprit, call=call)
        count = self._count
        match culprit.kind:
            case "gc":
                count("loop_gc", culprit=culprit, late_s=late_s)
            case "starved":
                count("loop_starved", culprit=culprit, late_s=late_s)
            case "stopped":
                count("loop_stopped", culprit=culprit, late_s=late_s)
            case _:
                count("loop_blocked", culprit=culprit, late_s=late_s)

    def _collecting(self, phase: str, info: object) -> None:
        if phase == "start":
            self._gc_since = monotonic()
        elif self._gc_since is not None:
            self._gc_s += monotonic() - self._gc_since
            self._gc_since = None

    # In the thread.

    def _look_on(self, waited_for: Overdue) -> None:
        again_at = 0.0
        while waited_for.wait():
            now = monotonic()
            due, before = self._due, self._before
            late_s, own_late_s = now - due, now - max(due + LATE_S, again_at)
            if late_s < LATE_S:
                continue
            # The loop may go on just now, and arm it, too: then nobody is late at the next beat.
            again_at = now + BEAT_S
            waited_for.arm(BEAT_S)
            if self._culprit is not None and self._culprit.kind != "starved":
                continue
            culprit = self._judge(late_s, own_late_s, before)
            if self._due == due:  # it is late still
                self._culprit = culprit
                self._say(culprit, late_s)

    def _scheduled(self) -> tuple[float, float]:
        """Seconds the loop's thread has run, and has waited for a CPU, as Linux accounts for it."""
        try:
            ran, waited, _ = map(int, os.pread(self._account, 100, 0).split())
        except (OSError, ValueError):
            return 0.0, 0.0
        return ran / 1e9, waited / 1e9

    def _judge(self, late_s: float, own_late_s: float, before: tuple[float, float]) -> Culprit:
        if self._gc_since is not None:
            return Culprit("gc")
        ran, waited = self._scheduled()
        ran_s, waited_s = ran - before[0], waited - before[1]
        if waited_s > late_s / 2 and ran_s < BUSY_S:
            return Culprit("starved")
        if own_late_s > late_s / 2 and ran_s + waited_s < late_s / 2:
            return Culprit("stopped")
        frame = sys_frame(self._thread_id)
        if frame is None:
            return Culprit("unknown")
        return culprit_of(frame, owner_of(asyncio.current_task(self._loop)))

    def _say(self, culprit: Culprit, late_s: float) -> None:
        now = monotonic()
        key = culprit.where or culprit.kind
        if now - self._said.get(key, float("-inf")) < AGAIN_S:
            return
        if len(self._said) > 1000:
            self._said.clear()
        self._said[key] = now
        text, call = "the event loop is held up, %.0f ms so far, by %s", culprit.call_id or None
        limited.log(culprit.level, "loop is held up", text, 1000 * late_s, culprit, call=call)


# Whose variable ``stage`` is what runs now.
CHAINS = (Chain.run.__code__, Chain.run_timed.__code__, Chain.close.__code__)
# Whose variable ``view`` is the call of the processor that runs now.
_VIEWS = (InlineRunner.handle.__code__, InlineRunner._make_stage.__code__)
# Where the loop's own frames begin: what is outside started the loop, and has no part in this.
_LOOPS = frozenset({"run", "run_forever", "run_until_complete"})


def sys_frame(thread_id: int) -> FrameType | None:
    """What a thread runs now."""
    import sys

    return sys._current_frames().get(thread_id)


def culprit_of(innermost: FrameType, owner: Owner = NOBODY) -> Culprit:
    """Whose code runs, by the stack from its innermost frame outwards, and by the task's owner."""
    processor = call_id = where = ""
    found = NOBODY
    frame: FrameType | None = innermost
    own_where = _where(innermost)
    while frame is not None:
        code = frame.f_code
        if code in CHAINS:
            stage = _locals_of(frame).get("stage")
            if isinstance(stage, CallView):
                # A handler's place in the chain runs no code of the user's.
                return Culprit("code", own_where, call_id=stage.id)
            processor = getattr(stage, "name", "")
            call_id = call_id or getattr(getattr(stage, "call", None), "id", "")
            break
        if code in _VIEWS:
            view = _locals_of(frame).get("view")
            if isinstance(view, CallView):
                processor, call_id = view.name, view.id
            break
        if not code.co_filename.startswith(_OWN):
            if code.co_name in _LOOPS and code.co_filename.startswith(_ASYNCIO):
                break
            if not where and not _is_library(code.co_filename):
                where = _where(frame)
            found = found if found.call_id else _call_in(frame)
        frame = frame.f_back
    if not call_id:  # a task, or a callback, that a processor has started
        processor, call_id = owner if owner.call_id else found
    return Culprit("processor" if processor else "code", where or own_where, processor, call_id)


def _call_in(frame: FrameType) -> Owner:
    """Whose call is among a function's variables, or among those of its object."""
    variables = _locals_of(frame)
    own = getattr(variables.get("self"), "__dict__", None)
    for value in [*variables.values(), *(dict(own).values() if isinstance(own, dict) else ())]:
        if isinstance(value, CallView):
            return Owner(value.name, value.id)
    return NOBODY


def _locals_of(frame: FrameType) -> dict[str, Any]:
    """A function's variables now."""
    if not frame.f_code.co_flags & inspect.CO_OPTIMIZED:  # of a module or a class: all of it
        return {}
    found = frame.f_locals
    copied = dict(found)
    if isinstance(found, dict):
        # Before Python 3.13 it stays with the frame, and would keep alive what is in it.
        found.clear()
    return copied


def _where(frame: FrameType) -> str:
    code: Any = frame.f_code
    return f"{code.co_filename}:{frame.f_lineno} in {code.co_name}"


def _is_library(filename: str) -> bool:
    """Whether it belongs to Python or an installed package, which a user's code has called."""
    return "site-packages" in filename or filename.startswith(_LIBRARY) or filename[:1] == "<"


_ASYNCIO = str(Path(asyncio.__file__).parent) + "/"
_LIBRARY = str(Path(asyncio.__file__).parents[1]) + "/"
