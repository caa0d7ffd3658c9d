"""A second port, for HTTP alone."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
from collections.abc import Callable

from starlette.applications import Starlette

from mediaserver.errors import ConfigurationError
from mediaserver.logs import LimitedLog
from mediaserver.server.sockets.http import HttpHost

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))


# Between two tries for an address that another process has still.
AGAIN_S = 0.2


class HttpPort:
    """Listens on its own port, and serves routes that are not to be on the media port.

    **Call ``start``; then ``port`` is known; at the end call ``close``.**

    Args:
        app: answers the requests.
        host: address to listen on.
        port: TCP port; 0 takes a free one.
        count: see ``HttpHost``.
        is_open: it answers without a token; a warning is logged if other machines can reach it.
    """

    def __init__(
        self, app: Starlette, host: str, port: int, count: Callable[[str], None], *, is_open: bool
    ) -> None:
        self._http = HttpHost(app, count)
        self._host = host
        self._wanted = port
        self._is_open = is_open
        self._server: asyncio.Server | None = None
        self._waiting: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The TCP port it listens on, or is going to."""
        if self._server is None:
            return self._wanted
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self, *, patient: bool = False) -> None:
        """Listen.

        Args:
            patient: another process may have the address, and give it up soon; nobody waits here.

        Raises:
            ConfigurationError: the address cannot be listened on.
        """
        try:
            await self._listen()
        except OSError as exc:
            if not patient or exc.errno != errno.EADDRINUSE:
                raise self._refused(exc) from exc
            self._waiting = asyncio.create_task(self._listen_later())
        except UnicodeError as exc:
            raise self._refused(exc) from exc

    def _refused(self, exc: OSError | UnicodeError) -> ConfigurationError:
        text = getattr(exc, "strerror", None) or exc
        where = f"{self._host}:{self._wanted}"
        return ConfigurationError(f"admin_port: cannot listen on {where}: {text}")

    async def _listen_later(self) -> None:
        limited.info("admin port", "another process still has the admin port %d", self._wanted)
        while self._server is None:
            await asyncio.sleep(AGAIN_S)
            with contextlib.suppress(OSError):
                await self._listen()

    async def _listen(self) -> None:
        self._server = await asyncio.get_running_loop().create_server(
            lambda: self._http.protocol(None), self._host, self._wanted
        )
        limited.info("admin port", "admin pages are on port %d of %s", self.port, self._host)
        if self._is_open and self._is_reachable():
            limited.warning(
                "admin pages open",
                "the admin pages are open to anybody who reaches port %d of this machine:"
                " set admin_token",
                self.port,
            )

    def _is_reachable(self) -> bool:
        """Others than this machine can come."""
        assert self._server is not None
        hosts = {each.getsockname()[0].partition("%")[0] for each in self._server.sockets}
        return not all(ipaddress.ip_address(host).is_loopback for host in hosts)

    async def close(self) -> None:
        """Listen no more, and end what is left; twice does nothing."""
        if self._waiting is not None:
            self._waiting.cancel()
        if self._server is not None:
            self._server.close()
        await self._http.close()
