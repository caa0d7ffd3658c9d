"""How settings name processors, and choose them for calls."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import parse_qs

import msgspec
from msgspec import Meta

from mediaserver.conversion import WrongValueError

Text = Annotated[str, Meta(min_length=1)]

if TYPE_CHECKING:
    Named = str | Callable[..., Any]
else:
    Named = Text  # what a file or a flag may hold; a program may give more


class ProcessorSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One processor of the chain.

    Attributes:
        name: built-in, entry point, ``module:attribute`` or ``file.py:attribute``; from a
            program also the handler or ``Filter`` class itself.
        parameters: its typed parameters.
        allow: parameters that a call may set as custom parameter ``param_<name>``.
        alias: what a call selects it by; ``name`` if empty.
        isolate: ``process`` runs it, and the chain it is in, in a process apart; ``none`` leaves
            it here unless another one of its chain moves it; as the setting ``isolate`` says if
            not given.
    """

    def __repr__(self) -> str:
        """Without the values of its parameters: keys of services may be among them."""
        parts = [repr(name_of(self.name)), *(f"{name}=…" for name in self.parameters)]
        parts += [f"alias={self.alias!r}"] if self.alias else []
        return f"{type(self).__name__}({', '.join(parts)})"

    name: Named
    parameters: dict[str, Any] = {}
    allow: tuple[str, ...] = ()
    alias: str = ""
    isolate: Literal["process", "none"] | None = None

    @property
    def selected_by(self) -> str:
        """What a call selects it by."""
        return self.alias or name_of(self.name)

    @classmethod
    def parse(cls, text: str) -> ProcessorSetting:
        """From a flag: ``NAME`` or ``NAME?parameter=value&parameter=value``.

        A parameter that comes several times is a list.

        Raises:
            WrongValueError: there is no name.
        """
        name, _, query = text.partition("?")
        if not name.strip():
            raise WrongValueError((), "a processor without a name")
        given = parse_qs(query, keep_blank_values=True)
        return cls(name.strip(), {n: v[0] if len(v) == 1 else v for n, v in given.items()})


class RouteSetting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The chain of some calls: those for which all is true that is given here.

    Attributes:
        processors: the chain.
        path: the stream's URL ends in ``/media/`` and this name.
        to: the called number is one of these.
        parameters: the stream has these custom parameters, or its URL these parameters.
    """

    processors: tuple[ProcessorSetting, ...]
    path: Text | None = None
    to: tuple[Text, ...] | None = None
    parameters: dict[str, str] | None = None


def name_of(processor: str | Callable[..., Any]) -> str:
    """A processor's name, as logs and errors have it."""
    if isinstance(processor, str):
        return processor
    processor = without_partial(processor)
    return getattr(processor, "__name__", type(processor).__name__)


def without_partial(processor: Callable[..., Any]) -> Callable[..., Any]:
    """The function of a ``functools.partial``; anything else as it is."""
    while isinstance(processor, partial):
        processor = processor.func
    return processor
