"""What a field of a command may hold: small checks that can say what they allow."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from mediaserver.control.errors import InvalidFieldError

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_ID = re.compile(r"[!-~]{1,1000}")


@dataclass(frozen=True)
class Check:
    """One field's rule.

    Attributes:
        allowed: the rule in words, ending the sentence "must be ...".
        accepts: whether a value keeps it.
        kind: how the value is typed on a command line.
        choices: all values there are, where they can be listed.
    """

    allowed: str
    accepts: Callable[[object], bool]
    kind: Literal["text", "flag", "whole", "whole or text", "json"] = "text"
    choices: tuple[str, ...] = ()

    def require(self, field: str, value: object) -> None:
        """Raise InvalidFieldError, naming field and rule, unless the value keeps it."""
        if not self.accepts(value):
            raise InvalidFieldError(field, self.allowed)


Rules = Mapping[str, Check]


def one_of(*values: object) -> Check:
    """Exactly one of these values, letter by letter; True is not 1."""

    def accepts(value: object) -> bool:
        return any(type(value) is type(v) and value == v for v in values)

    names = tuple(v for v in values if isinstance(v, str))
    return Check("one of " + ", ".join(str(v) for v in values), accepts, choices=names)


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
    return Check(f"an object ({said}{'; others' if is_open else ''}{needed})", accepts, "json")


def list_of(item: Check, max_items: int | None = None, *, min_items: int = 0) -> Check:
    """A list whose items all keep one rule, with so many at least and at most."""
    limit = f" of at least {min_items}" if min_items else ""
    limit += f" of at most {max_items}" if max_items is not None else ""

    def accepts(value: object) -> bool:
        if not isinstance(value, list | tuple) or not all(map(item.accepts, value)):
            return False
        return min_items <= len(value) and (max_items is None or len(value) <= max_items)

    return Check(f"a list{limit} (each {item.allowed})", accepts, "json")


def whole(least: int, most: int | None = None) -> Check:
    """A whole number within limits; True is none."""
    return Check(
        f"a whole number from {least}" + (f" to {most}" if most is not None else ""),
        lambda value: type(value) is int and least <= value <= (value if most is None else most),
        "whole",
    )


def number(least: float, most: float) -> Check:
    """A number within limits; True is none."""
    return Check(
        f"a number from {least:g} to {most:g}",
        lambda value: is_number(value) and least <= value <= most,  # type: ignore[operator]  # it is one
    )


def either(*rules: Check) -> Check:
    """What keeps one of several rules."""
    return Check(
        " or ".join(rule.allowed for rule in rules),
        lambda value: any(rule.accepts(value) for rule in rules),
        "whole or text" if any(rule.kind == "whole" for rule in rules) else "text",
    )


def is_number(value: object) -> bool:
    """Whether a value is a finite number, and not True or False."""
    return type(value) is int or (type(value) is float and math.isfinite(value))


def is_json(value: object) -> bool:
    """Whether a value can be sent as JSON as it is."""
    if value is None or isinstance(value, str | bool) or is_number(value):
        return True
    if isinstance(value, Mapping):
        return all(isinstance(name, str) and is_json(item) for name, item in value.items())
    return isinstance(value, list | tuple) and all(map(is_json, value))


def _is_udp_target(value: object) -> bool:
    if not isinstance(value, str) or not value.startswith("udp:"):
        return False
    host, colon, port = value.removeprefix("udp:").rpartition(":")
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return bool(colon) and re.fullmatch(r"[0-9]{1,5}", port) is not None and 0 < int(port) < 65536


FLAG = Check("true or false", lambda value: isinstance(value, bool), "flag")
COUNT = whole(1)
UUID = Check("a UUID", lambda value: isinstance(value, str) and bool(_UUID.fullmatch(value)))
UDP = Check("an address of the form udp:ip:port", _is_udp_target)
OBJECT = Check("an object", lambda value: isinstance(value, Mapping), "json")
JSON = Check("text, a number, true, false, or a list or an object of these", is_json, "json")
HEADERS = list_of(table({"name": text(), "value": text()}, required=("name", "value")))
CALL_ID = Check(
    "a call control id as Telnyx gave it",
    # A path of dots would be folded away and another resource be commanded.
    lambda value: isinstance(value, str) and bool(_ID.fullmatch(value)) and value.strip(".") != "",
)
COMMAND_ID = Check(
    "1 to 1000 printable characters without blanks",
    lambda value: isinstance(value, str) and bool(_ID.fullmatch(value)),
)
