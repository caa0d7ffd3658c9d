"""Which processors a call gets, and with what parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from mediaserver.errors import ConfigurationError
from mediaserver.observer import StreamRequest
from mediaserver.processors.discovery import find
from mediaserver.processors.parameters import bind, from_call
from mediaserver.processors.spec import Spec
from mediaserver.server.calls.audio.formats import Formats, check_settings
from mediaserver.settings import Settings
from mediaserver.wire.messages import Start


class Chosen(msgspec.Struct, frozen=True):
    """A processor for one call, its parameters bound."""

    spec: Spec
    parameters: dict[str, Any]


def load_processors(settings: Settings) -> dict[object, Spec]:
    """Find every processor now, and check its parameters, so that no call fails on them.

    Raises:
        ConfigurationError: one cannot be used, or another setting is wrong.
    """
    check_settings(settings)
    specs: dict[object, Spec] = {}
    for setting in (*settings.processors, *settings.offer):
        spec = specs[setting.name] = find(setting.name)
        bind(spec, setting.parameters)
    return specs


def select(
    specs: Mapping[object, Spec], settings: Settings, start: Start, query: Mapping[str, str]
) -> list[Chosen]:
    """The call's chain: the one from the settings, or the processor it asks for.

    Raises:
        ConfigurationError: it asks for one that is not offered, or sets a parameter wrongly.
    """
    outside = {**query, **start.start.parameters}
    asked = start.start.parameters.get("processor") or query.get("processor")
    wanted = settings.processors
    if asked:
        known = {s.selected_by: s for s in (*wanted, *settings.offer)}
        if asked not in known:
            raise ConfigurationError(f"processor {asked!r} is not offered")
        wanted = (known[asked],)
    return [
        Chosen(specs[s.name], from_call(specs[s.name], s.parameters, outside, s.allow))
        for s in wanted
    ]


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
