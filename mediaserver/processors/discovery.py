"""From a name in the settings to a processor.

Names come from settings only: what a call says may select among the processors
already named there (``server`` checks that), never a module or a file.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.metadata import entry_points
from pathlib import Path

from mediaserver.errors import ConfigurationError
from mediaserver.processors.spec import Spec, spec_of

GROUP = "mediaserver.processors"
BUILT_IN = {
    "echo": "mediaserver.processors.builtin.echo:Echo",
    "record": "mediaserver.processors.builtin.record:record",
}


def find(name: str) -> Spec:
    """The processor called ``name``.

    Args:
        name: a built-in, an entry point of the group ``mediaserver.processors``,
            ``module:attribute`` or ``file.py:attribute``.

    Raises:
        ConfigurationError: no such processor, it cannot be imported, or it is none.
    """
    spec = spec_of(name, _load(name))
    if spec is None:
        raise ConfigurationError(
            f"processor {name}: neither an async function nor a Filter with process()"
        )
    for package in spec.requires:
        if importlib.util.find_spec(package) is None:
            raise ConfigurationError(f"processor {name}: needs the package {package!r}")
    return spec


def names() -> list[str]:
    """Built-in and installed processors."""
    return sorted({*BUILT_IN, *(point.name for point in entry_points(group=GROUP))})


def _load(name: str) -> object:
    where = BUILT_IN.get(name)
    if where is None and ":" not in name:
        for point in entry_points(group=GROUP, name=name):
            where = point.value
    place, _, attribute = (where or name).rpartition(":")
    if not place or not attribute:
        raise ConfigurationError(
            f"unknown processor {name!r} (there are: {', '.join(names())};"
            " or module:attribute, or file.py:attribute)"
        )
    try:
        module = _module_of_file(Path(place)) if place.endswith(".py") else _module(place)
    except Exception as exc:  # the border to foreign code: whatever it raises is its fault
        raise ConfigurationError(f"processor {name}: {type(exc).__name__}: {exc}") from exc
    found: object = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise ConfigurationError(f"processor {name}: {place} has no {attribute!r}")
    return found


def _module(place: str) -> object:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # as `python -m` would
    return importlib.import_module(place)


def _module_of_file(path: Path) -> object:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    name = f"mediaserver_processor_{path.stem}_{abs(hash(path.resolve()))}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
