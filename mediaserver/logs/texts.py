"""Text from outside, in a log."""

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
    text = escaped(kept)
    # Escapes are longer than what they stand for.
    cut = len(given) > len(kept) or len(text) > most
    return f"{text[:most]}… ({len(given)} characters)" if cut else text


def escaped(text: str, but: str = "") -> str:
    """``text`` with escapes for what does not print, but for the characters in ``but``."""
    return "".join(c if c.isprintable() or c in but else ascii(c)[1:-1] for c in text)


def indented(text: str) -> str:
    """Lines of which only the first begins where a line does; what does not print is escaped.

    Only a newline ends a line here: what else some readers take for the end of one is escaped.
    """
    lines = text.split("\n")
    return "\n    ".join(each if each.isprintable() else escaped(each, "\t") for each in lines)


def without_middle(text: str, most: int, length: int | None = None) -> str:
    """``text``, or its begin and its end: ``most`` characters of it, and how many it had.

    Args:
        text: to cut.
        most: how many characters are kept.
        length: the number that is told; that of ``text`` if None.
    """
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}… ({length or len(text)} characters) …{text[-half:]}"


def address(peername: object) -> str:
    """A peer's address, from what a transport says of it: ``192.0.2.7:5060``."""
    match peername:
        case (str(host), int(port), *_):
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return "an unknown address"
