"""What makes a processor: an async function, or a filter with ``process``."""

from __future__ import annotations

from typing import Any

import pytest

from mediaserver.errors import ConfigurationError
from mediaserver.processors.api import Call, Filter, processor
from mediaserver.processors.batch import BatchProcessor
from mediaserver.processors.parameters import bind
from mediaserver.processors.spec import Spec, check_rate, spec_of


async def plain(call: Call) -> None: ...


@processor(rate=24000, requires=("numpy",))
async def declared(call: Call) -> None: ...


class Wide(Filter):
    rate = 16000
    requires = ("soxr",)

    def process(self, frame):  # type: ignore[no-untyped-def]  # users write untyped code
        return frame


class Together(BatchProcessor):
    requires = ("numpy",)

    def process(self, windows: Any, calls: Any, state: Any) -> list[None]:
        return [None] * len(calls)


@processor(history_s=3.5)
async def remembers(call: Call) -> None: ...


class Unfinished(Filter):
    pass


@pytest.mark.parametrize(
    ("target", "spec", "is_filter"),
    [
        (plain, Spec("p", plain), False),
        (declared, Spec("p", declared, 24000, ("numpy",)), False),
        (Wide, Spec("p", Wide, 16000, ("soxr",)), True),
        (remembers, Spec("p", remembers, history_s=3.5), False),
        (Together, Spec("p", Together, None, ("numpy",), tap=True), False),
    ],
)
def test_what_is_declared_is_found(target: object, spec: Spec, is_filter: bool) -> None:
    """Name, target, rate and needs; whether it is a filter."""
    found = spec_of("p", target)
    assert found == spec
    assert found.is_filter is is_filter


def test_its_kind_is_one_word() -> None:
    """As `mediaserver processors` shows it."""
    found = [spec_of("p", target) for target in (plain, Wide, Together)]
    assert [each.kind for each in found if each] == ["handler", "filter", "batch"]
    assert [each.is_batch for each in found if each] == [False, False, True]
    assert spec_of("p", BatchProcessor) is None


@pytest.mark.parametrize("target", [7, None, print, lambda: None, int, Unfinished, Wide.process])
def test_what_is_no_processor_is_none(target: object) -> None:
    """Values, plain functions, other classes, and a filter that was not finished."""
    assert spec_of("p", target) is None


def test_a_bare_filter_is_none() -> None:
    """The base class itself does nothing and is no processor."""
    assert spec_of("x", Filter) is None

    class Hints(Filter):
        def __init__(self, call: Call, other: Missing = None) -> None:  # type: ignore[name-defined]  # noqa: F821 (a name only known elsewhere)
            super().__init__(call)

        def process(self, frame):  # type: ignore[no-untyped-def]  # users write untyped code
            return frame

    spec = spec_of("hints", Hints)
    assert spec is not None
    assert bind(spec, {"other": "as it is"}) == {"other": "as it is"}


@pytest.mark.parametrize("rate", [None, 8000, 16000, 22050, 24000, 44100, 48000])
def test_rates_that_frames_can_have(rate: int | None) -> None:
    """None leaves them as they are."""
    check_rate("a", rate)


@pytest.mark.parametrize("rate", [0, -8000, 11025, 8000.0, "8000", (8000,)])
def test_rates_that_no_frame_can_have(rate: Any) -> None:
    """They are refused before a call comes, and the message has those there are."""
    with pytest.raises(ConfigurationError, match="processor a: rate is one of 8000, "):
        check_rate("a", rate)
