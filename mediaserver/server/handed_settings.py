"""Settings for another process of the same program: a worker, or one that runs processors."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from mediaserver.errors import ConfigurationError
from mediaserver.processes.channel import UnsendableError, encode
from mediaserver.settings import ProcessorSetting, Settings, name_of

Pair = tuple[str | Callable[..., Any], dict[str, Any]]


class HandedSettings(msgspec.Struct, frozen=True, tag=True):
    """Settings as a message.

    Attributes:
        settings: without the secrets that only the server's own process needs, and without the
            processors' parameters; a processor that was given itself has its name here.
        pickled_processors: ``name`` and ``parameters`` of every processor, in the order of
            ``Settings.named``: pairs. Pickled, because a program that embeds the server may set any
            Python value, and give a function or class itself.
        pickled_log_config: ``log_config``, pickled because it may hold classes as well.
    """

    settings: Settings
    pickled_processors: bytes
    pickled_log_config: bytes

    @classmethod
    def of(cls, settings: Settings, whom: str, *, numbers_key: str | None) -> HandedSettings:
        """The message; ``whom`` it is for, in errors, with this key for hashes of numbers.

        Raises:
            ConfigurationError: another process cannot be given them.
        """
        named = [each for _, each in settings.named()]
        problem = f"{whom} cannot be given these settings"
        try:
            pickled = pickle.dumps([(each.name, each.parameters) for each in named])
            pickled_log_config = pickle.dumps(settings.log_config)
        except (pickle.PickleError, TypeError, AttributeError, RecursionError) as exc:
            raise ConfigurationError(f"{problem}: {exc}") from exc
        sent = msgspec.structs.replace(
            _replaced(settings, map(_bare, named)),
            api_key=None,
            auth_token=None,
            admin_token=None,
            listen_token=None,
            public_keys=None,
            log_numbers_key=numbers_key,
            log_config=None,
        )
        handed = cls(sent, pickled, pickled_log_config)
        try:
            # A program that embeds the server may have set what no other source can.
            msgspec.convert(msgspec.to_builtins(sent), Settings)
            msgspec.convert(settings.log_config, dict[str, Any] | None)
            encode(handed)
        except (msgspec.MsgspecError, TypeError, UnsendableError) as exc:
            raise ConfigurationError(f"{problem}: {exc}") from exc
        return handed

    def whole(self) -> Settings:
        """The settings, each processor with its function and its parameters again.

        Raises:
            ConfigurationError: a function or a parameter cannot be loaded in this process.
        """
        try:
            # From this program's own parent, over the socket pair that it made.
            pairs = pickle.loads(self.pickled_processors)
        except (Exception, SystemExit) as exc:  # the border to users' code: modules load themselves
            raise ConfigurationError(
                f"a processor or its parameters cannot be loaded: {exc}"
            ) from exc
        return msgspec.structs.replace(
            _replaced(self.settings, pairs), log_config=self.log_config()
        )

    def log_config(self) -> dict[str, Any] | None:
        """The setting, alone: the log is to be there before a processor is loaded.

        Raises:
            ConfigurationError: what it holds cannot be loaded in this process.
        """
        try:
            config: dict[str, Any] | None = pickle.loads(self.pickled_log_config)
        except Exception as exc:  # the border to users' code, as above
            raise ConfigurationError(f"log_config cannot be loaded: {exc}") from exc
        return config


def _bare(setting: ProcessorSetting) -> Pair:
    """Name and parameters without what only pickle can carry."""
    return name_of(setting.name), {}


def _replaced(settings: Settings, pairs: Iterable[Pair]) -> Settings:
    """The settings with these pairs for their processors, in the order of ``named``."""
    following = iter(pairs)

    def replaced(named: tuple[ProcessorSetting, ...]) -> tuple[ProcessorSetting, ...]:
        return tuple(
            msgspec.structs.replace(each, name=name, parameters=parameters)
            for each, (name, parameters) in zip(named, following, strict=False)
        )

    return msgspec.structs.replace(
        settings,
        processors=replaced(settings.processors),
        offer=replaced(settings.offer),
        routes=tuple(
            msgspec.structs.replace(route, processors=replaced(route.processors))
            for route in settings.routes
        ),
    )
