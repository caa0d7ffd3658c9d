"""TLS: the certificate, renewed while calls go on, and a connection's way to its first bytes.

The rules are those of Mozilla's "Server Side TLS", intermediate, version 5.7 (2023): TLS 1.2 and
1.3, ciphers with forward secrecy and authentication only, no session tickets. Its DHE suites are
left out: they need parameters of their own, and every client that has TLS 1.2 with them has
ECDHE. The order of ciphers is the server's, where the guideline leaves it to the client: all of
them are good, and scanners complain otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from mediaserver.errors import ConfigurationError
from mediaserver.logs import LimitedLog
from mediaserver.server.sockets.first_bytes import HEAD_WITHIN_S, FirstBytes, Gatekeeper, Peer
from mediaserver.server.sockets.heads import TLS_HANDSHAKE

limited: LimitedLog = LimitedLog(logging.getLogger(__name__))

LOOK_EVERY_S = 2.0
CIPHERS = ":".join(
    f"ECDHE-{signed}-{cipher}"
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    for signed in ("ECDSA", "RSA")
)
_HANDSHAKE = b"\x16"
# Makes the protocol of a connection; True: it is plain, and is refused.
ProtocolMaker = Callable[[bool], FirstBytes]


class Certificate:
    """A certificate and its key, as one TLS context for all connections.

    **Call ``watch``; a pair that has changed is used by handshakes from then on.** What cannot be
    used is said once, and the former pair stays.

    Args:
        cert: file with the certificate and its chain, PEM.
        key: file with its key, PEM.

    Attributes:
        context: for connections.

    Raises:
        ConfigurationError: the files cannot be used.
    """

    def __init__(self, cert: str, key: str) -> None:
        self._cert, self._key = Path(cert), Path(key)
        self._seen = self._state()
        try:
            self.context: ssl.SSLContext = _context(self._cert, self._key)
        except (OSError, ssl.SSLError) as exc:
            raise ConfigurationError(f"tls_cert, tls_key: {_reason(exc)}") from exc
        self._timer: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        """Look every two seconds whether the files have changed."""
        self.look()
        self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY_S, self.watch)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def look(self) -> None:
        """Use the files if they have changed."""
        state = self._state()
        if state == self._seen:
            return
        self._seen = state
        try:
            _context(self._cert, self._key)  # a half-written pair must not get into the real one
            self.context.load_cert_chain(self._cert, self._key)
        except (OSError, ssl.SSLError) as exc:
            text = "the new certificate is not used, the former one stays: %s"
            limited.error("certificate refused", text, _reason(exc))
        else:
            text = "the certificate has changed: new connections get the new one"
            limited.info("certificate renewed", text)

    def _state(self) -> list[tuple[int, int, int] | None]:
        """What changes when a file does."""
        return [_state_of(file) for file in (self._cert, self._key)]


class Knock:
    """A new connection on a port with TLS, until it is encrypted.

    What begins like a TLS handshake gets one; what does not is plain, and is told so. Until then
    it has its place among those that have said nothing.

    Args:
        gatekeeper: who is asked about it.
        make_protocol: makes what goes on with it.
        context: of TLS.
        accepted: the connection; this object's own from now on.
        is_late: see ``Peer``.

    Attributes:
        peer: who is at the other end.
    """

    def __init__(
        self,
        gatekeeper: Gatekeeper,
        make_protocol: ProtocolMaker,
        context: ssl.SSLContext,
        accepted: socket.socket,
        *,
        is_late: bool,
    ) -> None:
        name = accepted.getpeername()
        self.peer: Peer = Peer(name[0] if isinstance(name, tuple) else None, is_late)
        self._gatekeeper = gatekeeper
        self._make_protocol = make_protocol
        self._context = context
        self._socket = accepted
        self._is_shaking = False
        self._task = asyncio.get_running_loop().create_task(self._enter())
        # Not in the task itself, which may be cancelled before its first step.
        self._task.add_done_callback(self._left)
        gatekeeper.waits(self)

    def abort(self) -> None:
        """End the connection now."""
        if not self._is_shaking:
            self._task.cancel()
            return
        with contextlib.suppress(OSError):  # it is gone
            self._socket.shutdown(socket.SHUT_RDWR)  # the handshake hears of it

    async def _enter(self) -> None:
        try:
            async with asyncio.timeout(HEAD_WITHIN_S):
                first = await self._first()
        except (TimeoutError, OSError):
            return
        self._is_shaking = True
        try:
            await self._connect(is_plain=first != _HANDSHAKE)
        except (OSError, RuntimeError) as exc:  # ssl.SSLError is one; uvloop's is none
            self._is_shaking = False
            if isinstance(exc, ssl.SSLError):
                self._gatekeeper.refused(self.peer, TLS_HANDSHAKE)

    def _left(self, _: asyncio.Task[None]) -> None:
        """It is encrypted, or gone."""
        self._gatekeeper.waits_no_more(self)
        if not self._is_shaking:
            self._socket.close()

    async def _first(self) -> bytes:
        """The first octet, left where it is.

        Raises:
            OSError: none will come.
        """
        loop, comes, fd = asyncio.get_running_loop(), asyncio.Event(), self._socket.fileno()
        loop.add_reader(fd, comes.set)
        try:
            await comes.wait()
        finally:
            loop.remove_reader(fd)
        first = self._socket.recv(1, socket.MSG_PEEK)
        if not first:
            raise ConnectionResetError
        return first

    async def _connect(self, *, is_plain: bool) -> None:
        loop = asyncio.get_running_loop()
        if is_plain:
            await loop.connect_accepted_socket(lambda: self._make_protocol(True), self._socket)
            return
        await loop.connect_accepted_socket(
            lambda: self._make_protocol(False),
            self._socket,
            ssl=self._context,
            ssl_handshake_timeout=HEAD_WITHIN_S,
        )


def _context(cert: Path, key: Path) -> ssl.SSLContext:
    for file in (cert, key):
        file.open("rb").close()  # the library's own error would not name it
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    # A key with a passphrase is refused; else the terminal would be asked, here or later.
    context.load_cert_chain(cert, key, password=_no_passphrase)
    return context


def _no_passphrase() -> str:
    raise ssl.SSLError("the key has a passphrase")


def _state_of(file: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _reason(exc: OSError) -> str:
    if isinstance(exc, ssl.SSLError):
        return exc.reason or str(exc)
    return f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc.strerror)
