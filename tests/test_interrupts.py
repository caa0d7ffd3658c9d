"""An operator's signal is told from what users' code raises."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from mediaserver.interrupts import is_operators


def raised_by(function: Callable[[], object]) -> BaseException:
    try:
        function()
    except BaseException as exc:
        return exc
    raise AssertionError("it raised nothing")


def raises() -> None:
    raise KeyboardInterrupt


def raises_again() -> None:
    try:
        raises()
    except KeyboardInterrupt:
        raise


def leaves() -> None:
    sys.exit(3)


def is_signalled(number: int = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)
    time.sleep(10)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Python's own of SIGINT, and one of a program that ends by an exception."""
    former = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: leaves())
    yield
    signal.signal(signal.SIGINT, former[0])
    signal.signal(signal.SIGTERM, former[1])


@pytest.mark.parametrize("function", [raises, raises_again, leaves, lambda: [][0]])
def test_what_code_raises_is_its_own(function: Callable[[], object]) -> None:
    """Whatever it is."""
    assert not is_operators(raised_by(function))


def test_what_was_never_raised_is_nobodys() -> None:
    """As where a task is given an exception by hand."""
    assert not is_operators(KeyboardInterrupt())
    assert not is_operators(None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_a_signals_handler_raises_is_the_operators(number: int) -> None:
    """Python's own handler, and one that a program has set."""
    assert is_operators(raised_by(lambda: is_signalled(number)))


def test_the_second_ctrl_c_of_asyncio_run_is_the_operators() -> None:
    """The first one only cancels."""
    seen: list[bool] = []

    async def main() -> None:
        try:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)  # noqa: ASYNC251  # the signal comes in the midst of it
        except KeyboardInterrupt as exc:
            seen.append(is_operators(exc))
            raise

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert seen == [True]
