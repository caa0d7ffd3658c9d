"""Values as people write them, made into typed ones, or what to say of them. Pure."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import inspect as kinds

from mediaserver.errors import ConfigurationError

KeyPath = tuple[str | int, ...]

_SPOKEN = {"yes": True, "on": True, "no": False, "off": False}
_LISTS = (kinds.ListType, kinds.VarTupleType, kinds.SetType, kinds.FrozenSetType)
_AT = re.compile(r" - at `\$(?P<path>.*)`$")
_UNKNOWN_KEY = re.compile(r"^Object contains unknown field `(.*?)`")
_MISSING_KEY = re.compile(r"^Object missing required field `(.*?)`")
MAX_SHOWN = 60


class WrongValueError(ConfigurationError):
    """A value that does not fit its type.

    Attributes:
        path: where in the value, from the outside in; empty: the value itself.
        problem: what is wrong, in words.
    """

    def __init__(self, path: KeyPath, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return f"{shown_path(self.path)}: {self.problem}" if self.path else self.problem


class WrongSettingError(ConfigurationError):
    """A setting that cannot be used.

    Attributes:
        path: where in the settings, from the outside in.
        problem: what is wrong, in words.
        where: the flag, variable, or file and line it is written in; empty: not known.
    """

    def __init__(self, path: KeyPath, problem: str, where: str = "") -> None:
        super().__init__(path, problem, where)
        self.path = path
        self.problem = problem
        self.where = where

    def __str__(self) -> str:
        where = f" ({self.where})" if self.where else ""
        return f"wrong setting {shown_path(self.path)}{where}: {self.problem}"


def convert(value: Any, kind: Any, *, secret: bool = False) -> Any:
    """``value`` as a ``kind``.

    Text becomes a number, a boolean (``yes``, ``no``, ``on``, ``off``, ``true``, ``false``,
    ``1``, ``0``), a list (``a,b``) or None (``null``), where the type asks for it.

    Args:
        value: what was written.
        kind: a type as annotated.
        secret: the value must not turn up in the error.

    Raises:
        WrongValueError: it does not fit.
    """
    try:
        info = kinds.type_info(kind)
    except TypeError:  # a type that msgspec does not describe
        info = kinds.AnyType()
    value = _read(value, info)
    try:
        return msgspec.convert(value, kind, strict=False, dec_hook=_construct)
    except (msgspec.ValidationError, ValueError, TypeError) as exc:
        raise _explained(str(exc), value, info, secret=secret) from exc


def _construct(kind: type, value: Any) -> Any:
    """Types msgspec does not know, such as ``Path``, are made from the value."""
    return value if isinstance(value, kind) else kind(value)


def _read(value: Any, info: kinds.Type) -> Any:
    """The value with its texts read as the booleans, lists and None that are meant."""
    match info:
        case kinds.Metadata(type=inner):
            return _read(value, inner)
        case kinds.UnionType(types=types):
            if value == "null" and any(isinstance(each, kinds.NoneType) for each in types):
                return None
            if any(isinstance(each, kinds.StrType) for each in types):
                return value
            for each in types:
                value = _read(value, each)
        case kinds.BoolType() if isinstance(value, str):
            return _SPOKEN.get(value.lower(), value)
        case kinds.StructType(fields=fields) if isinstance(value, dict):
            known = {each.encode_name: each.type for each in fields}
            return {k: _read(v, known.get(k, kinds.AnyType())) for k, v in value.items()}
        case kinds.DictType(value_type=inner) if isinstance(value, dict):
            return {k: _read(v, inner) for k, v in value.items()}
        case kinds.TupleType(item_types=items):
            return _read_list(value, items)
        case _ if isinstance(info, _LISTS):
            return _read_list(value, itertools.repeat(info.item_type))
    return value


def _read_list(value: Any, items: Iterable[kinds.Type]) -> Any:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",")] if value else []
    if not isinstance(value, list | tuple):
        return value
    given = itertools.chain(items, itertools.repeat(kinds.AnyType()))
    return [_read(each, item) for each, item in zip(value, given)]  # noqa: B905 (endless)


def _explained(said: str, value: Any, info: kinds.Type, *, secret: bool) -> WrongValueError:
    """What msgspec said, in words, and about the part of the value that is wrong."""
    path: KeyPath = ()
    if at := _AT.search(said):
        for key, index, some in re.findall(r"\.(\w+)|\[(\d+)\]|\[(\.\.\.)\]", at["path"]):
            if some:  # of a table, msgspec does not say which
                return WrongValueError(
                    path, f"a value in it: expected {expected(_inner(info, some))}"
                )
            step = key or int(index)
            path, value, info = (*path, step), _part(value, step), _inner(info, step)
    if missing := _MISSING_KEY.match(said):
        return WrongValueError(path, f"the key {missing[1]!r} is missing")
    if unknown := _UNKNOWN_KEY.match(said):
        known = [each.encode_name for each in getattr(_plain(info), "fields", ())]
        return WrongValueError((*path, unknown[1]), f"unknown key{did_you_mean(unknown[1], known)}")
    match _plain(info):
        case kinds.AnyType():  # the type itself is not understood
            return WrongValueError(path, _AT.sub("", said))
        case kinds.CustomType() if not secret:  # only its constructor knows why
            return WrongValueError(path, f"expected {expected(info)}: {_AT.sub('', said)}")
        case kinds.TupleType() if isinstance(value, list):
            return WrongValueError(path, f"expected {expected(info)}, not of {len(value)}")
    got = type_in_words(value) if secret else shown(value)
    return WrongValueError(path, f"expected {expected(info)}, not {got}")


def _part(value: Any, step: str | int) -> Any:
    try:
        return value[step]
    except (LookupError, TypeError):
        return value


def _plain(info: kinds.Type) -> kinds.Type:
    """The type without None and without extra annotations."""
    if isinstance(info, kinds.Metadata):
        return _plain(info.type)
    if isinstance(info, kinds.UnionType):
        some = [each for each in info.types if not isinstance(each, kinds.NoneType)]
        return _plain(some[0]) if len(some) == 1 else info
    return info


def _inner(info: kinds.Type, step: str | int) -> kinds.Type:
    """The type of a key's or an item's value."""
    match _plain(info):
        case kinds.StructType(fields=fields):
            return next((f.type for f in fields if f.encode_name == step), kinds.AnyType())
        case kinds.DictType(value_type=inner):
            return inner
        case kinds.TupleType(item_types=items) if isinstance(step, int) and step < len(items):
            return items[step]
        case plain if isinstance(plain, _LISTS):
            return plain.item_type
    return kinds.AnyType()


def expected(info: kinds.Type) -> str:
    """What a type takes, in words: "a whole number from 0 to 65535"."""
    match info:
        case kinds.Metadata(type=inner):
            return expected(inner)
        case kinds.UnionType(types=types):
            some = sorted(types, key=lambda each: isinstance(each, kinds.NoneType))
            return " or ".join(map(expected, some))
        case kinds.NoneType():
            return "null"
        case kinds.BoolType():
            return "yes or no"
        case kinds.IntType():
            return "a whole number" + _range(info)
        case kinds.FloatType():
            return "a number" + _range(info)
        case kinds.StrType():
            return "text" + _length(info)
        case kinds.LiteralType(values=values):
            return choices(values)
        case kinds.EnumType(cls=cls):
            return choices(each.value for each in cls)
        case kinds.StructType() | kinds.DictType():
            return "a table"
        case kinds.CustomType(cls=cls):
            return f"a value for {cls.__name__}"
        case _ if isinstance(info, _LISTS):
            plural = isinstance(_plain(info.item_type), kinds.StructType)
            return "a list of tables ([[…]])" if plural else "a list"
        case kinds.TupleType(item_types=items):
            return f"a list of {len(items)}"
    return f"a value of type {type(info).__name__.removesuffix('Type').lower()}"


def _range(info: kinds.IntType | kinds.FloatType) -> str:
    if info.ge is not None and info.le is not None:
        return f" from {info.ge:g} to {info.le:g}"
    bounds = {
        "of at least": info.ge,
        "above": info.gt,
        "of at most": info.le,
        "below": info.lt,
    }
    parts = [f" {words} {bound:g}" for words, bound in bounds.items() if bound is not None]
    return " and".join(parts)


def _length(info: kinds.StrType) -> str:
    least, most = info.min_length or 0, info.max_length
    if most is not None:
        return f" of {least} to {most} characters"
    return " that is not empty" if least else ""


def choices(values: Iterable[object]) -> str:
    """Values to choose from: "debug, info or error"."""
    *others, last = map(str, values)
    return f"{', '.join(others)} or {last}" if others else last


def shown(value: object) -> str:
    """A value as it may be quoted: short ones as written, of others what they are."""
    if isinstance(value, bool | None):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str | int | float) and len(repr(value)) <= MAX_SHOWN:
        return repr(value)
    return type_in_words(value)


def type_in_words(value: object) -> str:
    """What a value is: "text", "a list"."""
    match value:
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text" if value else "empty text"
        case Mapping():
            return "a table"
        case list() | tuple():
            return "a list"
    return f"a {type(value).__name__}"


def shown_path(path: KeyPath) -> str:
    """A path as code would write it: ``processors[1].name``."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return "".join(steps).removeprefix(".")


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """The known name that was probably meant, as the end of a message; or nothing.

    ``prefix`` is put before it: names that all begin alike are compared without that.
    """
    alike = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), list(alike), 1)
    return f"; did you mean {prefix + alike[near[0]]!r}?" if near else ""
