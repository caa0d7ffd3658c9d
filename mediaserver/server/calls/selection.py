"""Which processors a call gets."""

from __future__ import annotations

from typing import Any

import msgspec

from mediaserver.processors.discovery import find
from mediaserver.processors.parameters import bind
from mediaserver.processors.spec import Spec
from mediaserver.server.calls.audio.formats import (
    check_settings,
)
from mediaserver.settings import Settings


class Chosen(msgspec.Struct, frozen=True):
    """A processor for one call, its parameters bound."""

    spec: Spec
    parameters: dict[str, Any]


def load_processors(settings: Settings) -> dict[str, Spec]:
    """Find every processor now, and check its parameters, so that no call fails on them.

    Raises:
        ConfigurationError: one cannot be used, or another setting is wrong.
    """
    check_settings(settings)
    specs: dict[str, Spec] = {}
    for setting in (*settings.processors, *settings.offer):
        spec = specs[setting.name] = find(setting.name)
        bind(spec, setting.parameters)
    return specs
