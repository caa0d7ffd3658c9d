"""All that is used of Ray: the names of the actors, how they are made, found and asked."""

from __future__ import annotations

import asyncio
import importlib
import logging
import socket
from typing import Any

from mediaserver.errors import ConfigurationError, MediaServerError

NAMESPACE = "mediaserver"
DIRECTORY = "directory"
RESOURCE = "media"
"""The custom resource of Ray's nodes that carry calls; each has one of its own, too."""
HEAD = "node:__internal_head__"
SLIVER = 0.001
CONNECT_WITHIN_S = 5.0


class UnavailableError(MediaServerError):
    """Ray, or the actor that was asked, does not answer now."""


def ray() -> Any:
    """The module.

    Raises:
        ConfigurationError: it is not installed.
    """
    try:
        return importlib.import_module("ray")
    except ImportError as exc:
        raise ConfigurationError(
            "`mediaserver cluster` needs Ray: pip install 'mediaserver[cluster]'"
        ) from exc


def gauge(name: str, text: str) -> Any:
    """A figure among Ray's own metrics; ``set`` sets it."""
    return importlib.import_module("ray.util.metrics").Gauge(name, description=text)


def present() -> set[str]:
    """The nodes that Ray has now, by their names."""
    prefix = resource_of("")
    alive = (each["Resources"] for each in ray().nodes() if each["Alive"])
    return {name.removeprefix(prefix) for own in alive for name in own if name.startswith(prefix)}


def resource_of(node: str) -> str:
    """The custom resource that pins an agent to its node."""
    return f"{RESOURCE}-{node}"


def agent_name(node: str) -> str:
    """The name of a node's agent as an actor."""
    return f"agent-{node}"


def connect(address: str) -> None:
    """Join Ray, in this process; once joined it stays so.

    Raises:
        UnavailableError: it does not answer.
    """
    if ray().is_initialized():
        return
    host, _, port = address.rpartition(":")
    if port.isdecimal():
        # Ray itself looks for it for minutes.
        try:
            socket.create_connection((host, int(port)), CONNECT_WITHIN_S).close()
        except OSError as exc:
            raise UnavailableError(f"Ray at {address} does not answer: {exc.strerror}") from exc
    try:
        ray().init(
            address=address,
            namespace=NAMESPACE,
            log_to_driver=False,
            configure_logging=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as exc:
        raise UnavailableError(f"Ray at {address} does not answer: {exc}") from exc


def made(kind: type, name: str, options: dict[str, Any], *args: object) -> Any:
    """The actor of this name: the one there is, or a new one; it is started again for ever."""
    return (
        ray()
        .remote(kind)
        .options(
            name=name,
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            max_restarts=-1,
            num_cpus=0,
            **options,
        )
        .remote(*args)
    )


def found(name: str) -> Any:
    """The actor of this name; it waits for Ray's answer.

    Raises:
        UnavailableError: there is none.
    """
    try:
        return ray().get_actor(name, namespace=NAMESPACE)
    except Exception as exc:  # Ray raises what it likes here
        raise UnavailableError(f"{name} is not there: {type(exc).__name__}") from exc


class Actor:
    """An actor by its name, asked from asyncio; found again where it was lost."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._handle: Any = None

    async def ask(self, method: str, *args: object, within_s: float = 1.0) -> Any:
        """What its method gives.

        Raises:
            UnavailableError: it does not answer.
        """
        try:
            async with asyncio.timeout(within_s):
                if self._handle is None:
                    self._handle = await asyncio.to_thread(found, self._name)
                return await getattr(self._handle, method).remote(*args)
        except UnavailableError:
            raise
        except Exception as exc:  # of Ray there are many kinds
            if not isinstance(exc, TimeoutError):
                self._handle = None
            raise UnavailableError(f"{self._name}: {type(exc).__name__}") from exc
