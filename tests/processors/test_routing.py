"""Which chain a call gets by the routes of the settings."""

from __future__ import annotations

from typing import Any

import pytest

from mediaserver.conversion import WrongSettingError
from mediaserver.processors.routing import (
    Asked,
    check_routes,
    described,
    find_route,
    silences,
    told,
)
from mediaserver.settings import ProcessorSetting, RouteSetting, Settings

ECHO = (ProcessorSetting("echo"),)
NUMBER = "+13125550100"


def route(**asks: Any) -> RouteSetting:
    return RouteSetting(**{"processors": ECHO, **asks})


def routed(*routes: RouteSetting, **settings: Any) -> Settings:
    return Settings(routes=routes, **settings)


def test_the_first_route_that_fits() -> None:
    """All that a route asks for must be true; of several that fit, the first one counts."""
    routes = (
        route(path="support", to=(NUMBER,)),
        route(path="support"),
        route(to=(NUMBER, "+4930123456")),
        route(parameters={"bot": "sales", "tier": "1"}),
    )

    def found(path: str = "", to: str | None = None, **parameters: str) -> int | None:
        chosen = find_route(routes, Asked(path, to, parameters))
        return None if chosen is None else routes.index(chosen)

    assert found("support", NUMBER) == 0
    assert found("support", "+1999") == 1
    assert found("support") == 1
    assert found(to="+4930123456") == 2
    assert found(bot="sales", tier="1", more="2") == 3
    assert found(bot="sales") is None
    assert found("Support") is None, "names are compared letter by letter"
    assert found() is None


@pytest.mark.parametrize(
    ("written", "called"),
    [
        ("+13125550100", "13125550100"),
        ("+1 (312) 555-0100", "+13125550100"),
        ("13125550100", "+1.312.555.0100"),
        ("sip:Bot@example.com", "bot@example.com"),
    ],
)
def test_numbers_are_compared_by_their_digits(written: str, called: str) -> None:
    """However they are written, and with a plus or without."""
    assert find_route((route(to=(written,)),), Asked("", called, {})) is not None
    assert find_route((route(to=(written,)),), Asked("", called + "9", {})) is None


@pytest.mark.parametrize(
    ("earlier", "later", "by"),
    [
        ([route()], route(path="a"), 1),
        ([route(path="a")], route(path="a"), 1),
        ([route(path="b"), route(path="a")], route(path="a", to=(NUMBER,)), 2),
        ([route(parameters={"x": "1"})], route(parameters={"x": "1", "y": "2"}), 1),
        ([route(parameters={})], route(path="a"), 1),
        ([route(to=("12", "34"))], route(to=("+12",)), 1),
        ([route(to=("12",)), route(to=("34",))], route(to=("+12", "+34")), 2),
    ],
)
def test_a_route_that_can_never_match_is_refused(
    earlier: list[RouteSetting], later: RouteSetting, by: int
) -> None:
    """One before it, or several together, take all of its calls: both are named."""
    with pytest.raises(WrongSettingError) as caught:
        check_routes(routed(*earlier, later))
    assert caught.value.path == ("routes", len(earlier))
    assert f"can never match: route {by} (" in str(caught.value)


@pytest.mark.parametrize(
    "routes",
    [
        [route(path="a"), route(path="b"), route()],
        [route(path="a", to=("12",)), route(path="a")],
        [route(parameters={"x": "1"}), route(parameters={"x": "2"}), route(parameters={"y": "1"})],
        [route(to=("12",)), route(to=("12", "34"))],
        [route(to=("12",)), route(path="a")],
        [route(parameters={"x": "1"}, to=("12",)), route(to=("12",))],
    ],
)
def test_routes_that_leave_something_to_the_next(routes: list[RouteSetting]) -> None:
    """A narrower route before a wider one is what routes are for."""
    check_routes(routed(*routes))


@pytest.mark.parametrize(
    ("asks", "path", "why"),
    [
        ({"path": "a/b"}, "path", "one name of letters, digits"),
        ({"path": "a b"}, "path", "one name of letters, digits"),
        ({"path": "../a"}, "path", "one name of letters, digits"),
        ({"path": "s3cret"}, "path", "the auth token begins with the same name"),
        ({"to": ()}, "to", "it names no number"),
        ({"to": ("sales",)}, "to", "expected a number"),
        ({"parameters": {"token": "x"}}, "parameters", "has another meaning"),
        ({"parameters": {"processor": "echo"}}, "parameters", "has another meaning"),
    ],
)
def test_conditions_that_are_never_true(asks: dict[str, Any], path: str, why: str) -> None:
    """What no call can bring is refused, with the reason, and without the token."""
    with pytest.raises(WrongSettingError, match="can never match") as caught:
        check_routes(routed(route(), route(**asks), auth_token="s3cret/1"))
    assert caught.value.path[:3] == ("routes", 1, path)
    assert why in caught.value.problem


def test_described() -> None:
    """What it asks for, in one line; numbers as the caller wants them shown."""
    whole = route(path="a", to=("+12", "+34"), parameters={"bot": "sales"})
    assert described(whole) == "path a, to +12 or +34, bot=sales"
    assert described(whole, lambda _: "…") == "path a, to … or …, bot=sales"
    assert described(route()) == "every call"


def test_told_line_by_line() -> None:
    """In the order in which routes are tried; then what is left, and what is offered."""
    settings = routed(
        route(path="a"),
        processors=(*ECHO, ProcessorSetting("record")),
        offer=(ProcessorSetting("record", alias="tape"),),
    )
    assert list(told(settings)) == [
        "route 1: path a: echo",
        "other calls: echo + record",
        "offered: tape",
    ]
    assert list(told(Settings(processors=ECHO))) == ["every call: echo"]
    assert list(told(routed(route()))) == ["route 1: every call: echo"]


@pytest.mark.parametrize(
    ("settings", "lines"),
    [
        (Settings(), ["no processor is set: calls will be silent"]),
        (
            Settings(offer=ECHO),
            ["no processor is set: calls will be silent, but for those that select one"],
        ),
        (routed(route(path="a")), ["no processor is set: calls that no route fits will be silent"]),
        (
            routed(route(path="a", processors=()), processors=ECHO),
            ["route 1 has no processor: its calls will be silent"],
        ),
        (routed(route(path="a"), route()), []),
        (Settings(processors=ECHO), []),
    ],
)
def test_silences(settings: Settings, lines: list[str]) -> None:
    """Calls that nobody would answer are told of before they come."""
    assert list(silences(settings)) == lines
