"""From a name in the settings to a processor.

Names come from settings only: what a call says may select among the processors
already named there (``server`` checks that), never a module or a file.
"""

from __future__ import annotations

import importlib
import importlib.util
import pickle
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from mediaserver.errors import ConfigurationError
from mediaserver.processors.spec import Spec, spec_of
from mediaserver.settings import name_of

GROUP = "mediaserver.processors"
BUILT_IN = {
    "echo": "mediaserver.processors.builtin.echo:Echo",
    "record": "mediaserver.processors.builtin.record:record",
}


def find(processor: str | Callable[..., Any]) -> Spec:
    """The processor called so.

    Args:
        processor: a built-in, an entry point of the group ``mediaserver.processors``,
            ``module:attribute`` or ``file.py:attribute``; or the processor itself.

    Raises:
        ConfigurationError: no such processor, it cannot be imported, or it is none.
    """
    name = name_of(processor)
    spec = spec_of(name, _load(processor) if isinstance(processor, str) else processor)
    if spec is None:
        raise ConfigurationError(
            f"processor {name}: neither an async function nor a Filter with process()"
        )
    for package in spec.requires:
        if importlib.util.find_spec(package) is None:
            raise ConfigurationError(f"processor {name}: needs the package {package!r}")
    return spec


def check_importable(processor: str | Callable[..., Any]) -> None:
    """Refuse a function or class that another process cannot import.

    Raises:
        ConfigurationError: it is not at the top level of a module that can be imported.
    """
    if isinstance(processor, str):
        return
    module = getattr(processor, "__module__", None) or ""
    try:
        pickle.dumps(processor)
        importable = module != "__main__" and _can_be_found(module.partition(".")[0])
    except (pickle.PickleError, TypeError, AttributeError):
        importable = False
    if not importable:
        raise ConfigurationError(
            f"processor {name_of(processor)}: workers cannot import it; define it at the top"
            " level of a module other than the program itself, or set workers to 1"
        )


def _can_be_found(package: str) -> bool:
    """Whether an import would find it, were it not loaded already."""
    return any(finder.find_spec(package, None) for finder in sys.meta_path)


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
    except (
        Exception,
        SystemExit,
    ) as exc:  # the border to foreign code
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
