"""From a name in the settings to a processor.

Names come from settings only: what a call says may select among the processors
already named there (``server`` checks that), never a module or a file.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import pickle
import sys
import zlib
from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from mediaserver.errors import ConfigurationError
from mediaserver.interrupts import is_operators
from mediaserver.logs import LimitedLog
from mediaserver.processors.parameters import check_signature
from mediaserver.processors.spec import Spec, check_rate, spec_of
from mediaserver.settings import ProcessorSetting, Settings, name_of, without_partial

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

GROUP = "mediaserver.processors"
# Where the processors are that come with the package: entry points too, in pyproject.toml.
_OURS = "mediaserver.processors.builtin."


def find(processor: str | Callable[..., Any]) -> Spec:
    """The processor called so.

    Args:
        processor: an entry point of the group ``mediaserver.processors`` (``echo`` and
            ``record`` are such), ``module:attribute`` or ``file.py:attribute``; or the
            processor itself.

    Raises:
        ConfigurationError: no such processor, it cannot be imported, it is none, or no call could
            have it run.
    """
    name = name_of(processor)
    spec = spec_of(name, _load(processor) if isinstance(processor, str) else processor)
    if spec is None:
        raise ConfigurationError(
            f"processor {name}: neither an async function nor a Filter or BatchProcessor"
            " with process()"
        )
    for package in spec.requires:
        if importlib.util.find_spec(package) is None:
            raise ConfigurationError(f"processor {name}: needs the package {package!r}")
    check_rate(name, spec.rate)
    check_signature(spec)
    return spec


def check_importable(processor: str | Callable[..., Any]) -> None:
    """Refuse a function or class that another process cannot import.

    Raises:
        ConfigurationError: it is not at the top level of a module that can be imported.
    """
    if isinstance(processor, str):
        return
    module = getattr(without_partial(processor), "__module__", None) or ""
    try:
        pickle.dumps(processor)
        importable = module != "__main__" and _can_be_found(module.partition(".")[0])
    except (pickle.PickleError, TypeError, AttributeError):
        importable = False
    if not importable:
        raise ConfigurationError(
            f"processor {name_of(processor)}: another process cannot import it; define it at the"
            " top level of a module other than the program itself, or use neither workers nor"
            " isolation"
        )


def _is_found(path: Path) -> bool:
    """Whether an import by the file's name finds this very file."""
    if not path.stem.isidentifier():
        return False
    try:
        spec = importlib.util.find_spec(path.stem)
    except ValueError:  # of a module that is being run
        return False
    return spec is not None and spec.origin is not None and Path(spec.origin).resolve() == path


def is_isolated(setting: ProcessorSetting, settings: Settings) -> bool:
    """Whether it runs in a process apart, and is loaded nowhere else."""
    if setting.isolate is not None:
        return setting.isolate == "process"
    # What comes with the package does no harm where it is loaded, and some of it listens only.
    return settings.isolate and not _is_ours(setting.name)


def _can_be_found(package: str) -> bool:
    """Whether an import would find it, were it not loaded already."""
    return any(finder.find_spec(package, None) for finder in sys.meta_path)


def names() -> list[str]:
    """Installed processors, those of the package itself among them."""
    return sorted(_installed())


@cache  # read from files; a package that is installed later is found by the next process
def _installed() -> dict[str, list[EntryPoint]]:
    """Entry points by name; more than one where several packages use the same name."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        found.setdefault(point.name, []).append(point)
    return found


def _is_ours(name: str | Callable[..., Any]) -> bool:
    """Whether this is the name of a processor that comes with the package."""
    points = _installed().get(name, []) if isinstance(name, str) else []
    return bool(points) and all(point.value.startswith(_OURS) for point in points)


def _place_of(name: str) -> str:
    """Where the installed processor of that name is; the name itself if there is none.

    Raises:
        ConfigurationError: several packages bring one of that name.
    """
    points = _installed().get(name, [])
    values = sorted({point.value for point in points})
    if len(values) > 1:
        raise ConfigurationError(
            f"processor {name}: several packages bring it; take one of {', '.join(values)}"
        )
    return values[0] if values else name


def _load(name: str) -> object:
    place, _, attribute = _place_of(name).rpartition(":")
    if not place or not attribute:
        raise ConfigurationError(
            f"unknown processor {name!r} (there are: {', '.join(names())};"
            " or module:attribute, or file.py:attribute)"
        )
    try:
        module = _module_of_file(Path(place)) if place.endswith(".py") else _module(place)
    # The border to foreign code: whatever it raises is its fault, also that it wants to exit.
    except BaseException as exc:
        if is_operators(exc):
            raise
        said = f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
        raise ConfigurationError(f"processor {name}: {said}") from exc
    found: object = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise ConfigurationError(f"processor {name}: {place} has no {attribute!r}")
    return found


def _module(place: str) -> object:
    if "" not in sys.path:
        _search(Path.cwd())  # as `python -m` would
    return importlib.import_module(place)


def _search(folder: Path) -> None:
    """Have modules looked for in a folder too, behind all others."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
        importlib.invalidate_caches()


def _module_of_file(path: Path) -> object:
    """The module in a file, by the name under which a process of its own finds it too.

    Its folder is searched for modules, as where Python runs a file: so it may import what lies
    beside it, and a process that it starts (``ProcessPoolExecutor``) can import it. Where its
    name is that of another module already, it gets one that only this process knows.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    path = path.resolve()
    _search(path.parent)
    if _is_found(path):
        return importlib.import_module(path.stem)
    name = f"{path.stem}_{zlib.crc32(os.fsencode(path)):08x}"
    if name in sys.modules:
        return sys.modules[name]
    limited.each(
        logging.WARNING,
        "module names taken",
        "%s: there is another module %r: processes that it starts cannot import it, unless the"
        " file is renamed",
        path,
        path.stem,
    )
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
