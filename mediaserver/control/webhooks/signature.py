"""Whether a webhook is Telnyx's: Ed25519 over the exact bytes that came. Pure.

Before the signature is checked, a webhook is refused if a header is missing or comes twice, if
the timestamp is not plain digits or is more than 300 s off, or if the signature is not the
canonical base64 of 64 octets.

Source: protocol.md 4.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from mediaserver.errors import ConfigurationError, PeerError

SIGNATURE_HEADER = "telnyx-signature-ed25519"
TIMESTAMP_HEADER = "telnyx-timestamp"
VERSION_1_HEADER = "x-telnyx-signature"

_TIMESTAMP = re.compile(rb"[0-9]{1,12}")
_SIGNATURE_BYTES = 64
_KEY_BYTES = 32

Headers = Mapping[str, str] | Iterable[tuple[bytes, bytes]]


class SignatureError(PeerError):
    """A webhook that is not shown to be Telnyx's, or that is too old."""


class Version1Error(SignatureError):
    """A webhook of version 1, signed by HMAC with a secret that we do not have."""

    def __str__(self) -> str:
        return "a webhook of version 1: set webhook_api_version to 2 in the Telnyx application"


class Verifier:
    """Checks signatures against one or several public keys.

    Args:
        public_keys: base64 of 32 octets each, as Telnyx's portal shows them; several while
            keys are rotated.
        tolerance_s: how far the timestamp may be off, either way.

    Raises:
        ConfigurationError: there is no key, or one of them is not a valid key.
    """

    def __init__(self, public_keys: Iterable[str], *, tolerance_s: float = 300.0) -> None:
        self._keys = [_key(text) for text in public_keys]
        if not self._keys:
            raise ConfigurationError("webhooks need at least one public key of Telnyx's")
        self._tolerance_s = tolerance_s

    def verify(self, headers: Headers, body: bytes, now: float, steady: float | None = None) -> int:
        """When the request was signed, in unix seconds, if it is Telnyx's and fresh.

        Args:
            headers: a mapping, or raw pairs, which alone show a repeated header.
            body: the exact bytes.
            now: unix seconds.
            steady: the same by a clock that nobody sets: fresh by either is fresh.

        Raises:
            Version1Error: it has the signature of version 1 and none of ours.
            SignatureError: saying what is wrong, without values.
        """
        pairs = list(_pairs(headers))
        names = {name.lower() for name, _ in pairs}
        if VERSION_1_HEADER.encode() in names and SIGNATURE_HEADER.encode() not in names:
            raise Version1Error
        timestamp = _single(pairs, TIMESTAMP_HEADER)
        encoded = _single(pairs, SIGNATURE_HEADER)
        if not _TIMESTAMP.fullmatch(timestamp):
            raise SignatureError("the timestamp is not a number of seconds")
        clocks = (now, now if steady is None else steady)
        if min(abs(clock - int(timestamp)) for clock in clocks) > self._tolerance_s:
            raise SignatureError("the timestamp is too far off")
        signature = _decoded(encoded)
        signed = timestamp + b"|" + body
        # All keys are tried, so that the time taken does not tell which one fits.
        if not any([_fits(key, signed, signature) for key in self._keys]):  # noqa: C419 - as said
            raise SignatureError("the signature fits no key")
        return int(timestamp)


def _fits(key: VerifyKey, signed: bytes, signature: bytes) -> bool:
    try:
        key.verify(signed, signature)
    except BadSignatureError:
        return False
    return True


def _key(text: str) -> VerifyKey:
    try:
        raw = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != _KEY_BYTES:
        raise ConfigurationError("a public key of Telnyx's is the base64 of 32 octets")
    return VerifyKey(raw)


def _pairs(headers: Headers) -> Iterable[tuple[bytes, bytes]]:
    if not isinstance(headers, Mapping):
        return headers
    return ((_octets(name), _octets(value)) for name, value in headers.items())


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _single(pairs: Iterable[tuple[bytes, bytes]], name: str) -> bytes:
    values = [value for key, value in pairs if key.lower() == name.encode()]
    if len(values) != 1:
        raise SignatureError(f"{name} is {'missing' if not values else 'there twice'}")
    return values[0]


def _decoded(encoded: bytes) -> bytes:
    try:
        signature = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        signature = b""
    # Encoding again refuses every second spelling of the same octets.
    if len(signature) != _SIGNATURE_BYTES or base64.b64encode(signature) != encoded:
        raise SignatureError("the signature is not base64 of 64 octets")
    return signature
