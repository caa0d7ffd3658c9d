"""What a field of a command may hold: small checks that can say what they allow."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mediaserver.control.errors import InvalidFieldError

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_ID = re.compile(r"[!-~]{1,1000}")


@dataclass(frozen=True)
class Check:
    """One field's rule.

    Attributes:
        allowed: the rule in words, ending the sentence "must be ...".
        accepts: whether a value keeps it.
    """

    allowed: str
    accepts: Callable[[object], bool]

    def require(self, field: str, value: object) -> None:
        """Raise InvalidFieldError, naming field and rule, unless the value keeps it."""
        if not self.accepts(value):
            raise InvalidFieldError(field, self.allowed)


Rules = Mapping[str, Check]


def one_of(*values: object) -> Check:
    """Exactly one of these values, letter by letter; True is not 1."""

    def accepts(value: object) -> bool:
        return any(type(value) is type(v) and value == v for v in values)

    return Check("one of " + ", ".join(str(v) for v in values), accepts)


def text(max_chars: int | None = None) -> Check:
    """Text that is not empty and, where Telnyx names a limit, not too long."""
    return Check(
        f"text of 1 to {max_chars} characters" if max_chars else "text that is not empty",
        lambda value: isinstance(value, str) and 1 <= len(value) <= (max_chars or len(value)),
    )


def table(rules: Rules, *, required: tuple[str, ...] = (), is_open: bool = False) -> Check:
    """An object whose keys follow their own rules.

    Args:
        rules: by key.
        required: keys that must be there.
        is_open: other keys are let through, because the documentation lists only some.
    """

    def accepts(value: object) -> bool:
        if not isinstance(value, Mapping) or any(key not in value for key in required):
            return False
        return all(
            rules[key].accepts(item) if key in rules else is_open and isinstance(key, str)
            for key, item in value.items()
        )

    said = "; ".join(f"{key}: {rule.allowed}" for key, rule in rules.items())
    needed = f", {' and '.join(required)} required" if required else ""
    return Check(f"an object ({said}{'; others' if is_open else ''}{needed})", accepts)


def list_of(item: Check) -> Check:
    """A list whose items all keep one rule."""
    return Check(
        f"a list (each {item.allowed})",
        lambda value: isinstance(value, list | tuple) and all(map(item.accepts, value)),
    )


def _is_udp_target(value: object) -> bool:
    if not isinstance(value, str) or not value.startswith("udp:"):
        return False
    host, colon, port = value.removeprefix("udp:").rpartition(":")
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return bool(colon) and re.fullmatch(r"[0-9]{1,5}", port) is not None and 0 < int(port) < 65536


FLAG = Check("true or false", lambda value: isinstance(value, bool))
COUNT = Check("a whole number from 1", lambda value: type(value) is int and value >= 1)
UUID = Check("a UUID", lambda value: isinstance(value, str) and bool(_UUID.fullmatch(value)))
UDP = Check("an address of the form udp:ip:port", _is_udp_target)
OBJECT = Check("an object", lambda value: isinstance(value, Mapping))
CALL_ID = Check(
    "a call control id as Telnyx gave it",
    # A path of dots would be folded away and another resource be commanded.
    lambda value: isinstance(value, str) and bool(_ID.fullmatch(value)) and value.strip(".") != "",
)
COMMAND_ID = Check(
    "1 to 1000 printable characters without blanks",
    lambda value: isinstance(value, str) and bool(_ID.fullmatch(value)),
)
