"""What a user writes: the decorator of handlers, and filters."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest

from mediaserver.media.frames import Frame
from mediaserver.processors.api import Call, Dtmf, Filter, Stop, processor

CALL = cast(Call, None)  # these filters never look at it


def test_a_handler_is_declared_by_its_name_alone() -> None:
    """``@processor`` gives back the very function, with no rate and nothing it needs."""

    async def handler(call: Call) -> None: ...

    assert processor(handler) is handler
    assert (handler.mediaserver_rate, handler.mediaserver_requires) == (None, ())  # type: ignore[attr-defined]  # what the decorator sets


def test_a_handler_is_declared_with_what_it_wants() -> None:
    """``@processor(rate=…, requires=…)`` notes both on the function itself."""

    @processor(rate=16000, requires=("torch",))
    async def handler(call: Call) -> None: ...

    assert (handler.mediaserver_rate, handler.mediaserver_requires) == (16000, ("torch",))  # type: ignore[attr-defined]  # what the decorator sets


def test_a_filter_keeps_its_call_and_may_leave_out_closing() -> None:
    """What a filter must write is ``process``; without it there is nothing to run."""

    class Unfinished(Filter):
        pass

    filter_ = Unfinished(CALL)
    assert (filter_.call, filter_.rate, filter_.requires) == (CALL, None, ())
    with pytest.raises(NotImplementedError):
        filter_.process(Frame(np.zeros(160, np.int16), 8000, "inbound", 0, 0.0))
    filter_.close()


def test_events_are_values() -> None:
    """Events of equal content are equal, and none changes behind a handler's back."""
    assert Dtmf("1") == Dtmf("1", None)
    stop = Stop("lost")
    with pytest.raises(AttributeError):
        stop.reason = "stop"  # type: ignore[misc]  # that is the test


def test_processor_wants_an_async_function() -> None:
    """The decorator refuses what could never be awaited."""
    with pytest.raises(TypeError, match="async"):
        processor(lambda _: None)  # type: ignore[type-var]  # the fault under test


@pytest.mark.parametrize("history_s", [-1.0, 61.0, float("nan")])
def test_a_history_has_an_end(history_s: float) -> None:
    """A minute of frames at most is kept for a handler."""
    with pytest.raises(ValueError, match="history_s is 0 to 60"):
        processor(history_s=history_s)
