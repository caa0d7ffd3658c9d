from __future__ import annotations

from typing import Any

import pytest

from mediaserver.testing.shapes import AUDIO, AnyOf, problems

SHAPE = {
    "type": ("a", "b"),
    "n": int,
    "x?": float,
    "flag?": bool,
    "inner?": {"list": [str]},
    "either?": AnyOf((None,), {"y": int}),
    "all?": object,
}
GOOD = {"type": "a", "n": 1}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"x": 1, "flag": False, "all": [1, {}]},
        {"x": 1.5, "inner": {"list": ["p", "q"]}},
        {"either": None},
        {"either": {"y": 2}},
    ],
)
def test_what_fits_has_no_problems(more: dict[str, Any]) -> None:
    """Optional fields may be there."""
    assert problems({**GOOD, **more}, SHAPE) == []


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ([], ["it is no object"]),
        ({"type": "a"}, ["n is missing"]),
        ({**GOOD, "type": "c"}, ["type is 'c', not one of ['a', 'b']"]),
        ({**GOOD, "n": True}, ["n is bool, not int"]),
        ({**GOOD, "n": 1.5}, ["n is float, not int"]),
        ({**GOOD, "x": True}, ["x is bool, not float"]),
        ({**GOOD, "z": 1}, ["z is unknown"]),
        ({**GOOD, "inner": {"list": "p"}}, ["inner.list is no list"]),
        ({**GOOD, "inner": {"list": ["p", 1]}}, ["inner.list[1] is int, not str"]),
        ({**GOOD, "either": {"y": "z"}}, ["either.y is str, not int"]),
    ],
)
def test_each_problem_is_named(value: Any, found: list[str]) -> None:
    """With the place where it is."""
    assert problems(value, SHAPE) == found


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("AQD+/w==", []),
        ("AQ==", ["audio is no 16 bit audio"]),
        ("", ["audio is no 16 bit audio"]),
        ("AQ", ["audio is no base64"]),
        (1, ["audio is no base64"]),
    ],
)
def test_audio_is_sixteen_bits_in_base64(value: Any, found: list[str]) -> None:
    """Whole samples, and at least one."""
    assert problems(value, AUDIO, "audio") == found
