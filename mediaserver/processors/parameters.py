"""A processor's typed parameters, filled from settings and, where allowed, the call."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Collection, Mapping
from typing import Any, get_type_hints

from mediaserver.conversion import KeyPath, WrongValueError, convert, did_you_mean, shown_path
from mediaserver.errors import ConfigurationError
from mediaserver.processors.spec import Spec

# Processors whose parameters are known: they are asked for at each call's beginning.
KEPT = 256


class ParameterError(ConfigurationError):
    """A processor was given a wrong parameter.

    Attributes:
        path: which, and where in its value; empty: one is missing.
        problem: what is wrong, in words.
    """

    def __init__(self, path: KeyPath, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return self.problem


@functools.lru_cache(KEPT)
def parameters_of(spec: Spec) -> Mapping[str, inspect.Parameter]:
    """The processor's parameters by name, without the call itself."""
    found = list(inspect.signature(spec.target).parameters.values())
    found = found if spec.is_batch else found[1:]
    return {p.name: p for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def bind(
    spec: Spec, given: Mapping[str, Any], from_outside: Collection[str] = ()
) -> dict[str, Any]:
    """Keyword arguments for the processor, converted to the declared types.

    Values of parameters ``from_outside`` are not quoted in errors.

    Raises:
        ParameterError: unknown name, missing value, or a value of the wrong type.
    """
    known = parameters_of(spec)
    for name in given:
        if name not in known:
            names = ", ".join(known) or "none"
            guess = did_you_mean(name, known)
            problem = f"processor {spec.name}: unknown parameter {name!r} (it has: {names}){guess}"
            raise ParameterError((name,), problem)
    for name, parameter in known.items():
        if parameter.default is parameter.empty and name not in given:
            raise ParameterError((), f"processor {spec.name}: parameter {name!r} is missing")
    hints = _hints(spec)
    return {
        name: _convert(spec, name, value, hints.get(name), secret=name in from_outside)
        for name, value in given.items()
    }


def from_call(
    spec: Spec, given: Mapping[str, Any], custom: Mapping[str, str], allowed: Collection[str]
) -> dict[str, Any]:
    """Like ``bind``, with the call's ``param_<name>`` values where they are allow-listed."""
    outside = {n: custom[f"param_{n}"] for n in allowed if f"param_{n}" in custom}
    return bind(spec, {**given, **outside}, outside)


def check_signature(spec: Spec) -> None:
    """Refuse a processor that cannot be made or run for a call.

    Raises:
        ConfigurationError: it does not take the call, or wants what nobody can give it by name.
    """
    signature = inspect.signature(spec.target)
    call = () if spec.is_batch else (None,)
    try:
        signature.bind_partial(*call)
    except TypeError as exc:
        raise ConfigurationError(
            f"processor {spec.name}: its first argument must be the call, not {signature}"
        ) from exc
    try:
        signature.bind(*call, **dict.fromkeys(parameters_of(spec)))
    except TypeError as exc:
        raise ConfigurationError(f"processor {spec.name}: cannot be called: {exc}") from exc


@functools.lru_cache(KEPT)
def _hints(spec: Spec) -> Mapping[str, Any]:
    is_class = spec.is_filter or spec.is_batch
    target = spec.target.__init__ if is_class else spec.target
    try:
        return get_type_hints(target, include_extras=True)
    except (NameError, TypeError):  # a name only a type checker knows: leave values alone
        return {}


def _convert(spec: Spec, name: str, value: Any, hint: Any, *, secret: bool) -> Any:
    if hint is None:
        return value
    try:
        return convert(value, hint, secret=secret)
    except WrongValueError as exc:
        path = (name, *exc.path)
        problem = f"processor {spec.name}: parameter {shown_path(path)!r}: {exc.problem}"
        raise ParameterError(path, problem) from exc
