"""The URLs of our own server, to which a call's audio is streamed, and the values sent with them.

The stream itself carries the outbound codec and rate, the processor and a token, so that they need
not be set on the server as well. They are custom parameters if the command has a field for those,
else a part of the URL. A ``stream_url`` on another host than ``public_url`` is not our server: it
is sent as it is, without these values.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from mediaserver.control.checks import Check
from mediaserver.control.errors import InvalidFieldError

Scalar = str | int | float | bool

RESERVED_NAMES = ("send_codec", "send_rate", "processor")
PARAMETER_PREFIX = "param_"
WEBHOOK_PATH = "/webhooks/telnyx"

_PROCESSOR = re.compile(r"[A-Za-z0-9_.-]+")
_PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

PROCESSOR = Check(
    "the name of a processor the server knows (letters, digits, _ . -), never a path",
    lambda value: (
        isinstance(value, str) and bool(_PROCESSOR.fullmatch(value)) and not value.endswith(".py")
    ),
)
PARAMETER_NAME = Check(
    "named by letters, digits and _, not beginning with a digit",
    lambda value: isinstance(value, str) and bool(_PARAMETER.fullmatch(value)),
)
PARAMETER_VALUE = Check(
    "text, a number, true or false",
    lambda value: isinstance(value, str | int | float | bool),
)


@dataclass(frozen=True)
class OwnServer:
    """What the client knows of the media server it works for.

    Attributes:
        public_url: how Telnyx reaches it, http(s), a path prefix allowed; or None.
        auth_token: the secret shared with it, from which per-call tokens are made; or None.
        allow_insecure: whether plain ``http``/``ws`` may leave this machine.
    """

    public_url: str | None = None
    auth_token: str | None = field(default=None, repr=False)
    allow_insecure: bool = False

    def __post_init__(self) -> None:
        if self.public_url is not None:
            check_url("public_url", self.public_url, "https", allow_insecure=self.allow_insecure)
            if urlsplit(self.public_url).query:
                raise InvalidFieldError("public_url", "a URL without a query")
        if self.auth_token == "":
            raise InvalidFieldError("auth_token", "text that is not empty")

    @property
    def media_url(self) -> str | None:
        """The ``stream_url`` of the server, or None if ``public_url`` is not known."""
        if self.public_url is None:
            return None
        return "ws" + self.public_url.rstrip("/").removeprefix("http") + "/media"

    @property
    def webhook_url(self) -> str | None:
        """Where Telnyx is to report to, or None if ``public_url`` is not known."""
        return None if self.public_url is None else self.public_url.rstrip("/") + WEBHOOK_PATH

    def owns(self, stream_url: str) -> bool:
        """Whether a stream URL leads to this server, as far as can be known."""
        if self.media_url is None:
            return True
        return _origin(urlsplit(stream_url)) == _origin(urlsplit(self.media_url))


def check_url(name: str, url: object, secure: str, *, allow_insecure: bool) -> None:
    """Refuse a URL that is not absolute and plain, or that would leave the machine in clear.

    Args:
        name: of the field, for the error.
        url: the URL.
        secure: ``https`` or ``wss``; without its ``s`` it is for loopback only.
        allow_insecure: whether the scheme without ``s`` may go anywhere.

    Raises:
        InvalidFieldError: naming field and rule.
    """
    plain = secure[:-1]
    allowed = f"a {secure}:// URL ({plain}:// to loopback, or with allow_insecure)"
    if not isinstance(url, str) or not re.fullmatch(r"[!-~]+", url):
        raise InvalidFieldError(name, allowed)
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # reading the port is what checks it
    except ValueError:
        raise InvalidFieldError(name, allowed) from None
    is_private = parts.scheme == secure or allow_insecure or is_loopback(host or "")
    if not host or parts.scheme not in (secure, plain) or not is_private:
        raise InvalidFieldError(name, allowed)
    if parts.fragment or parts.username is not None:
        raise InvalidFieldError(name, "a URL without a fragment and without a user")


def is_loopback(host: str) -> bool:
    """Whether a host name means this very machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def stream_parameters(
    codec: str | None = None,
    rate_hz: int | None = None,
    *,
    processor: str | None = None,
    parameters: Mapping[str, Scalar] | None = None,
) -> dict[str, str]:
    """What the server is to be told about a stream, by the names it reads.

    Raises:
        InvalidFieldError: a processor given as a path, an unusable parameter.
    """
    told: dict[str, str] = {}
    if codec is not None:
        told["send_codec"] = codec
    if rate_hz is not None:
        told["send_rate"] = str(rate_hz)
    if processor is not None:
        PROCESSOR.require("processor", processor)
        told["processor"] = processor
    for name, value in (parameters or {}).items():
        PARAMETER_NAME.require("processor_parameters", name)
        told[PARAMETER_PREFIX + name] = as_text(f"processor_parameters.{name}", value)
    return told


def as_text(name: str, value: Scalar) -> str:
    """A parameter's value as it travels: text."""
    PARAMETER_VALUE.require(name, value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def with_query(url: str, told: Mapping[str, str]) -> str:
    """The URL with more parameters behind those it has."""
    if not told:
        return url
    parts = urlsplit(url)
    query = "&".join(part for part in (parts.query, urlencode(told, quote_via=quote)) if part)
    return parts._replace(query=query).geturl()


def with_token(url: str, token: str) -> str:
    """The URL with a token as the last part of its path."""
    parts = urlsplit(url)
    return parts._replace(path=f"{parts.path.rstrip('/')}/{token}").geturl()


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    default_port = 443 if parts.scheme == "wss" else 80
    return parts.scheme, parts.hostname or "", parts.port or default_port
