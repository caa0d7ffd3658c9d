"""Where settings are written: flags over environment over TOML file over defaults.

A program describes its own with a ``Loader``; the server's are in ``mediaserver.settings``.
"""

from __future__ import annotations

import inspect
import json
import logging
import math
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar, get_type_hints

import msgspec

from mediaserver.conversion import (
    KeyPath,
    WrongSettingError,
    WrongValueError,
    convert,
    did_you_mean,
    shown,
)
from mediaserver.errors import ConfigurationError

T = TypeVar("T", bound=msgspec.Struct)

CONFIG_VARIABLE = "MEDIASERVER_CONFIG"
"""The environment's word for ``--config``."""

logger = logging.getLogger(__name__)


def meanings(kind: type[msgspec.Struct]) -> dict[str, str]:
    """What the docstring of a settings class says of each: its help, in one line."""
    text = (inspect.getdoc(kind) or "").partition("Attributes:")[2]
    found = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", text, re.MULTILINE)
    return {name: re.sub(r"\s+", " ", said).rstrip(".") for name, said in found}


@dataclass(frozen=True)
class Given:
    """A value, and where it was written.

    Attributes:
        value: as written.
        where: names the place of the value, or of a part of it.
    """

    value: Any
    where: Callable[[KeyPath], str]


@dataclass(frozen=True)
class File:
    """A settings file: its text and what is in it."""

    path: Path
    text: str
    values: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> File:
        """Read it.

        Raises:
            ConfigurationError: it cannot be read, or is not TOML.
        """
        text = _text_of(path)
        try:
            return cls(path, text, tomllib.loads(text))
        except tomllib.TOMLDecodeError as exc:
            found = re.fullmatch(r"(.*) \(at (?:line (\d+).*|end of document)\)", str(exc))
            said, line = (found[1], found[2]) if found else (str(exc), None)
            where = f"{path}, line {line or len(text.splitlines())}"
            raise ConfigurationError(f"{where}: this is not TOML: {said}") from exc
        except (ValueError, RecursionError) as exc:
            # A number of thousands of digits, tables or lists in one another without end.
            raise ConfigurationError(f"cannot read {path}: a value in it is too large") from exc

    def where_in(self, base: KeyPath, path: KeyPath) -> str:
        """The place of a key below another one."""
        return self.where((*base, *path))

    def where(self, path: KeyPath) -> str:
        """The place of a key, with the line that its statement begins in.

        Of one that was read out of a text, or is left out, it is that of the key around it.
        """
        while path and not _has(self.values, path):
            path = path[:-1]
        lines = self.text.splitlines(keepends=True)
        begin = 0
        for n in range(1, len(lines) + 1):
            try:
                values = tomllib.loads("".join(lines[:n]))
            except tomllib.TOMLDecodeError:  # in the middle of a statement
                continue
            if _has(values, path):
                return f"{self.path}, line {begin + 1}"
            begin = n
        return str(self.path)


def read_json(path: Path) -> Any:
    """What is in a JSON file.

    Raises:
        ConfigurationError: it cannot be read, or is not JSON.
    """
    text = _text_of(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:
        line = f", line {exc.lineno}" if isinstance(exc, json.JSONDecodeError) else ""
        said = exc.msg if isinstance(exc, json.JSONDecodeError) else str(exc)
        raise ConfigurationError(f"{path}{line}: this is not JSON: {said}") from exc


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as exc:
        raise ConfigurationError(f"cannot read {path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigurationError(f"cannot read {path}: it is not UTF-8 text") from exc
    except ValueError as exc:  # a NUL in its name
        raise ConfigurationError(f"cannot read {str(path)!r}: {exc}") from exc


def _named(place: str, _: KeyPath) -> str:
    """A place that is the same for every part of a value."""
    return place


def _has(values: Any, path: KeyPath) -> bool:
    for step in path:
        try:
            values = values[step]
        except (LookupError, TypeError):
            return False
    return True


@dataclass(frozen=True, kw_only=True)
class Loader(Generic[T]):
    """The settings of one program, and how they are written.

    Attributes:
        kind: the settings, a frozen struct whose defaults are the settings' defaults.
        prefix: of the variables: ``MEDIASERVER_`` and a setting's name in capitals.
        aliases: other variables that are read for a setting if its own is not set.
        table: of the file, where it is not the file itself.
        others: tables that belong to other programs; so do the variables named like them.
        flags: settings whose flag is not their name.
        secrets: settings whose values are never quoted.
        readers: what else may be written for a setting, read as what its type says.
    """

    kind: type[T]
    prefix: str
    aliases: Mapping[str, str] = field(default_factory=dict)
    table: str = ""
    others: tuple[str, ...] = ()
    flags: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    readers: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)

    def load(
        self,
        flags: Mapping[str, Any],
        environment: Mapping[str, str],
        config: Path | None = None,
        warn: Callable[[str], object] = logger.warning,
    ) -> T:
        """Settings from all their sources.

        Args:
            flags: by field name; None means not given.
            environment: usually ``os.environ``.
            config: a TOML file; None: the one that ``MEDIASERVER_CONFIG`` names, if any.
            warn: is told of each variable that no setting has.

        Raises:
            ConfigurationError: an unreadable file, an unknown key, a wrong value.
        """
        given = self._given(flags, environment, config)
        for name in self._unknown(environment):
            known = [each.removeprefix(self.prefix) for each in self._variables()]
            guess = did_you_mean(name.removeprefix(self.prefix), known, self.prefix)
            warn(f"unknown variable {name}{guess}")
        types = get_type_hints(self.kind, include_extras=True)
        return self.kind(
            **{name: self._value(name, types[name], each) for name, each in given.items()}
        )

    def where(
        self,
        path: KeyPath,
        flags: Mapping[str, Any],
        environment: Mapping[str, str],
        config: Path | None = None,
    ) -> str:
        """The flag, variable, or file and line that a setting is written in.

        Args:
            path: where in the settings, from the outside in.
            flags: as for ``load``; so are the others.
        """
        given = self._given(flags, environment, config).get(str(path[0]))
        return "" if given is None else given.where(path[1:])

    def _given(
        self, flags: Mapping[str, Any], environment: Mapping[str, str], config: Path | None
    ) -> dict[str, Given]:
        """What is written for each setting, and where."""
        if config is None and environment.get(CONFIG_VARIABLE):
            config = Path(environment[CONFIG_VARIABLE])
        given = self._of_file(File.read(config)) if config is not None else {}
        given |= self._of_environment(environment)
        given |= {
            name: Given(value, partial(_named, self.flag(name)))
            for name, value in flags.items()
            if value is not None
        }
        self._check_names(given)
        return given

    def flag(self, name: str) -> str:
        """How a setting is written as a flag."""
        return f"--{self.flags.get(name, name).replace('_', '-')}"

    def variable(self, name: str) -> str:
        """How a setting is written as a variable."""
        return self.prefix + name.upper()

    def _variables(self) -> list[str]:
        own = [self.variable(name) for name in self.kind.__struct_fields__]
        return [*own, *([CONFIG_VARIABLE] if CONFIG_VARIABLE.startswith(self.prefix) else [])]

    def _unknown(self, environment: Mapping[str, str]) -> list[str]:
        """Variables that look like settings and are none; one that is empty does nothing."""
        others = tuple(f"{self.prefix}{table.upper()}_" for table in self.others)
        return sorted(
            name
            for name, value in environment.items()
            if value
            and name.startswith(self.prefix)
            and not (others and name.startswith(others))
            and name not in self._variables()
        )

    def _of_file(self, file: File) -> dict[str, Given]:
        base: KeyPath = (self.table,) if self.table else ()
        values = file.values.get(self.table, {}) if self.table else file.values
        if not isinstance(values, dict):
            problem = f"expected a table, not {shown(values)}"
            raise WrongSettingError((self.table,), problem, file.where(base))
        given = {
            name: Given(value, partial(file.where_in, (*base, name)))
            for name, value in values.items()
            if name not in self.others
        }
        self._check_names(given)
        return given

    def _check_names(self, given: Mapping[str, Given]) -> None:
        known = self.kind.__struct_fields__
        for name, each in given.items():
            if name not in known:
                guess = did_you_mean(name, (*known, *self.others))
                raise ConfigurationError(f"unknown setting {name!r} ({each.where(())}){guess}")

    def _of_environment(self, environment: Mapping[str, str]) -> dict[str, Given]:
        found = {}
        for name in self.kind.__struct_fields__:
            for variable in (self.variable(name), self.aliases.get(name, "")):
                if text := environment.get(variable, ""):
                    found[name] = Given(text, partial(_named, variable))
                    break
        return found

    def _value(self, name: str, kind: Any, given: Given) -> Any:
        try:
            read = self.readers.get(name)
            written = read(given.value) if read else given.value
            value = convert(written, kind, secret=name in self.secrets)
            if isinstance(value, float) and not math.isfinite(value):
                raise WrongValueError((), f"expected a finite number, not {shown(given.value)}")
        except WrongValueError as exc:
            path = (name, *exc.path)
            raise WrongSettingError(path, exc.problem, given.where(exc.path)) from exc
        return value
