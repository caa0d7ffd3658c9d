"""How settings are written in files, variables and flags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mediaserver.conversion import WrongValueError
from mediaserver.errors import ConfigurationError
from mediaserver.settings.processors import ProcessorSetting
from mediaserver.settings.server import SECRETS, Settings
from mediaserver.sources import File, Loader, read_json

CARRIER_TABLE = "carrier"
"""The fake Telnyx's own table of the same file; see ``mediaserver carrier``."""


def _processors(written: Any) -> Any:
    """Of names, with commas between them or in a list, the processors; tables are left alone."""
    if isinstance(written, str):
        written = written.split(",")
    if isinstance(written, list):
        return [ProcessorSetting.parse(w) if isinstance(w, str) else w for w in written]
    return written


def _listed(written: Any) -> Any:
    """Of texts with commas between them, a list."""
    return [each.strip() for each in written.split(",")] if isinstance(written, str) else written


def _routes(written: Any) -> Any:
    """Routes, with the processors in each read as those of the settings are."""
    if not isinstance(written, list):
        return written
    return [
        {**each, "processors": _processors(each["processors"])}
        if isinstance(each, dict) and "processors" in each
        else each
        for each in written
    ]


def _log_config(written: Any) -> Any:
    """Of a file's name, what is in it; a table is left alone."""
    if not isinstance(written, str) or written == "null":
        return written
    path = Path(written)
    try:
        return read_json(path) if path.suffix == ".json" else dict(File.read(path).values)
    except ConfigurationError as exc:
        raise WrongValueError((), str(exc)) from exc


LOADER = Loader(
    kind=Settings,
    prefix="MEDIASERVER_",
    # Telnyx's own names for the two values its portal hands out.
    aliases={"api_key": "TELNYX_API_KEY", "public_keys": "TELNYX_PUBLIC_KEY"},
    others=(CARRIER_TABLE,),
    flags={"processors": "processor"},
    secrets=SECRETS,
    readers={
        "processors": _processors,
        "offer": _processors,
        "allowed_origins": _listed,
        "trusted_proxies": _listed,
        "media_sources": _listed,
        "fork_from": _listed,
        "routes": _routes,
        "log_config": _log_config,
    },
)
"""How the server's settings are written."""

load = LOADER.load
"""Settings from all their sources; see ``Loader.load``."""
