"""The head of a request, judged before anybody acts on it.

What two readers could read in two ways is refused (RFC 9112): which host is meant, where a body
ends, where a line ends. What is no HTTP at all is recognised by its first octets, because its
sender would wait for ever for an answer in its own language.
"""

from __future__ import annotations

import http
import re
from collections import defaultdict
from typing import NamedTuple

MAX_HEAD_BYTES = 16 * 1024
MAX_LINE_BYTES = 8 * 1024
MAX_FIELDS = 100
# What is no HTTP/1 has shown it by then.
TELLING_BYTES = 16

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rb"(%b) ([^ ]+) HTTP/([0-9]\.[0-9])" % _TOKEN)
_TARGET = re.compile(rb'/[^\x00-\x20"#<>\\^`{|}\x7f-\xff]*')
_FIELD = re.compile(rb"(%b):[ \t]*(.*?)[ \t]*" % _TOKEN)
_HOST = re.compile(rb"[A-Za-z0-9._~%!$&'()*+;=:\[\]-]*")
_CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_FIRST = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]")
_PROXY_2 = b"\r\n\r\n\x00"


class BadHead(NamedTuple):
    """Why a request is not taken.

    Attributes:
        kind: the value of its counter, ``bad_request.*``.
        reason: one line, for the peer.
        status: of the answer; None: the peer would not understand any.
        advice: for the log, where the server's owner can mend it.
    """

    kind: str
    reason: str
    status: http.HTTPStatus | None = http.HTTPStatus.BAD_REQUEST
    advice: str = ""


TOO_LONG = BadHead(
    "too_long",
    f"The head is longer than {MAX_HEAD_BYTES} octets, or one line of it too long.",
    http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
)
TOO_SLOW = BadHead(
    "too_slow", "The request did not come to its end in time.", http.HTTPStatus.REQUEST_TIMEOUT
)
UNREADABLE = BadHead("request_line", "The request cannot be read.")

_TLS = BadHead(
    "tls",
    "",
    None,
    "TLS on the plain port: set tls_cert and tls_key, or end TLS in a proxy in front of this"
    " server, or use ws:// and http://",
)
PLAIN = BadHead(
    "plain_on_tls",
    "This port speaks TLS: use wss:// and https://.",
    advice="a plain request on the TLS port: use wss:// and https://, and in a proxy likewise",
)
TLS_HANDSHAKE = BadHead("tls_handshake", "", None)
_PROXY = BadHead(
    "proxy_protocol",
    "The PROXY protocol is not spoken here.",
    advice="a PROXY protocol header: switch it off in the proxy, and have it set X-Forwarded-For",
)
_HTTP_2 = BadHead(
    "http2",
    "HTTP/2 is not spoken here: use HTTP/1.1.",
    http.HTTPStatus.HTTP_VERSION_NOT_SUPPORTED,
    "HTTP/2 without TLS: have the proxy speak HTTP/1.1 to this server",
)


def problem_at_once(octets: bytes | bytearray) -> BadHead | None:
    """What is wrong already by the first octets, however many there are; None: nothing yet."""
    if octets.startswith(b"\x16"):
        return _TLS
    if octets.startswith((_PROXY_2, b"PROXY ")):
        return _PROXY
    if octets.startswith(b"PRI * HTTP/2"):
        return _HTTP_2
    if not (_FIRST.match(octets) or _PROXY_2.startswith(octets[:5])):
        return BadHead("not_http", "This is no HTTP.")
    return None


def problem_of(head: bytes) -> BadHead | None:
    """What is wrong with a whole head, its last empty line included; None if nothing is."""
    request_line, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    if len(request_line) > MAX_LINE_BYTES:
        return BadHead(
            "too_long", "The request line is too long.", http.HTTPStatus.REQUEST_URI_TOO_LONG
        )
    if len(lines) > MAX_FIELDS or any(len(line) > MAX_LINE_BYTES for line in lines):
        return TOO_LONG
    for line in (request_line, *lines):
        if _CONTROLS.search(line):
            return BadHead("octets", "A NUL, or another octet that has no place in a head.")
    matched = _REQUEST_LINE.fullmatch(request_line)
    if matched is None:
        return BadHead("request_line", "The request line is malformed.")
    _, target, version = matched.groups()
    if version not in (b"1.0", b"1.1"):
        return BadHead("version", "Use HTTP/1.1.", http.HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
    if not _TARGET.fullmatch(target) or target.startswith(b"//"):
        return BadHead("target", "The target must be a path: this is no proxy.")
    return _problem_of_fields(lines, version)


def _problem_of_fields(lines: list[bytes], version: bytes) -> BadHead | None:
    fields: defaultdict[bytes, list[bytes]] = defaultdict(list)
    for line in lines:
        if line.startswith((b" ", b"\t")):
            return BadHead("obs_fold", "A field goes on in a second line.")
        field = _FIELD.fullmatch(line)
        if field is None:
            return BadHead("field", "A header field is malformed.")
        fields[field[1].lower()].append(field[2])
    if len(fields[b"host"]) > 1 or (not fields[b"host"] and version == b"1.1"):
        return BadHead("host", "There must be one Host field.")
    if fields[b"host"] and not _HOST.fullmatch(fields[b"host"][0]):
        return BadHead("host", "The Host field is malformed.")
    return problem_of_framing(fields[b"content-length"], fields[b"transfer-encoding"]) or (
        _problem_of_upgrade(fields)
        if any(b"websocket" in value.lower() for value in fields[b"upgrade"])
        else None
    )


def problem_of_framing(lengths: list[bytes], codings: list[bytes]) -> BadHead | None:
    """What makes it unclear where a request's body ends; None if nothing does."""
    if len(lengths) > 1 or (lengths and not lengths[0].isdigit()):
        return BadHead("framing", "Content-Length must be one number.")
    if lengths and codings:
        return BadHead("framing", "Content-Length and Transfer-Encoding exclude each other.")
    if codings and [coding.lower() for coding in codings] != [b"chunked"]:
        return BadHead("framing", "Transfer-Encoding can be chunked, and nothing else.")
    return None


def _problem_of_upgrade(fields: defaultdict[bytes, list[bytes]]) -> BadHead | None:
    """The rest is for who shakes hands; what a body would mean it does not say."""
    if fields[b"transfer-encoding"] or fields[b"content-length"] not in ([], [b"0"]):
        return BadHead("body", "An upgrade to WebSocket has no body.")
    return None


def fields_of(head: bytes, name: bytes) -> list[str]:
    """The values of a sound head's fields of this name, in small letters."""
    fields = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    return [value.strip().decode("latin-1") for n, _, value in fields if n.lower() == name]


def asks_only(head: bytes) -> bool:
    """Whether a sound head is a question, answered at once: GET, without body or upgrade."""
    more = (b"content-length", b"transfer-encoding", b"upgrade")
    return head.startswith(b"GET ") and not any(fields_of(head, name) for name in more)


def wants_websocket(head: bytes) -> bool:
    """Whether a sound head asks for an upgrade to WebSocket."""
    return any("websocket" in value.lower() for value in fields_of(head, b"upgrade"))
