"""A second port, for HTTP alone."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket

from starlette.applications import Starlette

from mediaserver.errors import ConfigurationError
from mediaserver.logs import LimitedLog
from mediaserver.server.sockets.http import HttpHost

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))


class HttpPort:
    """Listens, and serves what is not for the media port.

    **Call ``start``; then ``port`` is known; at the end call ``close``.**

    Args:
        app: answers the requests.
        host: address to listen on.
        port: TCP port; 0 takes a free one.
        is_open: whoever reaches it is answered.
    """

    def __init__(self, app: Starlette, host: str, port: int, *, is_open: bool) -> None:
        self._http = HttpHost(app, lambda: None)
        self._host = host
        self._wanted = port
        self._is_open = is_open
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        """Listen.

        Raises:
            ConfigurationError: the address cannot be listened on.
        """
        try:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: self._http.protocol(None), self._host, self._wanted
            )
        except (OSError, socket.gaierror, UnicodeError) as exc:
            where = f"{self._host}:{self._wanted}"
            text = getattr(exc, "strerror", None) or exc
            raise ConfigurationError(f"admin_port: cannot listen on {where}: {text}") from exc
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
        """Listen no more, and end what is left."""
        if self._server is not None:
            self._server.close()
        await self._http.close()
