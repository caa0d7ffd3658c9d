"""The tree of exceptions in ``errors.py`` is the one of the code."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator

import mediaserver
from mediaserver import errors

LINE = re.compile(r"^( +)(\w+)(?: (\*|\(\w+\)))? +\S", re.MULTILINE)


def classes() -> Iterator[type[BaseException]]:
    """Every exception that a module of the package defines, but for private ones."""
    for found in pkgutil.walk_packages(mediaserver.__path__, "mediaserver."):
        if found.name.endswith("__main__"):
            continue
        for value in vars(importlib.import_module(found.name)).values():
            is_class = isinstance(value, type) and issubclass(value, BaseException)
            if is_class and value.__module__ == found.name and not value.__name__.startswith("_"):
                yield value


def said() -> tuple[dict[str, str | None], set[str], set[str]]:
    """The docstring: each error's parent, those outside of the tree, and those marked public."""
    assert errors.__doc__ is not None
    tree, outside = errors.__doc__.split("Outside of it")
    parents: dict[str, str | None] = {}
    public, above = set(), [""] * 8
    for spaces, name, mark in LINE.findall(tree):
        depth = len(spaces) // 4
        above[depth] = name
        parents[name] = above[depth - 1] or None
        if mark == "*":
            public.add(name)
    return parents, {f"{name} {base}" for _, name, base in LINE.findall(outside)}, public


def test_the_tree_is_whole() -> None:
    """Each error of the package stands below its parent; what is not under the root is named."""
    parents, outside, _ = said()
    ours, others = {}, set()
    for each in classes():
        if issubclass(each, errors.MediaServerError):
            is_root = each is errors.MediaServerError
            ours[each.__name__] = None if is_root else each.__bases__[0].__name__
        else:
            others.add(f"{each.__name__} ({each.__bases__[0].__name__})")
    assert parents == ours
    assert outside == others


def test_the_public_ones_are_marked() -> None:
    """The star stands beside those that ``mediaserver`` gives, and beside no others."""
    parents, _, public = said()
    assert public == {name for name in parents if name in mediaserver.__all__}
