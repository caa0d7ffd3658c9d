"""Which chain a call gets: the first route that fits, else the one for all calls. Pure.

A route fits a call if everything that it asks for is true: path, called number, parameters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from mediaserver.conversion import KeyPath, WrongSettingError
from mediaserver.settings import ProcessorSetting, RouteSetting, Settings, name_of

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]*")
_NUMBER = re.compile(r"\+?[0-9]{2,}")
_BETWEEN_DIGITS = re.compile(r"[\s().-]")
# What asks for something else: the token, and the choice of one processor.
_TAKEN = ("token", "processor")


class Asked(NamedTuple):
    """What routes look at in a call.

    Attributes:
        path: the name behind ``/media/``; empty: there is none.
        to: the called number.
        parameters: the stream's custom parameters, over those of its URL.
    """

    path: str
    to: str | None
    parameters: Mapping[str, str]


def find_route(routes: Sequence[RouteSetting], asked: Asked) -> RouteSetting | None:
    """The first route that fits; None: the call gets the chain for all."""
    return next((route for route in routes if _fits(route, asked)), None)


def described(route: RouteSetting, number: Callable[[str], str] = str) -> str:
    """What a route asks for, in one line: ``path support, bot=sales``.

    ``number`` says how a telephone number is written.
    """
    parts = [f"path {route.path}"] if route.path is not None else []
    parts += [f"to {' or '.join(map(number, route.to))}"] if route.to is not None else []
    parts += [f"{name}={value}" for name, value in (route.parameters or {}).items()]
    return ", ".join(parts) or "every call"


def told(settings: Settings, number: Callable[[str], str] = str) -> Iterator[str]:
    """Which calls get which chain, a line each, in the order in which routes are tried."""
    for n, route in enumerate(settings.routes, 1):
        yield f"route {n}: {described(route, number)}: {_chain(route.processors)}"
    calls = "other calls" if settings.routes else "every call"
    if not _takes_all(settings.routes):
        yield f"{calls}: {_chain(settings.processors)}"
    for each in settings.offer:
        yield f"offered: {each.selected_by}"


def silences(settings: Settings) -> Iterator[str]:
    """Which calls have no processor, and so will be silent; a line each."""
    for n, route in enumerate(settings.routes, 1):
        if not route.processors:
            yield f"route {n} has no processor: its calls will be silent"
    if settings.processors or _takes_all(settings.routes):
        return
    which = "calls that no route fits" if settings.routes else "calls"
    if settings.offer:
        yield f"no processor is set: {which} will be silent, but for those that select one"
    else:
        yield f"no processor is set: {which} will be silent"


def check_routes(settings: Settings) -> None:
    """Refuse routes that no call can ever get to.

    Raises:
        WrongSettingError: naming the route, and why.
    """
    for n, route in enumerate(settings.routes):
        _check_possible(("routes", n), route, settings)
        shadow = _shadow(settings.routes[:n], route)
        if shadow is not None:
            problem = (
                f"this route ({described(route)}) can never match: route {shadow + 1}"
                f" ({described(settings.routes[shadow])}) before it takes all its calls"
            )
            raise WrongSettingError(("routes", n), problem)


def _fits(route: RouteSetting, asked: Asked) -> bool:
    return (
        (route.path is None or route.path == asked.path)
        and (route.to is None or (asked.to is not None and _plain(asked.to) in _plains(route)))
        and all(asked.parameters.get(n) == v for n, v in (route.parameters or {}).items())
    )


def _check_possible(at: KeyPath, route: RouteSetting, settings: Settings) -> None:
    never = "this route can never match:"
    if route.path is not None:
        if not _NAME.fullmatch(route.path):
            problem = f"{never} expected one name of letters, digits and . _ ~ -, as in /media/NAME"
            raise WrongSettingError((*at, "path"), problem)
        if (settings.auth_token or "").partition("/")[0] == route.path:
            raise WrongSettingError(
                (*at, "path"), f"{never} the auth token begins with the same name"
            )
    if route.to is not None and not route.to:
        raise WrongSettingError((*at, "to"), f"{never} it names no number")
    for number in route.to or ():
        if not (_NUMBER.fullmatch(_BETWEEN_DIGITS.sub("", number)) or "@" in number):
            problem = f"{never} expected a number as +13125550100, or a SIP address"
            raise WrongSettingError((*at, "to"), problem)
    for name in route.parameters or {}:
        if name in _TAKEN:
            problem = f"{never} the parameter {name!r} has another meaning"
            raise WrongSettingError((*at, "parameters", name), problem)


def _shadow(earlier: Sequence[RouteSetting], route: RouteSetting) -> int | None:
    """Which earlier route leaves this one nothing; of several, the last that takes a number."""
    left = _plains(route)
    for n, each in enumerate(earlier):
        is_narrower = (each.path is not None and each.path != route.path) or not (
            (each.parameters or {}).items() <= (route.parameters or {}).items()
        )
        if is_narrower:
            continue
        if each.to is None:
            return n
        if route.to is not None:
            left -= _plains(each)
            if not left:
                return n
    return None


def _takes_all(routes: Sequence[RouteSetting]) -> bool:
    return any(r.path is None and r.to is None and not r.parameters for r in routes)


def _plains(route: RouteSetting) -> set[str]:
    return set(map(_plain, route.to or ()))


def _plain(number: str) -> str:
    """A number as it is compared: of digits alone, without what is put between them."""
    if "@" in number:
        return number.lower().removeprefix("sip:")
    return _BETWEEN_DIGITS.sub("", number).removeprefix("+")


def _chain(processors: Sequence[ProcessorSetting]) -> str:
    return " + ".join(name_of(each.name) for each in processors) or "no processor"
