"""Text from outside, on one line of a log."""

from __future__ import annotations

MAX_SHOWN = 128
"""Characters that are shown of one text; Telnyx' own ids are shorter."""


def shown(text: object, most: int = MAX_SHOWN) -> str:
    """``text`` on one line: what does not print is escaped, what is too long is cut.

    Whoever logs, prints or labels something that came from outside (ids, header values,
    parameters, error texts) shows it by this. Plain ids come out as they are.

    Args:
        text: a text, or what ``str`` makes one of.
        most: how many characters of it.
    """
    given = text if isinstance(text, str) else str(text)
    if len(given) <= most and given.isprintable():
        return given
    kept = given[:most]
    escaped = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in kept)
    # Escapes are longer than what they stand for.
    cut = len(given) > len(kept) or len(escaped) > most
    return f"{escaped[:most]}… ({len(given)} characters)" if cut else escaped


def address(peername: object) -> str:
    """A peer's address, from what a transport says of it: ``192.0.2.7:5060``."""
    match peername:
        case (str(host), int(port), *_):
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return "an unknown address"
