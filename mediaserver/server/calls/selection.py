"""Which processors a call gets, and with what parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from mediaserver.errors import ConfigurationError
from mediaserver.observer import StreamRequest
from mediaserver.processors.discovery import find, is_isolated
from mediaserver.processors.parameters import bind, from_call
from mediaserver.processors.spec import Spec
from mediaserver.server.calls.audio.formats import Formats, check_settings
from mediaserver.settings import ProcessorSetting, Settings, name_of
from mediaserver.wire.messages import Start


class Chosen(msgspec.Struct, frozen=True):
    """A processor for one call, its parameters bound; those of an isolated one are bound there.

    Attributes:
        spec: what it is.
        parameters: keyword arguments.
        index: its number among those of the settings, ``offer`` behind ``processors``.
        isolated: it is to run in a process apart.
        outside: what the call sets of it.
    """

    spec: Spec
    parameters: dict[str, Any]
    index: int = 0
    isolated: bool = False
    outside: Mapping[str, str] = {}


def load_processors(settings: Settings) -> dict[object, Spec]:
    """Find every processor now, and check its parameters, so that no call fails on them.

    Raises:
        ConfigurationError: one cannot be used, or another setting is wrong.
    """
    check_settings(settings)
    specs: dict[object, Spec] = {}
    for setting in (*settings.processors, *settings.offer):
        if is_isolated(setting, settings):
            specs[setting.name] = Spec(name_of(setting.name), _elsewhere)
            continue
        spec = specs[setting.name] = find(setting.name)
        bind(spec, setting.parameters)
    return specs


def _elsewhere() -> None:
    """Stands for a processor that is loaded in another process."""
    raise AssertionError


def select(
    specs: Mapping[object, Spec], settings: Settings, start: Start, query: Mapping[str, str]
) -> list[Chosen]:
    """The call's chain: the one from the settings, or the processor it asks for.

    Raises:
        ConfigurationError: it asks for one that is not offered, or sets a parameter wrongly.
    """
    outside = {**query, **start.start.parameters}
    asked = start.start.parameters.get("processor") or query.get("processor")
    named = list(enumerate((*settings.processors, *settings.offer)))
    wanted = named[: len(settings.processors)]
    if asked:
        known = {setting.selected_by: (index, setting) for index, setting in named}
        if asked not in known:
            raise ConfigurationError(f"processor {asked!r} is not offered")
        wanted = [known[asked]]
    return [_choose(specs, settings, *each, outside) for each in wanted]


def _choose(
    specs: Mapping[object, Spec],
    settings: Settings,
    index: int,
    setting: ProcessorSetting,
    outside: Mapping[str, str],
) -> Chosen:
    spec = specs[setting.name]
    isolated = is_isolated(setting, settings) or (settings.isolate and not spec.tap)
    bound = {} if isolated else from_call(spec, setting.parameters, outside, setting.allow)
    return Chosen(spec, bound, index, isolated, outside)


def request_of(start: Start, query: Mapping[str, str], formats: Formats) -> StreamRequest:
    """What to ask for to have such a stream again."""
    outside = {**query, **start.start.parameters}
    return StreamRequest(
        formats.send_codec,
        formats.send_rate,
        formats.send_mode,
        outside.get("processor"),
        {n.removeprefix("param_"): v for n, v in outside.items() if n.startswith("param_")},
    )
