"""What a JSON value must look like, and what is wrong with one. Pure.

A shape is one of these:

- a type: ``str``, ``int`` (no boolean), ``float`` (any number), ``bool``, ``object`` (anything);
- a tuple of values: it is one of them;
- a list of one shape: a list of such;
- a dict: an object with these fields and no others; a name that ends in ``?`` may be missing;
- ``AnyOf``: one of several shapes; ``Check``: a function that says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pybase64

Shape = Any


class AnyOf:
    """Any of several shapes."""

    def __init__(self, *shapes: Shape) -> None:
        self.shapes = shapes


class Check:
    """A function that is given the value: it returns what is wrong, or None."""

    def __init__(self, judge: Callable[[Any], str | None]) -> None:
        self.judge = judge


def _base64(value: Any) -> str | None:
    try:
        octets = pybase64.b64decode(value, validate=True)
    except (ValueError, TypeError):
        return "is no base64"
    return None if octets and len(octets) % 2 == 0 else "is no 16 bit audio"


AUDIO = Check(_base64)
"""16 bit audio as base64."""


def problems(value: Any, shape: Shape, at: str = "") -> list[str]:
    """Return what is wrong with a value, a line each; ``at`` is its own name."""
    name = at or "it"
    match shape:
        case Check():
            wrong = shape.judge(value)
            return [f"{name} {wrong}"] if wrong else []
        case AnyOf():
            each_of = [problems(value, each, at) for each in shape.shapes]
            return [] if [] in each_of else min(reversed(each_of), key=len)
        case dict():
            return _fields(value, shape, at)
        case tuple():
            is_one = any(value == each and type(value) is type(each) for each in shape)
            return [] if is_one else [f"{name} is {value!r}, not one of {list(shape)}"]
        case [each]:
            if not isinstance(value, list):
                return [f"{name} is no list"]
            lines = (problems(one, each, f"{at}[{n}]") for n, one in enumerate(value))
            return [line for found in lines for line in found]
    wanted = (int, float) if shape is float else shape
    fits = isinstance(value, wanted) and not (isinstance(value, bool) and shape in (int, float))
    return [] if fits else [f"{name} is {type(value).__name__}, not {shape.__name__}"]


def _fields(value: Any, shape: Mapping[str, Shape], at: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{at or 'it'} is no object"]
    known = {name.removesuffix("?"): (each, name.endswith("?")) for name, each in shape.items()}
    place = f"{at}." if at else ""
    lines = [f"{place}{name} is unknown" for name in value if name not in known]
    for name, (each, is_optional) in known.items():
        if name in value:
            lines += problems(value[name], each, f"{place}{name}")
        elif not is_optional:
            lines.append(f"{place}{name} is missing")
    return lines
