"""Which processors a call gets, and with what parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from mediaserver.conversion import KeyPath, WrongSettingError, did_you_mean
from mediaserver.errors import ConfigurationError
from mediaserver.observer import StreamRequest
from mediaserver.processors.discovery import find, is_isolated
from mediaserver.processors.parameters import ParameterError, bind, from_call
from mediaserver.processors.routing import Asked, check_routes, described, find_route
from mediaserver.processors.spec import Spec
from mediaserver.server.admission import MEDIA_PATH
from mediaserver.server.calls.audio.formats import Formats, check_settings
from mediaserver.settings import ProcessorSetting, Settings, name_of
from mediaserver.wire.messages import Start

PARAMETER_PREFIX = "param_"


class Chosen(msgspec.Struct, frozen=True):
    """A processor for one call, its parameters bound; those of an isolated one are bound there.

    Attributes:
        spec: what it is.
        parameters: keyword arguments.
        index: its number among those of ``Settings.named``.
        isolated: it is to run in a process apart.
        outside: what the call sets of it.
    """

    spec: Spec
    parameters: dict[str, Any]
    index: int = 0
    isolated: bool = False
    outside: Mapping[str, str] = {}

    @property
    def where(self) -> str:
        """File and line of a filter's ``process``; its name, where there is no such code."""
        code = getattr(getattr(self.spec.target, "process", None), "__code__", None)
        return self.spec.name if code is None else f"{code.co_filename}:{code.co_firstlineno}"


class Selection(msgspec.Struct, frozen=True):
    """The chain of one call.

    Attributes:
        chain: in order.
        route: what the route asks for that it is from; empty: no route.
        matched: the parameters by which that route was found.
        ignored: parameters that the call set and may not, each with what was perhaps meant.
    """

    chain: list[Chosen]
    route: str
    matched: dict[str, str]
    ignored: list[tuple[str, str]]


def load_processors(settings: Settings) -> dict[object, Spec]:
    """Find every processor now, and check its parameters, so that no call fails on them.

    Raises:
        ConfigurationError: one cannot be used, or another setting is wrong.
    """
    check_settings(settings)
    check_routes(settings)
    specs: dict[object, Spec] = {}
    for path, setting in settings.named():
        if is_isolated(setting, settings):
            specs[setting.name] = Spec(name_of(setting.name), _elsewhere)
        else:
            specs[setting.name] = load(path, setting)
    return specs


def load(path: KeyPath, setting: ProcessorSetting) -> Spec:
    """The processor of a setting that stands at ``path``, its parameters checked.

    Raises:
        WrongSettingError: it cannot be used.
    """
    try:
        spec = find(setting.name)
        bind(spec, setting.parameters)
    except ParameterError as exc:
        inner = ("parameters", *exc.path) if exc.path else ()
        raise WrongSettingError((*path, *inner), exc.problem) from exc
    except ConfigurationError as exc:
        raise WrongSettingError(path, str(exc)) from exc
    if spec.is_batch and setting.allow:
        problem = f"{spec.name} is a batch processor: its parameters are the same for all calls"
        raise WrongSettingError((*path, "allow"), problem)
    return spec


def _elsewhere() -> None:
    """Stands for a processor that is loaded in another process."""
    raise AssertionError


def select(
    specs: Mapping[object, Spec],
    settings: Settings,
    start: Start,
    query: Mapping[str, str],
    path: str = MEDIA_PATH,
) -> Selection:
    """The call's chain: its route's, or the one for all; of it the processor it asks for.

    Raises:
        ConfigurationError: it asks for one that is not offered, or sets a parameter wrongly.
    """
    outside = {**query, **start.start.parameters}
    name = path.removeprefix(MEDIA_PATH).strip("/")
    route = find_route(settings.routes, Asked(name, start.start.to, outside))
    wanted = settings.processors if route is None else route.processors
    matched = dict(route.parameters or {}) if route is not None else {}
    asked = start.start.parameters.get("processor") or query.get("processor")
    if asked:
        known = {s.selected_by: s for s in (*wanted, *settings.offer)}
        if asked not in known:
            guess = did_you_mean(asked, known)
            raise ConfigurationError(f"processor {asked!r} is not offered{guess}")
        wanted = (known[asked],)
    return Selection(
        [_choose(specs, settings, setting, outside) for setting in wanted],
        "" if route is None else described(route, settings.numbers),
        matched,
        _ignored({*outside} - {*matched}, {name for s in wanted for name in s.allow}),
    )


def _choose(
    specs: Mapping[object, Spec],
    settings: Settings,
    setting: ProcessorSetting,
    outside: Mapping[str, str],
) -> Chosen:
    spec = specs[setting.name]
    isolated = is_isolated(setting, settings) or (settings.isolate and not spec.tap)
    bound = {} if isolated else from_call(spec, setting.parameters, outside, setting.allow)
    index = next(n for n, (_, each) in enumerate(settings.named()) if each is setting)
    return Chosen(spec, bound, index, isolated, outside)


def _ignored(outside: set[str], allowed: set[str]) -> list[tuple[str, str]]:
    """Parameters for processors that may not be set from outside, and the name perhaps meant."""
    names = (n.removeprefix(PARAMETER_PREFIX) for n in outside if n.startswith(PARAMETER_PREFIX))
    return [(n, did_you_mean(n, allowed)) for n in sorted(names) if n not in allowed]


def request_of(
    start: Start,
    query: Mapping[str, str],
    formats: Formats,
    path: str = MEDIA_PATH,
    matched: Mapping[str, str] | None = None,
) -> StreamRequest:
    """What to ask for to have such a stream again."""
    outside = {**query, **start.start.parameters}
    return StreamRequest(
        formats.send_codec,
        formats.send_rate,
        formats.send_mode,
        outside.get("processor"),
        {
            n.removeprefix(PARAMETER_PREFIX): v
            for n, v in outside.items()
            if n.startswith(PARAMETER_PREFIX)
        },
        path.removeprefix(MEDIA_PATH).strip("/"),
        {n: v for n, v in (matched or {}).items() if not _is_told(n)},
    )


def _is_told(name: str) -> bool:
    """A parameter that the request has in another field."""
    return name in ("send_codec", "send_rate") or name.startswith(PARAMETER_PREFIX)
