"""Values as people write them: made into types, or described."""

from __future__ import annotations

import contextlib
import enum
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from mediaserver.conversion import WrongSettingError, WrongValueError, convert, did_you_mean


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    size: Annotated[int, Meta(gt=0, lt=9)] = 1
    on: bool = False


class Needy(msgspec.Struct, frozen=True):
    name: str


class Room:
    """A type that only its own constructor knows."""

    def __init__(self, text: str) -> None:
        if text != "blue":
            raise ValueError("there is only the blue one")
        self.text = text


@pytest.mark.parametrize(
    ("value", "kind", "made"),
    [
        ("5", int, 5),
        ("yes", bool, True),
        ("OFF", bool | None, False),
        ("null", bool | None, None),
        ("null", str | None, None),
        ("null", str, "null"),
        ("yes", bool | str, "yes"),
        ("a, b", list[str], ["a", "b"]),
        ("a,b", str | list[str], "a,b"),
        ("", tuple[int, ...], ()),
        ("1,2", set[int], {1, 2}),
        ("1,2", frozenset[int], frozenset({1, 2})),
        ("1,yes", tuple[int, bool], (1, True)),
        (("1", "2"), list[int], [1, 2]),
        ({"size": "2", "on": "yes"}, Inner, Inner(2, True)),
        ({"a": "yes"}, dict[str, bool], {"a": True}),
        ([{"on": "no"}], list[Inner], [Inner()]),
        ("on", Annotated[bool, Meta(extra_json_schema={"about": "it"})], True),
        ("red", Colour, Colour.RED),
        ("x", Any, "x"),
    ],
)
def test_values_become_the_type(value: Any, kind: Any, made: Any) -> None:
    """Text is read as the type asks for it, at any depth."""
    assert convert(value, kind) == made


@pytest.mark.parametrize(
    ("value", "kind", "line"),
    [
        ("x", int, "expected a whole number, not 'x'"),
        ("x", float | None, "expected a number or null, not 'x'"),
        (-1, Annotated[float, Meta(ge=0)], "expected a number of at least 0, not -1"),
        (
            "0",
            Annotated[int, Meta(gt=0, lt=9)],
            "expected a whole number above 0 and below 9, not '0'",
        ),
        (8, Annotated[int, Meta(le=7)], "expected a whole number of at most 7, not 8"),
        ("x", bool, "expected yes or no, not 'x'"),
        (None, bool, "expected yes or no, not null"),
        (True, str, "expected text, not true"),
        ("", Annotated[str, Meta(min_length=1)], "expected text that is not empty, not ''"),
        (
            "abc",
            Annotated[str, Meta(max_length=2)],
            "expected text of 0 to 2 characters, not 'abc'",
        ),
        ("x", Literal["a", "b", "c"], "expected a, b or c, not 'x'"),
        ("x", Literal["a"], "expected a, not 'x'"),
        ("x", Colour, "expected red or blue, not 'x'"),
        (5, list[int], "expected a list, not 5"),
        ("x" * 99, int, "expected a whole number, not text"),
        ("a,1", list[int], "[0]: expected a whole number, not 'a'"),
        ("1,x", tuple[int, bool], "[1]: expected yes or no, not 'x'"),
        ("1", tuple[int, bool], "expected a list of 2, not of 1"),
        ({"a": "x"}, dict[str, int], "a value in it: expected a whole number"),
        ([1], dict[str, int], "expected a table, not a list"),
        ({}, list[Inner], "expected a list of tables ([[…]]), not a table"),
        (
            [{"size": 9}],
            list[Inner],
            "[0].size: expected a whole number above 0 and below 9, not 9",
        ),
        ({"siz": 9}, Inner, "siz: unknown key; did you mean 'size'?"),
        ({"colour": 9}, Inner | None, "colour: unknown key"),
        ([{}], list[Needy], "[0]: the key 'name' is missing"),
        ("x", bytes, "expected a value of type bytes, not 'x'"),
        ("red", Room, "expected a value for Room: there is only the blue one"),
        (Room("blue"), int, "expected a whole number, not a Room"),
    ],
)
def test_what_does_not_fit_is_described(value: Any, kind: Any, line: str) -> None:
    """What was expected, what came, and where in it."""
    with pytest.raises(WrongValueError) as caught:
        convert(value, kind)
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("value", "kind", "line"),
    [
        ("canary", int, "expected a whole number, not text"),
        ("", int, "expected a whole number, not empty text"),
        (True, int, "expected a whole number, not true or false"),
        (7.5, str, "expected text, not a number"),
        ("canary", Room, "expected a value for Room, not text"),
        (["canary"], list[int], "[0]: expected a whole number, not text"),
    ],
)
def test_a_secret_is_not_quoted(value: Any, kind: Any, line: str) -> None:
    """Only what kind of value it is."""
    with pytest.raises(WrongValueError) as caught:
        convert(value, kind, secret=True)
    assert str(caught.value) == line


def test_a_type_of_its_own_is_made_or_left_alone() -> None:
    """By calling it with the value, unless that is one already."""
    room = convert("blue", Room)
    assert room.text == "blue"
    assert convert(room, Room) is room


def test_a_type_that_is_not_understood_is_named() -> None:
    """Then it is the type that is wrong, not the value."""
    with pytest.raises(WrongValueError, match=r"type `.*Inner \| .*Needy` is not supported"):
        convert("x", Inner | Needy)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_any_value_fits_or_is_described(value: Any) -> None:
    """Whatever a file holds, no other error comes out."""
    for kind in (int, bool, list[bool], Inner, list[Inner], dict[str, int], Literal["a", "b"]):
        with contextlib.suppress(WrongValueError):
            convert(value, kind)


def test_the_nearest_name_is_guessed() -> None:
    """Only if there is a near one; what all begin with is left out of the comparison."""
    assert did_you_mean("prot", ["host", "port"]) == "; did you mean 'port'?"
    assert did_you_mean("PROT", ["HOST", "PORT"], "X_") == "; did you mean 'X_PORT'?"
    assert did_you_mean("colour", ["host", "port"]) == ""


def test_a_wrong_setting_says_where_it_is_written() -> None:
    """Where that is known."""
    assert str(WrongSettingError(("port",), "too big", "--port")) == (
        "wrong setting port (--port): too big"
    )
    assert str(WrongSettingError(("a", 0), "odd")) == "wrong setting a[0]: odd"


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (dict[str, int], {"a": "x"}),
        (tuple[int, str], [1, 2]),
        (tuple[int, str], [1]),
        (None, 3),
        (bytes, 3),
        (int | None, "x"),
    ],
)
def test_every_kind_of_type_has_its_words(kind: Any, value: Any) -> None:
    """Inner types, null and what has no word of its own."""
    with pytest.raises(WrongValueError) as caught:
        convert(value, kind)
    assert "expected" in str(caught.value)
