"""A processor that was found. Pure."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import msgspec

from mediaserver.errors import ConfigurationError
from mediaserver.processors.api import Filter
from mediaserver.processors.batch import BatchProcessor
from telephony_codecs import RESAMPLE_RATES_HZ


class Spec(msgspec.Struct, frozen=True):
    """A processor that was found: what to make for each call.

    Attributes:
        name: as given in settings.
        target: the handler coroutine function, or the ``Filter`` or ``BatchProcessor`` class.
        rate: frames are resampled to it, in Hz; None leaves them.
        requires: importable packages it needs.
        tap: it only listens, and stays in the server's process where its chain is isolated.
        history_s: seconds of frames that are kept for it.
    """

    name: str
    target: Callable[..., Any]
    rate: int | None = None
    requires: tuple[str, ...] = ()
    tap: bool = False
    history_s: float = 0.0

    @property
    def is_filter(self) -> bool:
        """A ``Filter`` class."""
        return isinstance(self.target, type) and issubclass(self.target, Filter)

    @property
    def is_batch(self) -> bool:
        """A ``BatchProcessor`` class: one instance hears all calls of its process."""
        return isinstance(self.target, type) and issubclass(self.target, BatchProcessor)

    @property
    def kind(self) -> str:
        """Its form, in a word."""
        return "filter" if self.is_filter else "batch" if self.is_batch else "handler"


def spec_of(name: str, target: object) -> Spec | None:
    """The processor ``target`` is, or None if it is none."""
    if isinstance(target, type):
        if issubclass(target, Filter) and target.process is not Filter.process:
            return Spec(name, target, target.rate, target.requires, target.tap)
        if issubclass(target, BatchProcessor) and target.process is not BatchProcessor.process:
            # It only listens, and one instance is to hear all calls of a process.
            return Spec(name, target, None, target.requires, tap=True)
        return None
    if inspect.iscoroutinefunction(target):
        return Spec(
            name,
            target,
            getattr(target, "mediaserver_rate", None),
            getattr(target, "mediaserver_requires", ()),
            getattr(target, "mediaserver_tap", False),
            getattr(target, "mediaserver_history_s", 0.0),
        )
    return None


def check_rate(name: str, rate: object) -> None:
    """Refuse a rate to which no frame can be resampled; None leaves them as they are.

    Raises:
        ConfigurationError: it is none of ``RESAMPLE_RATES_HZ``.
    """
    if rate is not None and not (isinstance(rate, int) and rate in RESAMPLE_RATES_HZ):
        rates = ", ".join(map(str, RESAMPLE_RATES_HZ))
        raise ConfigurationError(f"processor {name}: rate is one of {rates}, not {rate!r}")
