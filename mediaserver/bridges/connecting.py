"""A WebSocket to a service: one try, and what its failure means."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI

from mediaserver.bridges.errors import ServiceRefusedError
from mediaserver.errors import ConfigurationError
from mediaserver.logs import shown

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
# A half-open connection is noticed in twice this time.
PING_S = 4.0
# Answers of the range 400 that say "later", not "no".
LATER = (408, 425, 429)
# Its debug lines hold the headers, and in them the key.
_quiet = logging.getLogger(f"{__name__}.websockets")
_quiet.setLevel(logging.WARNING)


class TryAgainError(Exception):
    """There is no connection, and there may be one later.

    Attributes:
        asked_s: the service asks to wait so long.
    """

    def __init__(self, why: str, asked_s: float = 0.0) -> None:
        super().__init__(why)
        self.asked_s = asked_s


def key_from(variable: str) -> str:
    """Return the key that a variable of the environment holds.

    Raises:
        ConfigurationError: there is none.
    """
    key = os.environ.get(variable, "")
    if not key:
        raise ConfigurationError(
            f"{variable} is not set (an isolated processor gets it where host_env names it)"
        )
    return key


async def open_connection(
    service: str, url: str, headers: Mapping[str, str], close_s: float, within_s: float
) -> ClientConnection:
    """Return an open connection.

    Raises:
        TryAgainError: none could be had this time.
        ServiceRefusedError: none can be had with this key, model or URL.
        ConfigurationError: this is no URL.
    """
    try:
        async with asyncio.timeout(within_s):
            return await connect(
                url,
                additional_headers=headers,
                open_timeout=None,
                ping_interval=PING_S,
                ping_timeout=PING_S,
                close_timeout=close_s,
                max_size=MAX_MESSAGE_BYTES,
                logger=_quiet,
            )
    except InvalidURI as error:
        # Without its parameters, which may hold a secret.
        named = shown(url.partition("?")[0])
        raise ConfigurationError(f"{service}: {named} is no URL of a WebSocket") from error
    except TimeoutError:
        raise TryAgainError("it does not answer") from None
    except InvalidStatus as error:
        status = error.response.status_code
        why = f"it refused with status {status}"
        if 400 <= status < 500 and status not in LATER:
            raise ServiceRefusedError(service, why) from None
        asked = error.response.headers.get("Retry-After", "")
        raise TryAgainError(why, float(asked) if asked.isdecimal() else 0.0) from None
    except (OSError, InvalidHandshake) as error:
        raise TryAgainError(f"no connection: {error}") from error


def why_closed(connection: ClientConnection) -> str:
    """In words, how a connection ended."""
    code, reason = connection.close_code, connection.close_reason
    return f"the connection was closed with {code}{f', {reason}' if reason else ''}"
