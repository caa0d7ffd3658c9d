"""How telephone numbers are written in the log."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Literal

from mediaserver.logs.texts import shown

Policy = Literal["full", "masked", "hash"]

# Of a number or the user of a URI: what is this long has its last two characters shown.
LONG = 8
KEPT = 2
HASH_DIGITS = 10
# No backslash and no quote in it: a line of JSON is to stay one.
_URI = re.compile(
    r"\b(?P<scheme>sips?|tel):(?P<user>[^\s@;>?,\"'\\]+)(?:@(?P<host>[^\s;>?,\"'\\]*))?"
    r"[^\s>,\"'\\]*",
    re.I,
)
# In a text, a number is known by its plus sign. At least eight digits.
_PLUS = re.compile(r"\+(?:[ .()-]{0,2}\d){8,15}(?!\d)")
_RUN = re.compile(r"\+?\d{7,}")
_SEPARATORS = re.compile(r"[\s().+-]")


class Numbers:
    """Writes telephone numbers as the setting ``log_numbers`` says.

    Args:
        policy: ``full``; ``masked``: the last two digits of a long one; ``hash``: a short text
            that is the same for the same number, and from which nobody without the key finds it.
        key: for ``hash``. Numbers are so few that each could be tried without one.
    """

    def __init__(self, policy: Policy = "masked", key: str | None = None) -> None:
        if policy == "hash" and not key:
            raise ValueError("a hash of numbers needs a key")
        self.policy = policy
        self._key = (key or "").encode("utf-8", "surrogatepass")

    def __call__(self, number: str | None) -> str:
        """One number, or a SIP URI with one, on one line; empty for None.

        Of a URI only scheme, user and host are left: names and parameters may say who it is.
        """
        if not number:
            return ""
        if self.policy == "full":
            return shown(number)
        uri = _URI.search(number)
        if uri is not None:
            return shown(self._uri(uri))
        user, at, host = number.rpartition("@")
        return shown(f"{self._hidden(user)}@{self._of_host(host)}") if at else self._hidden(host)

    def within(self, text: str) -> str:
        """A whole text with the numbers in it: SIP URIs, and what begins with a plus sign."""
        if self.policy == "full" or not ("+" in text or ":" in text):
            return text
        text = _URI.sub(self._uri, text)
        return _PLUS.sub(lambda found: self._hidden(found.group()), text)

    def _uri(self, uri: re.Match[str]) -> str:
        scheme, user, host = uri.group("scheme", "user", "host")
        if host is None and scheme.lower() != "tel":
            return f"{scheme}:{self._of_host(user)}"
        hidden = f"{scheme}:{self._hidden(user.partition(':')[0])}"
        return hidden if host is None else f"{hidden}@{self._of_host(host)}"

    def _of_host(self, host: str) -> str:
        return _RUN.sub(lambda found: self._hidden(found.group()), host)

    def _hidden(self, user: str) -> str:
        if user.startswith(("…", "#")):  # it was hidden before
            return user
        if self.policy == "hash":
            plain = _SEPARATORS.sub("", user).lower().encode("utf-8", "surrogatepass")
            return f"#{hmac.new(self._key, plain, hashlib.sha256).hexdigest()[:HASH_DIGITS]}"
        return f"…{shown(user[-KEPT:])}" if len(user) >= LONG else "…"


MASKED = Numbers()
"""The policy where none is set."""
