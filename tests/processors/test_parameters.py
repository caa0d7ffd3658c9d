"""A processor's parameters: found, converted, and set by a call where that is allowed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta

from mediaserver.errors import ConfigurationError
from mediaserver.processors.api import Call, Filter
from mediaserver.processors.batch import BatchProcessor
from mediaserver.processors.parameters import bind, check_signature, from_call, parameters_of
from mediaserver.processors.spec import Spec, spec_of
from mediaserver.settings import ProcessorSetting


async def talk(
    call: Call,
    times: int = 1,
    *,
    words: list[str] | None = None,
    where: Path = Path("."),
) -> None:
    """A handler."""


async def choosy(
    call: Call,
    loud: bool = False,
    rates: tuple[int, ...] = (),
    voice: Literal["amy", "joe"] | None = None,
    share: Annotated[float, Meta(ge=0, le=1)] = 0.5,
) -> None:
    """A handler of many types."""


async def plain(call: Call, needed: float) -> None:
    """A handler with a parameter that must be given."""


async def alone(call: Call) -> None:
    """A handler without parameters."""


async def loose(call: Call, anything, *rest, **more) -> None:  # type: ignore[no-untyped-def]  # users write untyped code
    """A handler that says nothing about its parameters."""


async def hinted(call: Call, other: Missing = None) -> None:  # type: ignore[name-defined]  # noqa: F821 (a name only known elsewhere)
    """A handler whose types cannot be looked up."""


class Louder(Filter):
    def __init__(self, call: Call, db: float = 6.0) -> None:
        super().__init__(call)
        self.db = db

    def process(self, frame):  # type: ignore[no-untyped-def]  # users write untyped code
        return frame


def spec(target: Any) -> Spec:
    found = spec_of(target.__name__, target)
    assert found is not None
    return found


TALK, LOUDER = spec(talk), spec(Louder)
SPECS = {
    each.name: each for each in (TALK, LOUDER, *map(spec, (choosy, plain, alone, loose, hinted)))
}


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("talk", ["times", "words", "where"]),
        ("Louder", ["db"]),
        ("alone", []),
        ("loose", ["anything"]),
    ],
)
def test_the_parameters_are_those_behind_the_call(name: str, names: list[str]) -> None:
    """By name, without the call, nor ``self``, nor what takes any number."""
    assert list(parameters_of(SPECS[name])) == names


def test_a_processor_without_parameters_says_so() -> None:
    """It binds to none, and any name is one too many."""
    assert bind(SPECS["alone"], {}) == {}
    with pytest.raises(ConfigurationError, match=r"unknown parameter 'x' \(it has: none\)"):
        bind(SPECS["alone"], {"x": 1})


def test_a_parameter_without_a_type_is_given_as_it_is() -> None:
    """What a processor does not declare is nobody's to convert."""
    assert bind(SPECS["loose"], {"anything": "3"}) == {"anything": "3"}


def test_a_type_that_cannot_be_looked_up_converts_nothing() -> None:
    """A name that only a type checker knows is no reason to refuse the processor."""
    assert bind(SPECS["hinted"], {"other": "3"}) == {"other": "3"}


def test_a_value_of_a_type_of_its_own_is_left_alone() -> None:
    """A path stays the path it is; what cannot be made a path is refused by name."""
    where = Path("a/b")
    assert bind(TALK, {"where": where})["where"] is where
    with pytest.raises(ConfigurationError, match="parameter 'where'"):
        bind(TALK, {"where": 7})


def test_parameters_are_converted() -> None:
    """Text from flags becomes the declared types."""
    talk = TALK
    given = {"times": "3", "words": ["a"], "where": "x/y"}
    assert bind(talk, given) == {"times": 3, "words": ["a"], "where": Path("x/y")}
    assert bind(LOUDER, {"db": "-2.5"}) == {"db": -2.5}


@pytest.mark.parametrize(
    ("attribute", "given", "said"),
    [
        ("talk", {"loud": 1}, "unknown parameter 'loud' (it has: times, words, where)"),
        ("talk", {"times": "many"}, "parameter 'times': expected a whole number, not 'many'"),
        ("talk", {"words": 5}, "parameter 'words': expected a list or null, not 5"),
        ("choosy", {"loud": "maybe"}, "parameter 'loud': expected yes or no, not 'maybe'"),
        ("choosy", {"loud": ""}, "parameter 'loud': expected yes or no, not ''"),
        ("choosy", {"rates": "8,x"}, "parameter 'rates[1]': expected a whole number, not 'x'"),
        ("choosy", {"voice": "ann"}, "parameter 'voice': expected amy or joe or null, not 'ann'"),
        ("choosy", {"share": "2"}, "parameter 'share': expected a number from 0 to 1, not '2'"),
        ("plain", {}, "parameter 'needed' is missing"),
    ],
)
def test_wrong_parameters(attribute: str, given: dict[str, object], said: str) -> None:
    """A wrong parameter names processor, parameter and what there is."""
    with pytest.raises(ConfigurationError) as caught:
        bind(SPECS[attribute], given)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("query", "bound"),
    [
        ("loud=yes", {"loud": True}),
        ("loud=ON", {"loud": True}),
        ("loud=no", {"loud": False}),
        ("loud=off", {"loud": False}),
        ("loud=0", {"loud": False}),
        ("rates=8000,16000", {"rates": (8000, 16000)}),
        ("rates=8000%2C16000", {"rates": (8000, 16000)}),
        ("rates=8000&rates=16000", {"rates": (8000, 16000)}),
        ("rates=8000", {"rates": (8000,)}),
        ("rates=", {"rates": ()}),
        ("voice=joe&loud=true", {"voice": "joe", "loud": True}),
        ("voice=null", {"voice": None}),
    ],
)
def test_a_query_holds_lists_and_switches(query: str, bound: dict[str, object]) -> None:
    """What people write behind the name becomes the declared type."""
    given = ProcessorSetting.parse(f"choosy?{query}").parameters
    assert bind(SPECS["choosy"], given) == bound


def test_what_a_call_says_is_not_quoted() -> None:
    """Errors are logged, and a caller's value may be anything."""
    with pytest.raises(ConfigurationError) as caught:
        from_call(TALK, {}, {"param_times": "canary"}, ("times",))
    assert (
        str(caught.value) == "processor talk: parameter 'times': expected a whole number, not text"
    )


def test_a_call_sets_only_what_is_allowed() -> None:
    """Custom parameters reach a processor only where they are allow-listed."""
    talk = TALK
    custom = {"param_times": "9", "param_where": "/etc", "times": "8"}
    assert from_call(talk, {"times": 1}, custom, ("times",)) == {"times": 9}
    assert from_call(talk, {"times": 1}, custom, ()) == {"times": 1}


def test_a_batch_processor_has_no_call_before_its_parameters() -> None:
    """One instance hears all calls: what ``__init__`` takes are parameters, the first as well."""

    class Together(BatchProcessor):
        def __init__(self, size: int = 1) -> None:
            self.size = size

        def process(self, windows: Any, calls: Any, state: Any) -> list[None]:
            return []

    spec = spec_of("together", Together)
    assert spec is not None
    assert bind(spec, {"size": "3"}) == {"size": 3}


async def takes_a_call(call: Call, level: int = 1) -> None: ...


async def takes_nothing() -> None: ...


async def takes_no_names(call: Call, level: int, /) -> None: ...


class Batched(BatchProcessor):
    def process(self, windows: Any, calls: Any, state: Any) -> Any: ...


@pytest.mark.parametrize("target", [takes_a_call, Batched])
def test_what_a_call_can_run(target: Any) -> None:
    """A batch processor is made for all calls, and is given none."""
    check_signature(Spec("a", target))


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (takes_nothing, "its first argument must be the call, not ()"),
        (takes_no_names, "cannot be called: missing a required argument: 'level'"),
    ],
)
def test_what_no_call_can_run(target: Any, why: str) -> None:
    """It is refused before a call comes."""
    with pytest.raises(ConfigurationError, match=re.escape(f"processor a: {why}")):
        check_signature(Spec("a", target))
