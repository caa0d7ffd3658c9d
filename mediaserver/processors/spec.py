"""A processor that was found. Pure."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import msgspec

from mediaserver.processors.api import Filter


class Spec(msgspec.Struct, frozen=True):
    """A processor that was found: what to make for each call.

    Attributes:
        name: as given in settings.
        target: the handler coroutine function or the ``Filter`` class.
        rate: frames are resampled to it, in Hz; None leaves them.
        requires: importable packages it needs.
        tap: it only listens, and stays in the server's process where its chain is isolated.
    """

    name: str
    target: Callable[..., Any]
    rate: int | None = None
    requires: tuple[str, ...] = ()
    tap: bool = False

    @property
    def is_filter(self) -> bool:
        """A ``Filter`` class; else a handler."""
        return isinstance(self.target, type)


def spec_of(name: str, target: object) -> Spec | None:
    """The processor ``target`` is, or None if it is none."""
    if isinstance(target, type):
        if issubclass(target, Filter) and target.process is not Filter.process:
            return Spec(name, target, target.rate, target.requires, target.tap)
        return None
    if inspect.iscoroutinefunction(target):
        return Spec(
            name,
            target,
            getattr(target, "mediaserver_rate", None),
            getattr(target, "mediaserver_requires", ()),
            getattr(target, "mediaserver_tap", False),
        )
    return None
