"""Settings: flags over environment over TOML file over defaults."""

from mediaserver.settings.loading import CARRIER_TABLE, LOADER, load
from mediaserver.settings.processors import (
    ProcessorSetting,
    RouteSetting,
    name_of,
    without_partial,
)
from mediaserver.settings.server import SECRETS, Settings

__all__ = [
    "CARRIER_TABLE",
    "LOADER",
    "SECRETS",
    "ProcessorSetting",
    "RouteSetting",
    "Settings",
    "load",
    "name_of",
    "without_partial",
]
